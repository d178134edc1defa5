"""What Icechunk's own expirations, collections and migrations did is what we decide, too."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from icechunk_core.format import layout
from icechunk_core.format.base32 import decode
from icechunk_core.format.config_codec import decode_config_flexbuffers, encode_config_yaml
from icechunk_core.format.refs_v1 import encode_ref
from icechunk_core.format.repo_info import (
    ExpirationRan,
    GCRan,
    RepoInfo,
    RepoMigrated,
    TagDeleted,
    decode_repo_info,
)
from icechunk_core.transaction.expiration import expire
from icechunk_core.transaction.gc_marking import drop_snapshots
from tests.interop.implementations import OURS, open_repo
from tests.maintenance.support import FUTURE, copy, keys
from tests.vectors_support import SPEC_1_NAMES, VECTOR_NAMES, Vector, load_vector

INCOMPLETE = {"v21-long"}
READ_ONLY = {"v21-basic"}
ESCAPED_TAGS = {"v1-basic"}
"""Their tags are lost on Icechunk when it lists them (FORMAT.md, section 2)."""


def versions(vector: Vector) -> list[RepoInfo]:
    """The repo object after each update of its newest page, newest first."""
    newest = decode_repo_info(vector.read("repo"), name="repo")
    paths = [update.backup_path for update in newest.updates if update.backup_path is not None]
    older = (layout.backup_key(path) for path in paths)
    return [newest, *(decode_repo_info(vector.read(key), name=key) for key in older)]


def steps(vector: Vector, kind: type) -> list[tuple[RepoInfo, RepoInfo]]:
    """The repo object before and after each update of a kind."""
    all_versions = versions(vector)
    return [
        (before, after)
        for after, before in itertools.pairwise(all_versions)
        if isinstance(after.updates[0].kind, kind)
    ]


@pytest.mark.parametrize(("name", "count"), [("v21-expired", 2), ("v21-gc", 1)])
def test_expirations(name: str, count: int) -> None:
    """From the repo object before each expiration follows the one after it."""
    found = steps(load_vector(name), ExpirationRan)
    assert len(found) == count
    for before, after in found:
        stayed = set(after.snapshots.ids())
        released = set(before.snapshots.ids()) - stayed
        assert released
        times = {entry.id: entry.flushed_at for entry in before.snapshots}
        limit = max(times[snapshot_id] for snapshot_id in released) + 1
        result = expire(
            before,
            limit,
            delete_branches=before.branches.keys() != after.branches.keys(),
            delete_tags=before.tags.keys() != after.tags.keys(),
        )
        assert result.released == released
        assert result.info.snapshots == after.snapshots
        assert (result.info.branches, result.info.tags) == (after.branches, after.tags)
        assert result.info.deleted_tags == after.deleted_tags


def test_collection() -> None:
    """The repo object after Icechunk's garbage collection follows from what it dropped."""
    ((before, after),) = steps(load_vector("v21-gc"), GCRan)
    known = frozenset(before.snapshots.ids())
    dropped = known - set(after.snapshots.ids())
    assert dropped
    assert drop_snapshots(before, dropped, known).snapshots == after.snapshots


