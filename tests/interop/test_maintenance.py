"""What only the peer does to a repository: moves, expiry, garbage collection, status. We live with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core
from tests.interop.implementations import (
    OURS,
    contents,
    create,
    delete,
    everything,
    history,
    open_repo,
    put,
)
from tests.interop.nodes import GROUP, array_json


def future() -> datetime:
    """A time after everything so far."""
    return datetime.fromtimestamp(4_000_000_000, UTC)


def written_by_us(root: Path, commits: int, **options: Any) -> list[str]:
    """A repository with a commit per number, each replacing one chunk; gives the snapshot ids."""
    repo = create(OURS, root, **options)
    session = repo.writable_session("main")
    put(session, {"zarr.json": GROUP, "x/zarr.json": array_json((4,), (1,)), "x/c/0": b"0"})
    put(session, {"x/c/1": b"native" * 200})
    ids = [session.commit("begin")]
    for number in range(1, commits):
        session = repo.writable_session("main")
        put(session, {f"x/c/{number % 4}": b"%d " % number * (1 if number % 2 else 300)})
        ids.append(session.commit(f"commit {number}", {"number": number}))
    return ids


def test_read_only_status_is_respected(tmp_path: Path, peer: Any) -> None:
    """The peer sets a repository read-only: we refuse to write, and say why, until it is back."""
    root = tmp_path / "repo"
    written_by_us(root, 2)
    session = open_repo(OURS, root).writable_session("main")
    put(session, {"x/c/3": b"late"})
    theirs = open_repo(peer, root)
    theirs.set_status(
        peer.RepoStatus(peer.RepoAvailability.read_only, limited_availability_reason="moving house")
    )
    repo = open_repo(OURS, root)
    tip = repo.lookup_branch("main")
    refused: tuple[Callable[[], object], ...] = (
        lambda: session.commit("too late"),
        lambda: repo.writable_session("main"),
        lambda: repo.create_branch("b", tip),
        lambda: repo.create_tag("t", tip),
        lambda: repo.reset_branch("main", tip),
    )
    for write in refused:
        with pytest.raises(icechunk_core.ReadOnlyError, match="moving house"):
            write()
    assert contents(repo.readonly_session("main").store)["x/c/0"] == b"0"
    theirs.set_status(peer.RepoStatus(peer.RepoAvailability.online))
    session.commit("back")
    assert everything(open_repo(OURS, root)) == everything(open_repo(peer, root))


@pytest.mark.parametrize("ours_first", [True, False])
def test_ops_log_in_short_pages(ours_first: bool, tmp_path: Path, peer: Any) -> None:
    """With three entries to a page, the peer follows the whole chain of both writers' updates."""
    root = tmp_path / "repo"
    order = (OURS, peer) if ours_first else (peer, OURS)
    config = order[0].RepositoryConfig.default()
    config.num_updates_per_repo_info_file = 3
    create(order[0], root, config=config).save_config()
    expected = ["RepoInitialized", "ConfigChanged"]
    for number in range(10):
        repo = open_repo(order[number % 2], root)
        session = repo.writable_session("main")
        put(session, {f"g{number}/zarr.json": GROUP})
        snapshot = session.commit(f"commit {number}")
        expected.append("NewCommit")
        if number % 3 == 0:
            repo.create_tag(f"t{number}", snapshot)
            repo.create_branch(f"b{number}", snapshot)
            expected += ["TagCreated", "BranchCreated"]
    repo = open_repo(OURS, root)
    repo.delete_tag("t0")
    repo.delete_branch("b0")
    repo.reset_branch("b3", repo.lookup_branch("main"))
    expected += ["TagDeleted", "BranchDeleted", "BranchReset"]
    updates = list(open_repo(peer, root).ops_log())
    kinds = [type(update.kind).__name__.removeprefix("UpdateType_") for update in reversed(updates)]
    assert [kind.rsplit(".", 1)[-1] for kind in kinds] == expected
    times = [update.updated_at for update in updates]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == len(times)


