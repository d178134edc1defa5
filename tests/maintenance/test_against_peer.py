"""The same maintenance, done by Icechunk and by us on copies of one repository, has the same outcome."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zarr

from icechunk_core.drive import run
from icechunk_core.format import base32
from icechunk_core.format.config_codec import decode_config_flexbuffers
from tests.interop.implementations import OURS, create, open_repo, put
from tests.interop.nodes import GROUP, array_json
from tests.maintenance.support import FUTURE, copy, grow, keys, set_age, start, state, times

EPOCH = 1_700_000_000
GC_LIMITS = [0, 50, 50.5, 100, 1000]
PLANS = [
    ["expire"],
    ["gc"],
    ["dry run", "gc"],
    ["expire", "gc"],
    ["expire", "expire", "gc"],
    ["expire", "dry run", "gc", "expire"],
]


def listed(root: Path) -> dict[str, Any]:
    """What the repo object of spec 2 says about snapshots, deleted tags and its own changes."""
    info = run(open_repo(OURS, root)._context.history.info(), may_suspend=False)
    return {
        "snapshots": list(info.snapshots),
        "deleted tags": info.deleted_tags,
        "log": [type(update.kind) for update in info.updates],
    }


def summary(result: Any) -> dict[str, Any]:
    """A GCSummary as values."""
    names = [
        name for name in dir(type(result)) if name.endswith(("_deleted", "_delete", "_batches", "_phases"))
    ]
    return {name: getattr(result, name) for name in names}


@pytest.mark.parametrize("seed", range(12))
def test_expiry_and_collection(seed: int, spec_version: int, tmp_path: Path, peer: Any) -> None:
    """Random histories, ages and options: equal results, refs, histories, contents and remaining objects."""
    chance = random.Random(seed)
    root = tmp_path / "repo"
    writer = chance.choice([peer, OURS])
    grow(start(writer, root, spec_version=spec_version), seed)
    expire_before = chance.choice(times(open_repo(peer, root))) + timedelta(
        microseconds=chance.choice([0, 1])
    )
    collect_before = datetime.fromtimestamp(EPOCH + chance.choice(GC_LIMITS), UTC)
    snapshots_age = chance.choice([0, 2000]) - 1000
    for key in sorted(keys(root)):
        # Snapshots are all old, or all young: see test_young_snapshots_keep_what_they_refer_to.
        age = snapshots_age if key.startswith("snapshots/") else chance.randrange(100)
        set_age(root, key, EPOCH + age)
    options = {
        "delete_expired_branches": chance.random() < 0.5,
        "delete_expired_tags": chance.random() < 0.5,
    }
    plan = chance.choice(PLANS)
    roots = {"peer": copy(root, "peer"), "ours": copy(root, "ours")}
    results: dict[str, list[Any]] = {"peer": [], "ours": []}
    for name, ic in (("peer", peer), ("ours", OURS)):
        for action in plan:
            repo = open_repo(ic, roots[name])
            if action == "expire":
                results[name].append(repo.expire_snapshots(expire_before, **options))
            else:
                dry_run = action == "dry run"
                results[name].append(summary(repo.garbage_collect(collect_before, dry_run=dry_run)))
    if snapshots_age < 0:
        assert results["ours"] == results["peer"]
        assert keys(roots["ours"]) == keys(roots["peer"])
    else:
        assert keys(roots["ours"]) >= keys(roots["peer"])
    expected, found = state(peer, roots["peer"]), state(peer, roots["ours"])
    assert {**found, "keys": None} == {**expected, "keys": None}
    assert state(OURS, roots["ours"]) == found
    if spec_version > 1:
        assert listed(roots["ours"]) == listed(roots["peer"])


@pytest.mark.parametrize("seed", range(8))
def test_migration(seed: int, tmp_path: Path, peer: Any) -> None:
    """Random spec 1 repositories: the same repo object (log included), the same files, the same contents."""
    root = tmp_path / "repo"
    repo = start(peer, root, spec_version=1)
    grow(repo, seed, 16)
    if seed % 3 == 0:
        moments = times(repo)
        repo.expire_snapshots(moments[len(moments) // 2])
    if seed % 4 == 0:
        repo.garbage_collect(FUTURE)
    if seed % 2:
        config = peer.RepositoryConfig.default()
        config.inline_chunk_threshold_bytes = 33
        open_repo(peer, root, config=config).save_config()
    theirs, ours = copy(root, "peer"), copy(root, "ours")
    delete = seed % 5 != 0
    peer.upgrade_icechunk_repository(open_repo(peer, theirs), dry_run=False, delete_unused_v1_files=delete)
    migrated = OURS.upgrade_icechunk_repository(
        open_repo(OURS, ours), dry_run=False, delete_unused_v1_files=delete
    )
    assert migrated.spec_version == 2
    expected, found = (
        run(open_repo(OURS, place)._context.history.info(), may_suspend=False) for place in (theirs, ours)
    )
    assert list(found.updates[1:]) == list(expected.updates[1:])
    assert found.updates[0].kind == expected.updates[0].kind
    for name in (
        "tags",
        "branches",
        "deleted_tags",
        "snapshots",
        "status",
        "metadata",
        "repo_before_updates",
    ):
        assert getattr(found, name) == getattr(expected, name), name
    assert decoded(found.config) == decoded(expected.config)
    assert state(peer, ours) == state(peer, theirs) == state(OURS, ours)
    assert (ours / "config.yaml").exists() == (theirs / "config.yaml").exists()


def decoded(config: bytes | None) -> Any:
    """A stored configuration, decoded."""
    return None if config is None else decode_config_flexbuffers(config, name="repo")


@pytest.mark.parametrize("seed", range(4))
def test_statistics(seed: int, spec_version: int, tmp_path: Path, peer: Any) -> None:
    """Bytes of native and inline chunks of a random history are the same."""
    root = tmp_path / "repo"
    grow(start(peer, root, spec_version=spec_version), seed)
    theirs = open_repo(peer, root).chunk_storage_stats()
    ours = open_repo(OURS, root).chunk_storage_stats()
    assert (ours.native_bytes, ours.virtual_bytes, ours.inlined_bytes) == (
        theirs.native_bytes, theirs.virtual_bytes, theirs.inlined_bytes,
    )  # fmt: skip
    assert ours.total_bytes() == theirs.total_bytes() > 0
    assert ours.non_virtual_bytes() == theirs.non_virtual_bytes()


def test_statistics_of_virtual_chunks(tmp_path: Path, peer: Any) -> None:
    """The same range of the same object counts once, whichever arrays and snapshots refer to it."""
    root = tmp_path / "repo"
    config = peer.RepositoryConfig.default()
    prefix = f"file://{tmp_path}/data/"
    config.set_virtual_chunk_container(
        peer.VirtualChunkContainer(prefix, peer.local_filesystem_store(f"{tmp_path}/data/"))
    )
    repo = create(peer, root, config=config)
    for array in "ab":
        session = repo.writable_session("main")
        zarr.create_array(session.store, name=array, shape=(9,), chunks=(1,), dtype="i4")
        for number in range(3):
            session.store.set_virtual_ref(f"{array}/c/{number}", prefix + "f", offset=number % 2, length=7)
        session.store.set_virtual_ref(f"{array}/c/8", prefix + array, offset=0, length=100)
        session.commit(array)
    theirs = repo.chunk_storage_stats()
    ours = open_repo(OURS, root).chunk_storage_stats()
    assert ours.virtual_bytes == theirs.virtual_bytes == 2 * 7 + 2 * 100
    assert (ours.native_bytes, ours.inlined_bytes) == (0, 0)


@pytest.mark.parametrize("commit_method", ["new_commit", "amend"])
def test_rewriting_manifests(commit_method: str, tmp_path: Path, peer: Any) -> None:
    """With a new splitting rule: as many manifests, the same refs in them, the same record of the rule."""
    root = tmp_path / "repo"
    repo = create(peer, root)
    session = repo.writable_session("main")
    put(session, {"zarr.json": GROUP, "x/zarr.json": array_json((10,), (1,))})
    put(session, {f"x/c/{number}": b"%d" % number * 300 for number in range(10)})
    session.commit("ten chunks")
    places = {peer: copy(root, "peer"), OURS: copy(root, "ours")}
    outcome = {}
    for ic, place in places.items():
        rule = {ic.ManifestSplitCondition.name_matches("x"): {ic.ManifestSplitDimCondition.Axis(0): 3}}
        splitting = ic.ManifestSplittingConfig.from_dict(rule)
        config = ic.RepositoryConfig(manifest=ic.ManifestConfig(splitting=splitting))
        new = open_repo(ic, place, config=config).rewrite_manifests(
            "rewritten", branch="main", metadata={"why": "split"}, commit_method=commit_method
        )
        repo = open_repo(OURS, place)
        assert repo.lookup_branch("main") == new
        snapshot = run(repo._context.assets.snapshot(base32.decode(new)), may_suspend=False)
        history = [(entry.message, entry.metadata) for entry in repo.ancestry(branch="main")]
        files = sorted(entry.num_chunk_refs for entry in snapshot.manifest_files)
        outcome[ic] = (history, files, state(peer, place)["contents"][new])
    assert outcome[OURS] == outcome[peer]
    assert outcome[OURS][1] == [1, 3, 3, 3]


def test_errors_are_the_same(tmp_path: Path, peer: Any) -> None:
    """Wrong arguments, read-only repositories and repeated migrations are refused with the same kinds."""
    root = tmp_path / "repo"
    start(peer, root)
    seen = {}
    for ic in (peer, OURS):
        repo = open_repo(ic, root)
        empty = create(ic, tmp_path / ic.__name__)
        open_repo(peer, root).set_status(peer.RepoStatus(peer.RepoAvailability.online))
        cases = [
            lambda repo=repo: repo.expire_snapshots(datetime(2030, 1, 1)),
            lambda repo=repo: repo.garbage_collect(datetime(2030, 1, 1)),
            lambda repo=repo: repo.garbage_collect(FUTURE, max_snapshots_in_memory=0),
            lambda repo=repo: repo.garbage_collect(FUTURE, max_concurrent_deletes=0),
            lambda repo=repo: repo.garbage_collect(FUTURE, max_concurrent_listings=0),
            lambda repo=repo: repo.chunk_storage_stats(max_concurrent_manifest_fetches=0),
            lambda repo=repo: repo.rewrite_manifests("m", branch="none"),
            lambda repo=repo: repo.rewrite_manifests("m", branch="main", commit_method="other"),
            lambda repo=empty: repo.rewrite_manifests("m", branch="main", commit_method="amend"),
            lambda ic=ic, repo=repo: ic.upgrade_icechunk_repository(repo, dry_run=False),
            lambda ic=ic, repo=repo: ic.upgrade_icechunk_repository(repo, dry_run=True),
        ]
        found = [error_of(case) for case in cases]
        open_repo(peer, root).set_status(
            peer.RepoStatus(peer.RepoAvailability.read_only, limited_availability_reason="moving")
        )
        closed = [
            lambda repo=repo: repo.expire_snapshots(FUTURE),
            lambda repo=repo: repo.garbage_collect(FUTURE),
            lambda repo=repo: repo.garbage_collect(FUTURE, dry_run=True),
            lambda repo=repo: repo.rewrite_manifests("m", branch="main"),
        ]
        seen[ic] = found + [error_of(case) for case in closed]
    assert seen[OURS] == seen[peer]


def error_of(call: Any) -> tuple[str, str | None]:
    """Name (of the built-in one, where both have no better one) and kind of what a call raises."""
    with pytest.raises(Exception) as caught:
        call()
    error = caught.value
    kind = getattr(error, "kind", None)
    if isinstance(error, ValueError) and kind in (None, "invalid-key"):
        return "ValueError", None
    return type(error).__name__, kind
