"""Creating, opening, branches, tags, history."""

from __future__ import annotations

import pickle
import threading
from datetime import UTC, datetime, timedelta

import pytest
import zarr

import icechunk_core as ic
from icechunk_core.contract import Storage

ROOT = "1CECHNKREP0F1RSTCMT0"
NOWHERE = "VY76P925PRY57WFEK410"


def commit_group(repo: ic.Repository, name: str, branch: str = "main") -> str:
    session = repo.writable_session(branch)
    zarr.create_group(session.store, path=name)
    return session.commit(f"add {name}")


def test_create_then_open(storage: Storage, spec_version: int) -> None:
    """A created repository exists, opens, has its spec version and starts at the well-known snapshot."""
    assert not ic.Repository.exists(storage)
    ic.Repository.create(storage, spec_version=spec_version)
    assert ic.Repository.exists(storage)
    assert ic.Repository.fetch_spec_version(storage) == spec_version
    repo = ic.Repository.open(storage)
    assert repo.spec_version == spec_version
    assert repo.list_branches() == {"main"}
    assert repo.lookup_branch("main") == ROOT
    [first] = repo.ancestry(branch="main")
    assert (first.message, first.parent_id) == ("Repository initialized", None)


def test_open_where_nothing_is(storage: Storage) -> None:
    """Opening an empty place says that there is no repository."""
    with pytest.raises(ic.RepositoryNotFoundError, match="no repository") as raised:
        ic.Repository.open(storage)
    assert raised.value.kind == ic.ErrorKind.REPOSITORY_NOT_FOUND


def test_create_refuses_a_place_that_is_not_empty(storage: Storage, repo: ic.Repository) -> None:
    """Neither over a repository nor over other objects, and the existing repository is untouched."""
    tip = commit_group(repo, "a")
    with pytest.raises(ic.InvalidInputError, match="already a repository") as raised:
        ic.Repository.create(storage)
    assert raised.value.kind == ic.ErrorKind.PARENT_DIRECTORY_NOT_CLEAN
    assert ic.Repository.open(storage).lookup_branch("main") == tip


async def test_create_after_an_interrupted_creation(storage: Storage) -> None:
    """A creator that died before the repository existed does not block the place for ever."""
    repo = await ic.Repository.create_async(storage)
    await storage.delete(["repo"])
    assert repo is not None
    assert (await ic.Repository.create_async(storage)).storage is storage


def test_open_or_create_by_many_at_once(storage: Storage, spec_version: int) -> None:
    """All racing callers get a working handle of the same repository."""
    found: list[ic.Repository] = []
    failures: list[BaseException] = []

    def one() -> None:
        try:
            found.append(ic.Repository.open_or_create(storage, create_version=spec_version))
        except BaseException as error:  # the assertion below shows it
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(found) == 12
    assert {repo.lookup_branch("main") for repo in found} == {ROOT}
    tip = commit_group(found[0], "x")
    assert {repo.lookup_branch("main") for repo in found} == {tip}


def test_branches(repo: ic.Repository, spec_version: int) -> None:
    """Create, list, look up, reset and delete; the errors have the kinds that users know."""
    first = commit_group(repo, "a")
    repo.create_branch("dev", ROOT)
    assert repo.list_branches() == {"main", "dev"}
    assert repo.lookup_branch("dev") == ROOT
    with pytest.raises(ic.AlreadyExistsError if spec_version == 2 else ic.ConflictError):
        repo.create_branch("dev", first)
    assert repo.lookup_branch("dev") == ROOT
    with pytest.raises(ic.ConflictError) as raised:
        repo.reset_branch("dev", first, from_snapshot_id=first)
    assert raised.value.kind == ic.ErrorKind.BRANCH_UPDATE_CONFLICT
    repo.reset_branch("dev", first, from_snapshot_id=ROOT)
    assert repo.lookup_branch("dev") == first
    repo.delete_branch("dev")
    assert repo.list_branches() == {"main"}
    for call in (
        lambda: repo.lookup_branch("dev"),
        lambda: repo.delete_branch("dev"),
        lambda: repo.reset_branch("dev", first),
        lambda: repo.writable_session("dev"),
    ):
        with pytest.raises(ic.RefNotFoundError):
            call()
    with pytest.raises(ic.SessionStateError) as refused:
        repo.delete_branch("main")
    assert refused.value.kind == ic.ErrorKind.CANNOT_DELETE_MAIN
    with pytest.raises(ic.SnapshotNotFoundError):
        repo.create_branch("new", NOWHERE)
    with pytest.raises(ic.InvalidInputError):
        repo.create_branch("new", "not an id")