def test_moves_by_the_peer(tmp_path: Path, peer: Any) -> None:
    """Nodes that the peer moved are found at their new place, with their chunks; the diff lists the moves."""
    root = tmp_path / "repo"
    session = create(OURS, root).writable_session("main")
    group = zarr.create_group(session.store)
    group.create_group("a/b")
    array = group.create_array("a/b/x", shape=(6,), chunks=(2,), dtype="i4")
    array[:] = np.arange(6)
    before = session.commit("ours")
    moving = open_repo(peer, root).rearrange_session("main")
    moving.move("/a/b", "/new")
    moving.move("/new/x", "/a/y")
    moving.commit("moved")
    repo = open_repo(OURS, root)
    store = repo.readonly_session("main").store
    assert np.asarray(zarr.open_array(store, path="a/y", mode="r")[:]).tolist() == list(range(6))
    diff = repo.diff(from_snapshot_id=before, to_branch="main")
    theirs = open_repo(peer, root).diff(from_snapshot_id=before, to_branch="main")
    assert sorted(diff.moved_nodes) == sorted(theirs.moved_nodes)
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="a/y", mode="r+")[0] = 100
    delete(session, ["new/zarr.json"])
    session.commit("after the move")
    seen = everything(open_repo(OURS, root))
    assert seen == everything(open_repo(peer, root))
    assert "new/zarr.json" not in seen["contents"][seen["branches"]["main"]]


def test_commit_over_a_move(tmp_path: Path, peer: Any) -> None:
    """A session of ours meets a move by the peer: it is told of a conflict and loses nothing."""
    root = tmp_path / "repo"
    written_by_us(root, 1)
    session = open_repo(OURS, root).writable_session("main")
    put(session, {"x/c/2": b"mine"})
    moving = open_repo(peer, root).rearrange_session("main")
    moving.move("/x", "/y")
    moving.commit("moved")
    with pytest.raises(icechunk_core.ConflictError):
        session.commit("mine")
    with pytest.raises(icechunk_core.RebaseFailedError):
        session.rebase(icechunk_core.ConflictDetector())
    assert session.has_uncommitted_changes


def reachable_stays(root: Path, peer: Any) -> dict[str, Any]:
    """Whatever is reachable reads the same in both; gives it."""
    seen = everything(open_repo(OURS, root))
    assert seen == everything(open_repo(peer, root))
    return seen


@pytest.mark.parametrize("keep", ["tag", "branch"])
def test_expiry_and_garbage_collection_by_the_peer(
    keep: str, spec_version: int, tmp_path: Path, peer: Any
) -> None:
    """The peer expires our old commits and collects garbage: what is reachable stays readable, for good."""
    root = tmp_path / "repo"
    ids = written_by_us(root, 8, spec_version=spec_version)
    repo = open_repo(OURS, root)
    if keep == "tag":
        repo.create_tag("kept", ids[3])
    else:
        repo.create_branch("kept", ids[3])
    aside = repo.writable_session("kept") if keep == "branch" else repo.writable_session("main")
    put(aside, {"x/c/3": b"never committed" * 100})
    before = everything(repo)
    files = set((root / "chunks").iterdir())
    maintainer = open_repo(peer, root)
    cut = repo.lookup_snapshot(ids[6]).written_at + timedelta(microseconds=1)
    expired = maintainer.expire_snapshots(older_than=cut)
    assert expired
    after = reachable_stays(root, peer)
    maintainer.garbage_collect(delete_object_older_than=future())
    assert set((root / "chunks").iterdir()) < files
    assert reachable_stays(root, peer) == after
    assert after["branches"] == before["branches"]
    for snapshot, held in after["contents"].items():
        assert held == before["contents"][snapshot]
    messages = [entry[2] for entry in history(open_repo(OURS, root), branch="main")]
    assert messages == ["commit 7", "Repository initialized"]
    session = open_repo(OURS, root).writable_session("main")
    put(session, {"x/c/2": b"after"})
    session.commit("after")
    reachable_stays(root, peer)


