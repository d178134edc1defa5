"""Sessions: what they see, committing, conflicts, rebase, amend, flush, discard."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.contract import Storage
from icechunk_core.drive import run_direct
from icechunk_core.format.envelope import FileType, seal, unseal

ROOT = "1CECHNKREP0F1RSTCMT0"


def new_array(repo: ic.Repository, shape: tuple[int, ...] = (8,), **options: object) -> str:
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="x", shape=shape, chunks=(2,) * len(shape), dtype="i4", **options)
    return session.commit("array")


def values(repo: ic.Repository, **version: str) -> np.ndarray:
    where = version or {"branch": "main"}
    return np.asarray(zarr.open_array(repo.readonly_session(**where).store, path="x", mode="r")[:])


def write(repo: ic.Repository, start: int, value: int) -> ic.Session:
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="x", mode="r+")[start : start + 2] = value
    return session


def test_uncommitted_changes_are_seen_only_inside(repo: ic.Repository) -> None:
    """A session sees its own writes, others do not until it commits; then it is read-only."""
    new_array(repo)
    session = write(repo, 0, 7)
    assert session.has_uncommitted_changes
    assert session.branch == "main"
    assert zarr.open_array(session.store, path="x", mode="r")[0] == 7
    assert values(repo)[0] == 0
    snapshot = session.commit("seven")
    assert values(repo)[0] == 7
    assert (session.read_only, session.branch, session.snapshot_id) == (True, None, snapshot)
    assert not session.has_uncommitted_changes
    with pytest.raises(ic.SessionStateError) as raised:
        session.commit("again")
    assert raised.value.kind == ic.ErrorKind.COMMIT_NOT_ALLOWED


def test_old_snapshots_never_change(repo: ic.Repository) -> None:
    """Every version reads as it was committed, whatever came later."""
    ids = [new_array(repo)]
    ids.extend(write(repo, 2 * step, step + 1).commit(f"step {step}") for step in range(4))
    for count, snapshot in enumerate(ids):
        expected = np.repeat([step + 1 if step < count else 0 for step in range(4)], 2)
        assert (values(repo, snapshot_id=snapshot) == expected).all()


@pytest.mark.parametrize("size", [8, 3000])
def test_chunks_inline_and_native(repo: ic.Repository, size: int) -> None:
    """Chunks below and above the inline threshold come back byte for byte, from a fresh handle."""
    session = repo.writable_session("main")
    data = np.random.default_rng(1).integers(0, 2**31, size=(4 * size,), dtype="i4")
    zarr.create_array(session.store, name="x", data=data, chunks=(size,), compressors=None, filters=None)
    session.commit("data")
    assert (values(ic.Repository.open(repo.storage)) == data).all()


def test_empty_commits(repo: ic.Repository) -> None:
    """Refused unless asked for."""
    with pytest.raises(ic.SessionStateError) as raised:
        repo.writable_session("main").commit("nothing")
    assert raised.value.kind == ic.ErrorKind.NO_CHANGES_TO_COMMIT
    snapshot = repo.writable_session("main").commit("nothing", allow_empty=True)
    assert repo.lookup_branch("main") == snapshot


def test_commit_metadata(repo: ic.Repository) -> None:
    """Metadata is kept with the snapshot; defaults of the repository are merged in."""
    repo.set_default_commit_metadata({"author": "ada", "n": 1})
    session = repo.writable_session("main")
    zarr.create_group(session.store)
    session.commit("with metadata", {"n": 2, "nested": {"list": [1, 2.5, None, "x"]}})
    info = next(ic.Repository.open(repo.storage).ancestry(branch="main"))
    assert info.metadata == {"author": "ada", "n": 2, "nested": {"list": [1, 2.5, None, "x"]}}


def test_conflict_is_reported_and_loses_nothing(repo: ic.Repository) -> None:
    """The slower of two sessions gets a ConflictError with both parents, and keeps its changes."""
    base = new_array(repo)
    slow = write(repo, 2, 2)
    quick = write(repo, 0, 1).commit("quick")
    with pytest.raises(ic.ConflictError) as raised:
        slow.commit("slow")
    assert (raised.value.expected_parent, raised.value.actual_parent) == (base, quick)
    assert raised.value.kind == ic.ErrorKind.COMMIT_CONFLICT
    assert slow.has_uncommitted_changes
    assert not slow.read_only
    slow.rebase(ic.ConflictDetector())
    slow.commit("slow")
    assert values(repo).tolist() == [1, 1, 2, 2, 0, 0, 0, 0]


def test_rebase_that_clashes(repo: ic.Repository) -> None:
    """Same chunk in both: the error names commit, type, path and chunk; a solver may decide."""
    new_array(repo)
    slow = write(repo, 0, 2)
    quick = write(repo, 0, 1).commit("quick")
    with pytest.raises(ic.RebaseFailedError) as raised:
        slow.commit("slow", rebase_with=ic.ConflictDetector())
    assert raised.value.snapshot == quick
    [conflict] = raised.value.conflicts
    assert conflict.conflict_type == ic.ConflictType.ChunkDoubleUpdate
    assert conflict.path == "/x"
    assert conflict.conflicted_chunks == [[0]]
    slow.commit("ours", rebase_with=ic.BasicConflictSolver(on_chunk_conflict=ic.VersionSelection.UseOurs))
    assert values(repo)[0] == 2


def test_rebase_attempts_are_recorded(repo: ic.Repository) -> None:
    """A commit with a solver says how often it had to be rebased."""
    new_array(repo)
    slow = write(repo, 2, 2)
    write(repo, 0, 1).commit("quick", rebase_with=ic.ConflictDetector())
    slow.commit("slow", rebase_with=ic.ConflictDetector())
    newest, before, *_ = repo.ancestry(branch="main")
    assert newest.metadata == {"__icechunk": {"rebase_attempts": 1}}
    assert before.metadata == {"__icechunk": {"rebase_attempts": 0}}


def test_many_threads_commit_without_conflict(repo: ic.Repository) -> None:
    """16 threads that write different chunks all get through, and all values are there."""
    new_array(repo, (32,))

    def one(index: int) -> str:
        session = write(repo, 2 * index, index + 1)
        return session.commit(f"thread {index}", rebase_with=ic.ConflictDetector())

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(one, range(16)))
    assert ids <= {info.id for info in repo.ancestry(branch="main")}
    assert (values(repo) == np.repeat(np.arange(1, 17), 2)).all()


def test_amend(repo: ic.Repository, spec_version: int) -> None:
    """Amend replaces the latest commit: its changes and the new ones, under one parent."""
    first = new_array(repo)
    second = write(repo, 0, 1).commit("second")
    session = write(repo, 2, 2)
    if spec_version == 1:
        with pytest.raises(ic.FormatError):
            session.amend("amended")
        return
    amended = session.amend("amended")
    assert [info.id for info in repo.ancestry(branch="main")] == [amended, first, ROOT]
    assert second not in {info.id for info in repo.ancestry(branch="main")}
    assert values(repo).tolist()[:4] == [1, 1, 2, 2]
    assert repo.diff(from_snapshot_id=first, to_branch="main").updated_chunks == {"/x": [[0], [1]]}


def test_initial_commit_cannot_be_amended(storage: Storage) -> None:
    """It is the same in every repository."""
    repo = ic.Repository.create(storage)
    session = repo.writable_session("main")
    zarr.create_group(session.store)
    with pytest.raises(ic.SessionStateError) as raised:
        session.amend("no")
    assert raised.value.kind == ic.ErrorKind.NO_AMEND_FOR_INITIAL_COMMIT


def test_flush(repo: ic.Repository) -> None:
    """A flushed snapshot is readable by its id, and no branch moves."""
    tip = new_array(repo)
    session = write(repo, 0, 9)
    snapshot = session.flush("aside")
    assert repo.lookup_branch("main") == tip
    assert values(repo, snapshot_id=snapshot)[0] == 9
    assert session.read_only


def test_discard_changes(repo: ic.Repository) -> None:
    """After discarding, the session shows its snapshot again and has nothing to commit."""
    new_array(repo)
    session = write(repo, 0, 9)
    zarr.create_group(session.store, path="g")
    session.discard_changes()
    assert not session.has_uncommitted_changes
    assert zarr.open_array(session.store, path="x", mode="r")[0] == 0
    assert session.status().is_empty()


def test_status(repo: ic.Repository) -> None:
    """Shows what would be committed."""
    new_array(repo)
    session = write(repo, 2, 9)
    zarr.create_group(session.store, path="g")
    status = session.status()
    assert status.new_groups == {"/g"}
    assert status.updated_chunks == {"/x": [[1]]}


def test_read_only_session_refuses_writes(repo: ic.Repository) -> None:
    """Through zarr and through the store's own methods."""
    new_array(repo)
    session = repo.readonly_session("main")
    with pytest.raises(ValueError, match="read-only"):
        zarr.create_group(session.store, path="g")
    array = zarr.open_array(session.store, path="x", mode="r")
    with pytest.raises((ic.ReadOnlyError, ValueError)):
        array[:] = 1


