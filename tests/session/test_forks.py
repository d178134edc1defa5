"""Forks: writing from several processes into one commit."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zarr

import icechunk_core as ic
from icechunk_core import ErrorKind as Kind
from icechunk_core.session import ForkSession
from tests.session.support import FILL, create, delete_dir, make_array, paths, populate, put, tip, values
from tests.session.workers import processes, write_to_fork, write_to_store


def snapshots(root: Path) -> int:
    return len(os.listdir(root / "snapshots"))


def test_workers_write_one_commit(repo: ic.Repository) -> None:
    """Forks and their stores travel to processes and back; what they wrote is in one commit."""
    session = repo.writable_session("main")
    make_array(session.store, "pending")
    fork = session.fork()
    with processes(2) as pool:
        jobs = [pool.submit(write_to_fork, fork, "pending", at, at * 10) for at in range(4)]
        jobs += [pool.submit(write_to_store, fork.store, "g/a", at, at) for at in (4, 5)]
        back = [job.result() for job in jobs]
    assert all(isinstance(one, ForkSession) and one.has_uncommitted_changes for one in back)
    assert not fork.has_uncommitted_changes
    session.merge(*back)
    session.commit("by workers")
    assert values(tip(repo), "pending")[:5] == [0, 10, 20, 30, FILL]
    assert values(tip(repo), "g/a") == [0, 1, 2, FILL, 4, 5, FILL, FILL]
    assert [info.message for info in repo.ancestry(branch="main")][:2] == ["by workers", "populated"]


def test_what_workers_wrote_is_synced_before_the_commit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that a fork wrote in another process are made durable by the commit, each once."""
    config = ic.RepositoryConfig(inline_chunk_threshold_bytes=0)
    repo = create(ic, root, 2, config=config)
    session = repo.writable_session("main")
    make_array(session.store, "a")
    fork = session.fork()
    put(fork, "a", 0, 1)
    back = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(fork))))
    session.merge(back, back)
    session.merge(back)
    written = {f"chunks/{name}" for name in os.listdir(root / "chunks")}
    unsynced = session._state.sink.unsynced()
    assert len(written) == 1
    assert [key for key in unsynced if key in written] == list(written)
    session.commit("written")
    assert session._state.sink.unsynced() == []


def test_forks_see_uncommitted_changes(repo: ic.Repository, root: Path) -> None:
    """A fork of a session with changes starts from a snapshot of them that the history does not list."""
    session = repo.writable_session("main")
    clean = session.fork()
    assert clean.snapshot_id == session.snapshot_id
    count = snapshots(root)
    put(session, "b", 3, 33)
    fork = session.fork()
    assert values(fork, "b")[3] == 33
    assert not fork.has_uncommitted_changes
    assert fork.snapshot_id != session.snapshot_id
    assert session.fork().snapshot_id == fork.snapshot_id
    assert snapshots(root) == count + 1
    if repo.spec_version == ic.SpecVersion.v2:
        with pytest.raises(ic.SnapshotNotFoundError):
            repo.lookup_snapshot(fork.snapshot_id)
    put(session, "b", 4, 44)
    assert values(session.fork(), "b")[3:5] == [33, 44]
    assert values(fork, "b")[3:5] == [33, FILL]
    assert session.commit("done") not in (fork.snapshot_id, clean.snapshot_id)


def test_the_commit_uses_what_was_written_for_forks(repo: ic.Repository, root: Path) -> None:
    """Manifests written for a fork are those of the commit, for arrays that did not change since."""
    session = repo.writable_session("main")
    put(session, "b", 3, 33)
    put(session, "g/a", 3, 33)
    fork = session.fork()
    written = set(os.listdir(root / "manifests"))
    put(fork, "b", 4, 44)
    session.merge(fork)
    session.fork()
    session.commit("done")
    assert len(set(os.listdir(root / "manifests")) - written) == 1
    assert values(tip(repo), "b")[3:5] == [33, 44]
    assert values(tip(repo), "g/a")[3] == 33