def test_garbage_collection_after_amend_and_flush(tmp_path: Path, peer: Any) -> None:
    """The peer collects what amending and flushing left behind, and nothing else."""
    root = tmp_path / "repo"
    written_by_us(root, 3)
    session = open_repo(OURS, root).writable_session("main")
    put(session, {"x/c/2": b"amended" * 200})
    session.amend("amended")
    session = open_repo(OURS, root).writable_session("main")
    put(session, {"x/c/1": b"flushed" * 200})
    session.flush("flushed")
    before = reachable_stays(root, peer)
    summary = open_repo(peer, root).garbage_collect(delete_object_older_than=future())
    assert summary.chunks_deleted == 2
    assert summary.snapshots_deleted == 2
    assert reachable_stays(root, peer) == before


def test_manifests_rewritten_by_the_peer(spec_version: int, tmp_path: Path, peer: Any) -> None:
    """The peer rewrites our manifests under another splitting rule; we read and continue."""
    root = tmp_path / "repo"
    session = create(OURS, root, spec_version=spec_version).writable_session("main")
    array = zarr.create_array(session.store, name="x", shape=(12, 2), chunks=(1, 1), dtype="u1")
    array[:] = np.arange(1, 25).reshape(12, 2)
    session.commit("one manifest")
    config = peer.RepositoryConfig.default()
    rule = {peer.ManifestSplitCondition.AnyArray(): {peer.ManifestSplitDimCondition.Axis(0): 5}}
    config.manifest = peer.ManifestConfig(splitting=peer.ManifestSplittingConfig.from_dict(rule))
    repo = open_repo(peer, root, config=config)
    repo.save_config()
    repo.rewrite_manifests("rewritten", branch="main")
    reachable_stays(root, peer)
    session = open_repo(OURS, root).writable_session("main")
    zarr.open_array(session.store, path="x", mode="r+")[3] = 99
    session.commit("ours again")
    reachable_stays(root, peer)
    assert len(list((root / "manifests").iterdir())) == 1 + 3 + 1


def test_migration_by_the_peer(tmp_path: Path, peer: Any) -> None:
    """A spec 1 repository of ours, migrated by the peer, keeps its refs, history and contents."""
    root = tmp_path / "repo"
    ids = written_by_us(root, 4, spec_version=1)
    repo = open_repo(OURS, root)
    repo.create_tag("v1", ids[1])
    repo.create_tag("gone", ids[2])
    repo.delete_tag("gone")
    repo.create_branch("dev", ids[2])
    before = everything(repo)
    peer.upgrade_icechunk_repository(open_repo(peer, root), dry_run=False, delete_unused_v1_files=True)
    repo = open_repo(OURS, root)
    assert repo.spec_version == 2
    after = reachable_stays(root, peer)
    assert after == before
    with pytest.raises(icechunk_core.IcechunkError):
        repo.create_tag("gone", ids[0])
    session = repo.writable_session("dev")
    put(session, {"x/c/2": b"migrated"})
    session.commit("in spec 2")
    reachable_stays(root, peer)


def test_metadata_and_flags_of_the_peer_survive(tmp_path: Path, peer: Any) -> None:
    """Repository metadata and feature flags set by the peer are still there after commits of ours."""
    root = tmp_path / "repo"
    written_by_us(root, 2)
    theirs = open_repo(peer, root)
    theirs.set_metadata({"owner": "climate group", "n": [1, None]})
    flag = theirs.feature_flags()[0]
    theirs.set_feature_flag(flag.name, False)
    session = open_repo(OURS, root).writable_session("main")
    put(session, {"x/c/2": b"ours"})
    session.commit("ours")
    again = open_repo(peer, root)
    assert again.get_metadata() == {"owner": "climate group", "n": [1, None]}
    assert flag.name in {f.name for f in again.disabled_feature_flags()}
