"""Sessions whose base is no longer in the history of their branch: nothing of theirs is lost silently."""

from __future__ import annotations

import pytest
import zarr

import icechunk_core as ic


@pytest.fixture
def repo() -> ic.Repository:
    """A repository with an array."""
    repo = ic.Repository.create("memory:")
    with repo.transaction("main", message="a") as store:
        zarr.create_array(store, name="a", shape=(4,), chunks=(2,), dtype="i4")
    return repo


def add_array(repo: ic.Repository, name: str) -> str:
    """A commit with another array; gives the snapshot before it."""
    before = repo.lookup_branch("main")
    with repo.transaction("main", message=name) as store:
        zarr.create_array(store, name=name, shape=(4,), chunks=(2,), dtype="i4")
    return before


def test_chunks_of_an_array_that_is_gone(repo: ic.Repository) -> None:
    """They are a conflict, whatever the solver; the session keeps its changes and its base."""
    before = add_array(repo, "b")
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="b")[:] = 1
    base = session.snapshot_id
    repo.reset_branch("main", before)
    for solver in (ic.ConflictDetector(), ic.BasicConflictSolver()):
        with pytest.raises(ic.RebaseFailedError) as caught:
            session.rebase(solver)
        assert [(c.conflict_type, c.path) for c in caught.value.conflicts] == [
            (ic.ConflictType.ChunksUpdatedInDeletedArray, "/b")
        ]
        assert session.snapshot_id == base
        assert session.status().updated_chunks == {"/b": [[0], [1]]}
    repo.reset_branch("main", base)
    session.commit("as if nothing had happened")


def test_chunks_of_an_array_that_was_resized(repo: ic.Repository) -> None:
    """What was written for a shape that is no longer that of the array is a conflict."""
    before = repo.lookup_branch("main")
    with repo.transaction("main", message="longer") as store:
        zarr.open_array(store, path="a").resize((8,))
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="a")[6:] = 1
    repo.reset_branch("main", before)
    with pytest.raises(ic.RebaseFailedError) as caught:
        session.rebase(ic.ConflictDetector())
    assert [c.conflict_type for c in caught.value.conflicts] == [ic.ConflictType.ChunksUpdatedInUpdatedArray]


def test_what_does_not_depend_on_it(repo: ic.Repository) -> None:
    """New nodes, and chunks of arrays that are still there, are committed on top of the branch."""
    before = add_array(repo, "b")
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="a")[:2] = 5
    zarr.create_group(session.store, path="new")
    repo.reset_branch("main", before)
    session.commit("mine", rebase_with=ic.ConflictDetector())
    root = zarr.open_group(repo.readonly_session("main").store, mode="r")
    assert sorted(dict(root.members())) == ["a", "new"]
    assert zarr.open_array(root.store, path="a", mode="r")[:].tolist() == [5, 5, 0, 0]


def test_spec_1_cannot_tell(repo: ic.Repository) -> None:
    """Without the first transaction log it is not known what changed: the session has to begin anew."""
    repo = ic.Repository.create("memory:", spec_version=1)
    before = repo.lookup_branch("main")
    with repo.transaction("main", message="a") as store:
        zarr.create_group(store)
    session = repo.writable_session("main")
    zarr.create_group(session.store, path="new")
    repo.reset_branch("main", before)
    with pytest.raises(ic.ConflictError, match="open a new session") as caught:
        session.rebase(ic.ConflictDetector())
    assert caught.value.kind == ic.ErrorKind.BRANCH_UPDATE_CONFLICT