def test_on_a_storage_that_suspends(root: Path, spec_version: int) -> None:
    """Forking, merging, shifting and pickling work where the storage does its I/O elsewhere."""
    url = f"file://{root}?threaded=true"
    repo = populate(ic.Repository.create(url, spec_version=spec_version))
    session = repo.writable_session("main")
    put(session, "b", 1, 1)
    fork = pickle.loads(pickle.dumps(session.fork()))
    put(fork, "b", 2, 2)
    fork.shift_array("/b", [1])
    session.merge(pickle.loads(pickle.dumps(fork)))
    session.commit("shifted by a worker")
    assert values(tip(repo), "b")[:5] == [FILL, 7, 1, 2, FILL]


def test_forks_of_forks(repo: ic.Repository) -> None:
    """A fork is forked, and merged into the fork it came from, like any session."""
    session = repo.writable_session("main")
    child = session.fork()
    put(child, "b", 1, 1)
    grandchild = child.fork()
    assert isinstance(grandchild, ForkSession)
    put(grandchild, "b", 2, 2)
    child.merge(grandchild)
    session.merge(child)
    session.commit("two generations")
    assert values(tip(repo), "b")[:4] == [7, 1, 2, FILL]


def test_the_later_fork_wins(repo: ic.Repository) -> None:
    """Where two forks, or a fork and the session, wrote a chunk, the one merged last counts."""
    session = repo.writable_session("main")
    one, two = session.fork(), session.fork()
    put(session, "b", 1, 0)
    put(one, "b", 1, 1)
    put(two, "b", 1, 2)
    session.merge(one, two)
    assert values(session, "b")[1] == 2
    session.merge(one)
    assert values(session, "b")[1] == 1


async def test_async_twins(repo: ic.Repository) -> None:
    """`fork_async` and `merge_async` do the same; merging nothing is nothing."""
    session = await repo.writable_session_async("main")
    fork = await session.fork_async()
    await fork.store.delete("b/c/0")
    await session.merge_async()
    assert not session.has_uncommitted_changes
    await session.merge_async(fork)
    assert session.status().updated_chunks == {"/b": [[0]]}


# --- what is refused


def test_forks_do_not_publish(repo: ic.Repository) -> None:
    """A fork can neither commit, amend, flush nor rebase; the errors say to merge it."""
    fork = repo.writable_session("main").fork()
    put(fork, "b", 1, 1)
    attempts: list[Callable[[], Any]] = [
        lambda: fork.commit("no"),
        lambda: fork.commit("no", allow_empty=True),
        lambda: fork.rebase(ic.ConflictDetector()),
    ]
    if repo.spec_version == ic.SpecVersion.v2:
        attempts.append(lambda: fork.amend("no"))
    for attempt in attempts:
        with pytest.raises(ic.SessionStateError) as caught:
            attempt()
        assert caught.value.kind == Kind.COMMIT_NOT_ALLOWED
    with pytest.raises(ic.IcechunkError, match="merge it"):
        fork.flush("no")
    assert (fork.branch, fork.read_only, fork.has_uncommitted_changes) == (None, False, True)
    fork.discard_changes()
    assert not fork.has_uncommitted_changes


def test_read_only_sessions_neither_fork_nor_merge(repo: ic.Repository) -> None:
    """Read-only sessions pickle without forking, and take no changes."""
    with pytest.raises(ic.SessionStateError) as caught:
        tip(repo).fork()
    assert caught.value.kind == Kind.CANNOT_FORK_READ_ONLY_SESSION
    with pytest.raises(ic.ReadOnlyError) as refused:
        tip(repo).merge(repo.writable_session("main").fork())
    assert refused.value.kind == Kind.READ_ONLY_SESSION


def test_only_forks_pickle_while_writable(repo: ic.Repository) -> None:
    """A writable session and its store refuse to be pickled and name the way."""
    session = repo.writable_session("main")
    for thing in (session, session.store):
        with pytest.raises(ValueError, match="fork"):
            pickle.dumps(thing)
    fork = pickle.loads(pickle.dumps(session.fork()))
    store = pickle.loads(pickle.dumps(fork.store))
    assert not store.read_only
    assert isinstance(store.session, ForkSession)


def both(what: Callable[[Any], object]) -> tuple[Callable[[Any], object], Callable[[Any], object]]:
    return what, what