def test_read_only_session_pickles(repo: ic.Repository) -> None:
    """Session and store travel; the copy reads the same and equals the original."""
    new_array(repo)
    write(repo, 0, 4).commit("four")
    session = repo.readonly_session("main")
    copy = pickle.loads(pickle.dumps(session))
    assert copy == session
    assert zarr.open_array(copy.store, path="x", mode="r")[0] == 4
    store = pickle.loads(pickle.dumps(session.store))
    assert zarr.open_array(store, path="x", mode="r")[0] == 4
    assert store == session.store


def test_writable_session_does_not_pickle(repo: ic.Repository) -> None:
    """Writes through a copy would be lost, so it says so."""
    session = repo.writable_session("main")
    with pytest.raises(ValueError, match="writable session"):
        pickle.dumps(session)
    with pytest.raises(ValueError, match="writable session"):
        pickle.dumps(session.store)


def test_resize_drops_what_is_outside(repo: ic.Repository) -> None:
    """Chunks outside a shrunk grid are gone, also after growing again."""
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="x", data=np.arange(8, dtype="i4"), chunks=(2,), fill_value=-1)
    session.commit("data")
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="x").resize((4,))
    session.commit("shrink")
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="x").resize((8,))
    session.commit("grow")
    assert values(repo).tolist() == [0, 1, 2, 3, -1, -1, -1, -1]


