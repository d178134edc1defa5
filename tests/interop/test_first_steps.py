"""What users of Icechunk do first, word for word, with either package: the same results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core

STEPS: list[Callable[[Any, Path], Any]] = []


def step(function: Callable[[Any, Path], Any]) -> Callable[[Any, Path], Any]:
    """Something to do with the package that is passed as ``icechunk``, in an empty directory."""
    STEPS.append(function)
    return function


def _first_data(icechunk: Any, path: Path) -> Any:
    repo = icechunk.Repository.create(icechunk.local_filesystem_storage(str(path / "repo")))
    session = repo.writable_session("main")
    group = zarr.create_group(session.store)
    array = group.create_array("a", shape=(10,), chunks=(5,), dtype="i4", fill_value=0)
    array[:] = 1
    session.commit("first commit")
    return repo


def _values(session: Any) -> list[int]:
    array: Any = zarr.open_array(session.store, path="a", mode="r")
    return [int(value) for value in array[:]]


def _group(session: Any) -> Any:
    return zarr.open_group(session.store)


@step
def create_open_and_exists(icechunk: Any, path: Path) -> Any:
    storage = icechunk.local_filesystem_storage(str(path / "repo"))
    before = icechunk.Repository.exists(storage)
    icechunk.Repository.create(storage)
    repo = icechunk.Repository.open(storage)
    again = icechunk.Repository.open_or_create(storage)
    memory = icechunk.Repository.create(storage=icechunk.in_memory_storage())
    return (
        before,
        icechunk.Repository.exists(storage),
        repo.list_branches(),
        again.list_tags(),
        memory.list_branches(),
    )


@step
def write_and_read(icechunk: Any, path: Path) -> Any:
    repo = _first_data(icechunk, path)
    session = repo.writable_session("main")
    array = _group(session)["a"]
    array[:5] = 2
    pending = session.has_uncommitted_changes
    snapshot = session.commit("overwrite some values", {"author": "me"})
    kinds = [{"branch": "main"}, {"snapshot_id": snapshot}]
    found = [_values(repo.readonly_session(**kind)) for kind in kinds]
    return pending, session.read_only, _values(repo.readonly_session("main")), found


@step
def history(icechunk: Any, path: Path) -> Any:
    repo = _first_data(icechunk, path)
    entries = list(repo.ancestry(branch="main"))
    assert all(isinstance(entry.written_at, datetime) for entry in entries)
    assert entries[0].parent_id == entries[1].id
    return [(entry.message, entry.metadata) for entry in entries]


@step
def branches_and_tags(icechunk: Any, path: Path) -> Any:
    repo = _first_data(icechunk, path)
    tip = repo.lookup_branch("main")
    repo.create_branch("dev", snapshot_id=tip)
    repo.create_tag("v1.0.0", snapshot_id=tip)
    session = repo.writable_session("dev")
    _group(session)["a"][:] = 7
    session.commit("on dev")
    listed = repo.list_branches(), repo.list_tags(), repo.lookup_tag("v1.0.0") == tip
    repo.reset_branch("main", repo.lookup_branch("dev"))
    repo.delete_branch("dev")
    values = _values(repo.readonly_session("main")), _values(repo.readonly_session(tag="v1.0.0"))
    repo.delete_tag("v1.0.0")
    return listed, values, repo.list_branches(), repo.list_tags()


@step
def difference(icechunk: Any, path: Path) -> Any:
    repo = _first_data(icechunk, path)
    before = repo.lookup_branch("main")
    session = repo.writable_session("main")
    group = _group(session)
    group["a"][7] = 9
    group.create_array("b", shape=(2,), dtype="f8")
    status = session.status()
    session.commit("more")
    diff = repo.diff(from_snapshot_id=before, to_branch="main")
    return status.new_arrays, diff.new_arrays, diff.updated_chunks, diff.deleted_groups


@step
def conflicts(icechunk: Any, path: Path) -> Any:
    repo = _first_data(icechunk, path)
    one, two, three = (repo.writable_session("main") for _ in range(3))
    _group(one)["a"][0] = 10
    _group(two)["a"][9] = 20
    _group(three)["a"][1] = 30
    one.commit("one")
    errors: list[Any] = []
    try:
        two.commit("two")
    except icechunk.ConflictError as error:
        errors.append(type(error).__name__)
    two.rebase(icechunk.ConflictDetector())
    two.commit("two")
    try:
        three.rebase(icechunk.ConflictDetector())
    except icechunk.RebaseFailedError as error:
        errors.append(
            [(str(each.conflict_type), each.path, each.conflicted_chunks) for each in error.conflicts]
        )
    ours = icechunk.VersionSelection.UseOurs
    three.rebase(icechunk.BasicConflictSolver(on_chunk_conflict=ours))
    three.commit("three")
    return (
        errors,
        _values(repo.readonly_session("main")),
        [info.message for info in repo.ancestry(branch="main")],
    )


@step
def commit_with_a_solver(icechunk: Any, path: Path) -> Any:
    repo = _first_data(icechunk, path)
    one, two = repo.writable_session("main"), repo.writable_session("main")
    _group(one)["a"][0] = 10
    _group(two)["a"][9] = 20
    one.commit("one")
    two.commit("two", rebase_with=icechunk.ConflictDetector(), rebase_tries=5)
    return _values(repo.readonly_session("main"))


@step
def transaction(icechunk: Any, path: Path) -> Any:
    repo = _first_data(icechunk, path)
    with repo.transaction("main", message="in a transaction") as store:
        zarr.open_array(store, path="a")[:] = 4
    return _values(repo.readonly_session("main"))


@step
def discarding(icechunk: Any, path: Path) -> Any:
    repo = _first_data(icechunk, path)
    session = repo.writable_session("main")
    _group(session)["a"][:] = 5
    session.discard_changes()
    return session.has_uncommitted_changes, _values(session)


@step
def expiring_and_collecting(icechunk: Any, path: Path) -> Any:
    repo = _first_data(icechunk, path)
    for value in (2, 3):
        with repo.transaction("main", message=f"all {value}") as store:
            zarr.open_array(store, path="a")[:] = value
    later = datetime.now(UTC) + timedelta(seconds=5)
    expired = repo.expire_snapshots(older_than=later)
    summary = repo.garbage_collect(later)
    return len(expired), summary.snapshots_deleted, _values(repo.readonly_session("main"))


@step
def forks(icechunk: Any, path: Path) -> Any:
    repo = _first_data(icechunk, path)
    session = repo.writable_session("main")
    parts = []
    for number in range(2):
        fork = session.fork()
        _group(fork)["a"][5 * number : 5 * number + 5] = number + 8
        parts.append(fork)
    session.merge(*parts)
    session.commit("merged")
    return _values(repo.readonly_session("main"))


@step
def configuration(icechunk: Any, path: Path) -> Any:
    config = icechunk.RepositoryConfig.default()
    config.inline_chunk_threshold_bytes = 128
    config.caching = icechunk.CachingConfig(num_bytes_chunks=1024)
    container = icechunk.VirtualChunkContainer("s3://archive/", icechunk.s3_store(region="us-east-1"))
    config.set_virtual_chunk_container(container)
    storage = icechunk.local_filesystem_storage(str(path / "repo"))
    repo = icechunk.Repository.create(storage, config)
    repo.save_config()
    stored = icechunk.Repository.fetch_config(storage)
    credentials = icechunk.containers_credentials({"s3://archive/": icechunk.s3_credentials(anonymous=True)})
    icechunk.Repository.open(storage, authorize_virtual_chunk_access=credentials)
    return (
        stored.inline_chunk_threshold_bytes,
        stored.caching.num_bytes_chunks,
        list(stored.virtual_chunk_containers),
    )


@step
def virtual_chunks(icechunk: Any, path: Path) -> Any:
    (path / "archive").mkdir()
    (path / "archive" / "file.bin").write_bytes(b"HDR" + np.arange(5, dtype="<i4").tobytes())
    prefix = f"file://{path}/archive/"
    config = icechunk.RepositoryConfig.default()
    store = icechunk.local_filesystem_store(str(path / "archive"))
    config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(prefix, store))
    repo = icechunk.Repository.create(
        icechunk.in_memory_storage(),
        config,
        authorize_virtual_chunk_access={prefix: icechunk.credentials.LocalFileSystemAccess},
    )
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="v", shape=(5,), chunks=(5,), dtype="<i4", compressors=None)
    session.store.set_virtual_ref("v/c/0", f"{prefix}file.bin", offset=3, length=20)
    session.commit("virtual")
    read = np.asarray(zarr.open_array(repo.readonly_session("main").store, path="v", mode="r")[:])
    return read.tolist(), session.all_virtual_chunk_locations() == [f"{prefix}file.bin"]


@step
def amending_and_the_log(icechunk: Any, path: Path) -> Any:
    repo = _first_data(icechunk, path)
    session = repo.writable_session("main")
    _group(session).attrs["units"] = "K"
    session.amend("first commit, with units")
    return [info.message for info in repo.ancestry(branch="main")], [
        type(update.kind).__name__ for update in repo.ops_log()
    ]


@step
def asynchronously(icechunk: Any, path: Path) -> Any:
    async def work() -> Any:
        storage = icechunk.local_filesystem_storage(str(path / "repo"))
        await icechunk.Repository.create_async(storage)
        repo = await icechunk.Repository.open_async(storage)
        session = await repo.writable_session_async("main")
        root = await zarr.api.asynchronous.create_group(store=session.store)
        await root.create_array("a", shape=(2,), dtype="i4")
        await session.commit_async("from a coroutine")
        return [info.message async for info in repo.async_ancestry(branch="main")]

    return asyncio.run(work())


@step
def from_xarray(icechunk: Any, path: Path) -> Any:
    import importlib

    xarray = pytest.importorskip("xarray")
    to_icechunk = importlib.import_module(f"{icechunk.__name__}.xarray").to_icechunk
    repo = icechunk.Repository.create(icechunk.in_memory_storage())
    data = xarray.Dataset({"t": (("time", "x"), np.ones((2, 3)))}, coords={"time": [0, 1]})
    for number in range(2):
        session = repo.writable_session("main")
        shifted = data.assign_coords(time=data["time"] + 2 * number)
        to_icechunk(shifted, session, **({"append_dim": "time"} if number else {}))
        session.commit(f"part {number}")
    found = xarray.open_zarr(repo.readonly_session("main").store, consolidated=False)
    return found["time"].values.tolist(), float(found["t"].sum())


@pytest.mark.parametrize("do", STEPS, ids=lambda do: do.__name__)
def test_first_steps(do: Callable[[Any, Path], Any], tmp_path: Path) -> None:
    """The same words do the same with both packages, and give equal results."""
    theirs: ModuleType = pytest.importorskip("icechunk", minversion="2")
    results = []
    for package in (theirs, icechunk_core):
        path = tmp_path / package.__name__
        path.mkdir()
        results.append(do(package, path))
    assert results[1] == results[0]