CLASHES: dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "both made an array": both(lambda session: make_array(session.store, "n")),
    "both made a group": both(lambda session: zarr.create_group(session.store, path="n")),
    "array and group": (
        lambda session: make_array(session.store, "n"),
        lambda session: zarr.create_group(session.store, path="n"),
    ),
    "different attributes": (
        lambda session: zarr.open_group(session.store, path="g", mode="r+").attrs.update(k=1),
        lambda session: zarr.open_group(session.store, path="g", mode="r+").attrs.update(k=2),
    ),
    "chunk of a deleted array": (
        lambda session: delete_dir(session, "b"),
        lambda session: put(session, "b", 1, 1),
    ),
    "deleted array with chunk": (
        lambda session: put(session, "b", 1, 1),
        lambda session: delete_dir(session, "b"),
    ),
    "deleted group with new attributes": (
        lambda session: zarr.open_group(session.store, path="g", mode="r+").attrs.update(k=1),
        lambda session: delete_dir(session, "g"),
    ),
}


@pytest.mark.parametrize("clash", CLASHES)
def test_clashes_are_refused_whole(repo: ic.Repository, clash: str) -> None:
    """Two forks that exclude each other cannot both be merged; the first stays merged."""
    session = repo.writable_session("main")
    forks = session.fork(), session.fork()
    for fork, change in zip(forks, CLASHES[clash], strict=True):
        change(fork)
    session.merge(forks[0])
    before = session.status()
    with pytest.raises(ic.SessionStateError) as caught:
        session.merge(forks[1])
    assert caught.value.kind == Kind.MERGE_FAILED
    assert session.status() == before
    session.commit("the first")


def test_alike_changes_are_merged(repo: ic.Repository) -> None:
    """Deleting the same node twice, or the same metadata from both, is no clash."""
    session = repo.writable_session("main")
    forks = session.fork(), session.fork()
    for fork in forks:
        delete_dir(fork, "b")
        zarr.open_group(fork.store, path="g", mode="r+").attrs["k"] = 1
    session.merge(*forks)
    session.commit("same")
    assert paths(tip(repo)) == ["/", "/g", "/g/a", "/g/h"]


def test_forks_change_nodes_that_are_not_committed_yet(repo: ic.Repository) -> None:
    """New metadata of a pending node is kept; if the session changed it since the fork, it is refused."""
    session = repo.writable_session("main")
    zarr.create_group(session.store, path="new")
    fork, late = session.fork(), session.fork()
    zarr.open_group(fork.store, path="new", mode="r+").attrs["by"] = "fork"
    zarr.open_group(late.store, path="new", mode="r+").attrs["by"] = "late"
    session.merge(fork)
    with pytest.raises(ic.SessionStateError) as caught:
        session.merge(late)
    assert caught.value.kind == Kind.MERGE_FAILED
    session.merge(fork)
    session.commit("new")
    group = zarr.open_group(tip(repo).store, path="new", mode="r")
    assert dict(group.attrs) == {"by": "fork"}


def test_forks_do_not_delete_what_is_not_committed_yet(repo: ic.Repository) -> None:
    """Deleting a node that only the session has is refused: the session may have changed it since."""
    session = repo.writable_session("main")
    make_array(session.store, "new", values=[1])
    fork = session.fork()
    delete_dir(fork, "new")
    with pytest.raises(ic.SessionStateError) as caught:
        session.merge(fork)
    assert caught.value.kind == Kind.MERGE_FAILED
    session.commit("kept")
    assert values(tip(repo), "new")[0] == 1


def test_forks_of_an_older_version(repo: ic.Repository) -> None:
    """A fork may be merged into a session on a later snapshot, unless its arrays are gone there."""
    old = repo.writable_session("main")
    fork, lost = old.fork(), old.fork()
    put(fork, "b", 1, 1)
    put(lost, "g/a", 1, 1)
    between = repo.writable_session("main")
    delete_dir(between, "g")
    between.commit("without g")
    session = repo.writable_session("main")
    session.merge(fork)
    with pytest.raises(ic.SessionStateError) as caught:
        session.merge(lost)
    assert caught.value.kind == Kind.MERGE_FAILED
    session.commit("merged")
    assert values(tip(repo), "b")[:2] == [7, 1]


def test_any_session_can_be_merged(repo: ic.Repository) -> None:
    """Merging takes a plain writable session too; itself and unchanged ones add nothing."""
    session, other = repo.writable_session("main"), repo.writable_session("main")
    put(other, "b", 1, 1)
    session.merge(session, tip(repo), other)
    assert values(session, "b")[:2] == [7, 1]
