"""zarr's fused codec pipeline reads and writes chunks without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core import codec_pipeline

from icechunk_core import drive
from icechunk_core.drive import run_direct
from icechunk_core.store import IcechunkStore
from tests.store.fake_session import FakeSession
from tests.store.repositories import filesystem_repository, memory_repository

if not hasattr(codec_pipeline, "FusedCodecPipeline"):
    pytest.skip("this zarr has no fused codec pipeline", allow_module_level=True)

VALUES = np.arange(64, dtype="i4").reshape(8, 8)


def in_dictionaries(_: Path) -> IcechunkStore:
    return IcechunkStore(FakeSession())  # type: ignore[arg-type]


def in_memory(_: Path) -> IcechunkStore:
    return memory_repository().writable_session("main").store


def in_a_directory(root: Path) -> IcechunkStore:
    return filesystem_repository(root).writable_session("main").store


@pytest.fixture(params=[in_dictionaries, in_memory, in_a_directory])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> IcechunkStore:
    made: IcechunkStore = request.param(tmp_path / "repository")
    return made


@pytest.fixture
def fused() -> Iterator[None]:
    with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.FusedCodecPipeline"}):
        yield


def refuse(what: str) -> Callable[..., Any]:
    """A function that must not be called."""

    def refused(*args: object, **kwargs: object) -> Any:
        raise AssertionError(f"{what} was used")

    return refused


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("sharded", [False, True])
def test_chunks_take_the_synchronous_path(
    store: IcechunkStore, sharded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of arrays, sharded or not, go through get_sync and set_sync, on threads without a loop."""
    shards = (4, 4) if sharded else None
    array = zarr.create_array(store, name="a", shape=(8, 8), chunks=(2, 2), shards=shards, dtype="i4")
    monkeypatch.setattr(IcechunkStore, "get", refuse("the asynchronous get"))
    monkeypatch.setattr(IcechunkStore, "set", refuse("the asynchronous set"))
    monkeypatch.setattr(drive, "background_loop", refuse("the background loop"))
    reads = 0

    def watched(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            nonlocal reads
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()
            reads += 1
            return method(*args)

        return call

    for name in ("read_chunk", "read_chunk_at_once"):
        method = getattr(type(store._session), name)
        monkeypatch.setattr(type(store._session), name, watched(method))
    array[:] = VALUES
    array[1:3, 1:3] = -1
    expected = VALUES.copy()
    expected[1:3, 1:3] = -1
    np.testing.assert_array_equal(array[:], expected)
    np.testing.assert_array_equal(array[3], expected[3])
    assert reads >= 4


@pytest.mark.usefixtures("fused")
def test_whole_reads_and_writes_without_any_loop(
    store: IcechunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With zarr's one hop to a thread taken out, a read and a write run to their end without suspending."""
    array = zarr.create_array(store, name="a", shape=(8, 8), chunks=(4, 4), dtype="i4", fill_value=0)

    async def here(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    monkeypatch.setattr(asyncio, "to_thread", here)
    monkeypatch.setattr(asyncio, "new_event_loop", refuse("a new event loop"))
    for module in (zarr.core.sync, zarr.core.array):
        monkeypatch.setattr(module, "sync", refuse("zarr's loop"))
    run_direct(array.async_array.setitem(..., VALUES))
    np.testing.assert_array_equal(run_direct(array.async_array.getitem(...)), VALUES)
    run_direct(array.async_array.setitem((slice(0, 4), slice(0, 4)), np.zeros((4, 4), "i4")))
    assert not run_direct(store.exists("a/c/0/0"))
    assert run_direct(array.async_array.getitem((0, 0))) == 0


@pytest.mark.usefixtures("fused")
def test_a_suspending_storage_takes_the_asynchronous_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a storage that suspends, the pipeline leaves the synchronous methods alone."""
    store = IcechunkStore(FakeSession(may_suspend=True))  # type: ignore[arg-type]
    array = zarr.create_array(store, name="a", shape=(8, 8), chunks=(4, 4), dtype="i4")
    for name in ("get_sync", "set_sync", "delete_sync"):
        monkeypatch.setattr(IcechunkStore, name, refuse(name))
    array[:] = VALUES
    np.testing.assert_array_equal(array[:], VALUES)


def test_written_arrays_may_be_reused(store: IcechunkStore) -> None:
    """What was written does not change when the caller reuses the memory, small and large chunks alike."""
    for name, size in (("small", 16), ("large", 100_000)):
        values = np.ones(size, dtype="u1")
        array = zarr.create_array(
            store, name=name, shape=(size,), chunks=(size,), dtype="u1", compressors=None, filters=None
        )
        array[:] = values
        values[:] = 77
        np.testing.assert_array_equal(array[:], np.ones(size, "u1"))