def test_delete_and_recreate(repo: ic.Repository) -> None:
    """An array made anew at an old path has none of the old chunks."""
    new_array(repo)
    write(repo, 0, 5).commit("five")
    session = repo.writable_session("main")
    group = zarr.open_group(session.store, mode="a")
    del group["x"]
    zarr.create_array(session.store, name="x", shape=(8,), chunks=(2,), dtype="i4", fill_value=3)
    session.commit("anew")
    assert values(repo).tolist() == [3] * 8


def test_splitting_configuration(storage: Storage, spec_version: int) -> None:
    """With split rules, an array's refs go into several manifests, and all chunks are found."""
    splitting = ic.ManifestSplittingConfig.from_dict(
        {ic.ManifestSplitCondition.AnyArray(): {ic.ManifestSplitDimCondition.Axis(0): 3}}
    )
    config = ic.RepositoryConfig(manifest=ic.ManifestConfig(splitting=splitting))
    repo = ic.Repository.create(storage, config, spec_version=spec_version)
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="x", data=np.arange(20, dtype="i4"), chunks=(2,))
    session.commit("data")
    base = repo.readonly_session("main")._state.base
    assert len(base.manifest_files) == 4
    assert values(ic.Repository.open(storage)).tolist() == list(range(20))


@pytest.mark.parametrize("level", [None, 3, 1, 19])
def test_the_level_of_the_repo_object(level: int | None) -> None:
    """It is compressed fast, unless a level other than the default was chosen, which holds for it too."""
    storage = ic.in_memory_storage()
    config = ic.RepositoryConfig(compression=ic.CompressionConfig(level=level))
    repo = ic.Repository.create(storage, config)
    for number in range(100):
        repo.create_tag(f"tag {number}", ROOT)
    data, _ = run_direct(storage.get_range("repo"))
    _, payload = unseal(data, FileType.REPO_INFO, name="repo")
    used = -3 if level in (None, 3) else level
    assert bytes(data) == seal(FileType.REPO_INFO, payload, spec_version=2, level=used)