@pytest.mark.parametrize("name", ["v21-migrated", "v21-migrated-keep-refs", "v21-migrated-expired"])
def test_migrations(name: str, tmp_path: Path) -> None:
    """Turned back to spec 1 and migrated by us, the repository has the repo object that Icechunk wrote."""
    vector = load_vector(name)
    expected = next(info for info in versions(vector) if isinstance(info.updates[0].kind, RepoMigrated))
    root = vector.copy_to(tmp_path / "repo")
    (root / "repo").unlink()
    gone = {
        update.kind.name: update.kind.previous_snap_id
        for update in expected.updates
        if isinstance(update.kind, TagDeleted)
    }
    for key, tip in refs_of(expected, gone).items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(tip)
    (root / "config.yaml").unlink(missing_ok=True)
    if expected.config is not None:
        config = decode_config_flexbuffers(expected.config, name="repo")
        (root / "config.yaml").write_bytes(encode_config_yaml(config))
    migrated = OURS.upgrade_icechunk_repository(open_repo(OURS, root), dry_run=False)
    found = decode_repo_info((root / "repo").read_bytes(), name="repo")
    assert list(found.updates[1:]) == list(expected.updates[1:])
    assert found.updates[0].kind == expected.updates[0].kind
    for field in ("branches", "tags", "deleted_tags", "snapshots", "status", "metadata"):
        assert getattr(found, field) == getattr(expected, field), field
    assert decoded(found.config) == decoded(expected.config)
    assert not (root / "config.yaml").exists()
    assert not [key for key in keys(root) if key.startswith("refs/")]
    for branch, tip in expected.branches.items():
        assert decode(migrated.lookup_branch(branch)) == tip


def decoded(config: bytes | None) -> Any:
    """A stored configuration, decoded."""
    return None if config is None else decode_config_flexbuffers(config, name="repo")


def refs_of(info: RepoInfo, deleted_tags: dict[str, bytes]) -> dict[str, bytes]:
    """The ref files of spec 1 that say what a repo object says."""
    files = {layout.branch_key(name): encode_ref(tip) for name, tip in info.branches.items()}
    for name, tip in {**info.tags, **deleted_tags}.items():
        files[layout.tag_key(name)] = encode_ref(tip)
    return files | {layout.tombstone_key(name): b"" for name in deleted_tags}


@pytest.mark.parametrize("name", sorted(set(VECTOR_NAMES) - INCOMPLETE - READ_ONLY))
def test_genuine_repositories(name: str, tmp_path: Path, peer: Any) -> None:
    """Everything expired and collected: what is left is the same, whoever did it, and both read it."""
    root = load_vector(name).copy_to(tmp_path / "repo")
    theirs, ours = copy(root, "peer"), copy(root, "ours")
    results = []
    for ic, place in ((peer, theirs), (OURS, ours)):
        repo = open_repo(ic, place)
        expired = repo.expire_snapshots(FUTURE)
        summary = open_repo(ic, place).garbage_collect(FUTURE)
        results.append((expired, summary.chunks_deleted, summary.bytes_deleted))
    if name in ESCAPED_TAGS:
        assert keys(ours) >= keys(theirs)
    else:
        assert results[0] == results[1]
        assert keys(ours) == keys(theirs)
    for ic in (peer, OURS):
        repo = open_repo(ic, ours)
        for tag in repo.list_tags():
            assert list(repo.ancestry(tag=tag))
        assert len(list(repo.ancestry(branch="main"))) <= 2


@pytest.mark.parametrize("name", sorted(set(SPEC_1_NAMES)))
def test_migrating_genuine_repositories(name: str, tmp_path: Path, peer: Any) -> None:
    """After the migration both implementations see the same refs and histories as we did before it."""
    root = load_vector(name).copy_to(tmp_path / "repo")
    before = histories(open_repo(OURS, root))
    OURS.upgrade_icechunk_repository(open_repo(OURS, root), dry_run=True)
    assert histories(open_repo(OURS, root)) == before
    old = open_repo(OURS, root)
    OURS.upgrade_icechunk_repository(old, dry_run=False)
    assert histories(open_repo(OURS, root)) == before
    theirs = open_repo(peer, root)
    assert int(theirs.spec_version) == 2
    assert histories(theirs) == before
    with pytest.raises(RuntimeError, match="migrated"):
        old.list_branches()


def histories(repo: Any) -> dict[str, list[Any]]:
    """Every ref's history."""
    refs = [("branch", name) for name in repo.list_branches()] + [("tag", name) for name in repo.list_tags()]
    return {
        f"{kind} {name}": [
            (entry.id, entry.message, entry.written_at) for entry in repo.ancestry(**{kind: name})
        ]
        for kind, name in refs
    }