def test_tags(repo: ic.Repository) -> None:
    """Tags are immutable, and the name of a deleted one is never used again."""
    first = commit_group(repo, "a")
    repo.create_tag("v1", first)
    assert repo.list_tags() == {"v1"}
    assert repo.lookup_tag("v1") == first
    with pytest.raises(ic.AlreadyExistsError):
        repo.create_tag("v1", ROOT)
    repo.delete_tag("v1")
    assert repo.list_tags() == set()
    for call in (lambda: repo.lookup_tag("v1"), lambda: repo.delete_tag("v1")):
        with pytest.raises(ic.RefNotFoundError):
            call()
    with pytest.raises(ic.AlreadyExistsError):
        repo.create_tag("v1", first)


def test_ref_names_outside_ascii(repo: ic.Repository, spec_version: int) -> None:
    """Spec 2 takes any name; spec 1 refuses names that other implementations would lose."""
    first = commit_group(repo, "a")
    if spec_version == 1:
        for create in (repo.create_tag, repo.create_branch):
            with pytest.raises(ic.InvalidInputError) as raised:
                create("étiquette", first)
            assert raised.value.kind == ic.ErrorKind.INVALID_REF_NAME
        return
    repo.create_tag("étiquette", first)
    repo.create_branch("branche-ü", first)
    assert repo.list_tags() == {"étiquette"}
    assert repo.list_branches() == {"main", "branche-ü"}
    assert repo.lookup_tag("étiquette") == first


def test_ancestry_and_time_travel(repo: ic.Repository) -> None:
    """History is newest first; sessions open at a branch, a tag, an id and a time."""
    ids = [commit_group(repo, name) for name in "abc"]
    history = list(repo.ancestry(branch="main"))
    assert [info.id for info in history] == [*ids[::-1], ROOT]
    assert [info.parent_id for info in history] == [ids[1], ids[0], ROOT, None]
    assert history[0].message == "add c"
    times = [info.written_at for info in history]
    assert times == sorted(times, reverse=True)
    repo.create_tag("b", ids[1])
    names: dict[str, set[str]] = {}
    names["tag"] = set(zarr.open_group(repo.readonly_session(tag="b").store, mode="r").keys())
    names["id"] = set(zarr.open_group(repo.readonly_session(snapshot_id=ids[1]).store, mode="r").keys())
    at = repo.readonly_session("main", as_of=times[1])
    names["time"] = set(zarr.open_group(at.store, mode="r").keys())
    assert names == {way: {"a", "b"} for way in names}
    with pytest.raises(ic.SnapshotNotFoundError) as raised:
        repo.readonly_session("main", as_of=datetime(2000, 1, 1, tzinfo=UTC))
    assert raised.value.kind == ic.ErrorKind.NO_SNAPSHOT_AT_TIME
    later = repo.readonly_session("main", as_of=datetime.now(UTC) + timedelta(days=1))
    assert later.snapshot_id == ids[2]


def test_exactly_one_version_must_be_named(repo: ic.Repository) -> None:
    """Naming none or two versions is a ValueError."""
    with pytest.raises(ValueError, match="one of"):
        repo.readonly_session()
    with pytest.raises(ValueError, match="one of"):
        repo.readonly_session("main", tag="x")


def test_diff(repo: ic.Repository) -> None:
    """The diff of two versions is the union of what the commits between them did."""
    start = commit_group(repo, "a")
    session = repo.writable_session("main")
    array = zarr.create_array(session.store, name="a/x", shape=(4,), chunks=(2,), dtype="i4")
    array[:2] = 1
    session.commit("array")
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="a/x")[2:] = 5
    zarr.open_group(session.store, path="a").attrs["k"] = 1
    session.commit("more")
    diff = repo.diff(from_snapshot_id=start, to_branch="main")
    assert diff.new_arrays == {"/a/x"}
    assert diff.updated_groups == {"/a"}
    assert diff.updated_chunks == {"/a/x": [[0], [1]]}
    with pytest.raises(ic.InvalidInputError) as raised:
        repo.diff(from_branch="main", to_snapshot_id=start)
    assert raised.value.kind == ic.ErrorKind.BAD_SNAPSHOT_CHAIN_FOR_DIFF


def test_graph_names_every_ref(repo: ic.Repository) -> None:
    """The history graph shows all branches, tags and messages."""
    first = commit_group(repo, "a")
    repo.create_branch("dev", first)
    commit_group(repo, "b", "dev")
    commit_group(repo, "c", "main")
    repo.create_tag("v1", first)
    text = str(repo.ancestry_graph())
    for word in ("main", "dev", "v1", "add a", "add b", "add c", "Repository initialized"):
        assert word in text


def test_configuration_is_stored_and_merged(storage: Storage, spec_version: int) -> None:
    """What was passed at creation comes back on opening; the caller's settings win."""
    config = ic.RepositoryConfig(inline_chunk_threshold_bytes=7, compression=ic.CompressionConfig(level=5))
    ic.Repository.create(storage, config, spec_version=spec_version)
    opened = ic.Repository.open(storage)
    assert opened.config.inline_chunk_threshold_bytes == 7
    changed = ic.Repository.open(storage, ic.RepositoryConfig(inline_chunk_threshold_bytes=9))
    assert changed.config.inline_chunk_threshold_bytes == 9
    assert changed.config.compression is not None
    assert changed.config.compression.level == 5
    changed.save_config()
    stored = ic.Repository.fetch_config(storage)
    assert stored is not None
    assert stored.inline_chunk_threshold_bytes == 9


def test_repository_pickles(repo: ic.Repository) -> None:
    """A repository travels to another thread or process and shows the same history."""
    tip = commit_group(repo, "a")
    copy = pickle.loads(pickle.dumps(repo))
    assert copy.lookup_branch("main") == tip


def test_transaction(repo: ic.Repository) -> None:
    """The block's changes are committed at its end, and dropped if it raises."""
    with repo.transaction("main", message="in a block") as store:
        zarr.create_group(store, path="a")
    assert next(repo.ancestry(branch="main")).message == "in a block"
    tip = repo.lookup_branch("main")

    def fail() -> None:
        with repo.transaction("main", message="never") as store:
            zarr.create_group(store, path="b")
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fail()
    assert repo.lookup_branch("main") == tip


async def test_async_twins(storage: Storage, spec_version: int) -> None:
    """The async methods do what the blocking ones do."""
    repo = await ic.Repository.create_async(storage, spec_version=spec_version)
    session = await repo.writable_session_async("main")
    await session.store.set(
        "zarr.json",
        zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(
            b'{"zarr_format":3,"node_type":"group"}'
        ),
    )
    tip = await session.commit_async("async")
    await repo.create_branch_async("dev", tip)
    assert await repo.list_branches_async() == {"main", "dev"}
    assert [info.id async for info in repo.async_ancestry(branch="dev")] == [tip, ROOT]
    assert await ic.Repository.exists_async(storage)
