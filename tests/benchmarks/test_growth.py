"""What commits and listings do, counted: these numbers, unlike times, are the same on every machine.

They fail when an order of magnitude is lost: when work that should follow the change follows the whole
repository, or when objects are made for chunks that nobody looks at.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.format import _flat_builder, envelope
from icechunk_core.format.chunk_refs import ChunkRefs
from icechunk_core.format.refs import VirtualRef

GROUP = b'{"zarr_format":3,"node_type":"group","attributes":{"at":%d}}'
SIDE = 300


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the FlatBuffers tables that are written one by one."""
    count = [0]
    write = _flat_builder._Writer.table

    def counted(self: Any, table: Any) -> int:
        count[0] += 1
        return write(self, table)

    monkeypatch.setattr(_flat_builder._Writer, "table", counted)
    return count


def set_metadata(session: Any, key: str, data: bytes) -> None:
    from zarr.core.buffer import default_buffer_prototype

    session.store.set_sync(key, default_buffer_prototype().buffer.from_bytes(data))


def commit_attribute(repo: ic.Repository, number: int) -> None:
    session = repo.writable_session("main")
    set_metadata(session, "zarr.json", GROUP % number)
    session.commit("attribute")


def test_a_commit_writes_what_changed(tables: list[int]) -> None:
    """With 200 groups and 200 snapshots a commit encodes a few tables, not one for each of them."""
    repo = ic.Repository.create("memory:")
    session = repo.writable_session("main")
    for number in range(200):
        set_metadata(session, f"group{number}/zarr.json", GROUP % number)
    session.commit("groups")
    for number in range(200):
        commit_attribute(repo, number)
    tables[0] = 0
    commit_attribute(repo, 1_000)
    assert tables[0] < 60


def test_opening_decodes_the_repo_object_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a repository, and a session on it, decompresses two objects: the root and the snapshot."""
    storage = ic.in_memory_storage()
    commit_attribute(ic.Repository.create(storage), 1)
    count = [0]
    decompress = envelope._decompress

    def counted(*arguments: Any) -> bytes:
        count[0] += 1
        return decompress(*arguments)

    monkeypatch.setattr(envelope, "_decompress", counted)
    ic.Repository.open(storage).readonly_session("main")
    assert count[0] == 2


def test_virtual_refs_stay_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting, committing and listing many refs makes no object for each of them."""
    made = [0]
    value_of = ChunkRefs.ref

    def counted(self: ChunkRefs, row: int) -> Any:
        made[0] += 1
        return value_of(self, row)

    monkeypatch.setattr(ChunkRefs, "ref", counted)
    repo = ic.Repository.create("memory:")
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="a", shape=(SIDE, SIDE), chunks=(1, 1), dtype="i4", fill_value=0)
    count = SIDE * SIDE
    places = [f"s3://bucket/{number % 10}" for number in range(count)]
    numbers = np.arange(count, dtype=np.uint64)
    session.store.set_virtual_refs_arr(
        "a", (SIDE, SIDE), places, numbers, numbers + np.uint64(1), validate_containers=False
    )
    session.commit("refs")
    store = repo.readonly_session("main").store

    async def keys() -> int:
        return len([key async for key in store.list()])

    assert asyncio.run(keys()) == count + 2  # and two zarr.json
    gc.collect()
    alive = sum(isinstance(value, VirtualRef) for value in gc.get_objects())
    assert made[0] < 100
    assert alive < 1_000


def test_small_chunks_share_requests() -> None:
    """400 chunks of 4 KiB are a handful of objects, read back with a handful of requests."""
    storage, metrics = ic.storage.with_metrics(ic.in_memory_storage())
    repo = ic.Repository.create(storage)
    session = repo.writable_session("main")
    data = np.random.default_rng(0).random(400 * 1024, dtype="f4")
    array = zarr.create_array(
        session.store, name="a", shape=data.shape, chunks=(1024,), dtype="f4", compressors=None, fill_value=0
    )
    metrics.reset()
    array[:] = data
    session.commit("written")
    assert metrics.calls["put"] <= 8
    assert metrics.bytes_written < data.nbytes * 1.1
    metrics.reset()
    store = ic.Repository.open(storage).readonly_session("main").store
    assert np.array_equal(np.asarray(zarr.open_array(store, path="a", mode="r")[:]), data)
    assert metrics.calls["get_range"] <= 400 / 10
    assert metrics.bytes_read < data.nbytes * 1.3


def test_one_changed_chunk_rewrites_one_part() -> None:
    """On top of 90,000 refs, a change of one chunk writes a small part of what they took."""
    storage, metrics = ic.storage.with_metrics(ic.in_memory_storage())
    config = ic.RepositoryConfig.default()
    splitting = ic.ManifestSplittingConfig.from_dict(
        {ic.ManifestSplitCondition.AnyArray(): {ic.ManifestSplitDimCondition.Axis(0): 10}}
    )
    config.manifest = ic.ManifestConfig(splitting=splitting)
    repo = ic.Repository.create(storage, config)
    session = repo.writable_session("main")
    array = zarr.create_array(
        session.store, name="a", shape=(SIDE, SIDE), chunks=(1, 1), dtype="i4", compressors=None, fill_value=0
    )
    numbers, one = np.arange(SIDE * SIDE, dtype=np.uint64), np.uint64(1)
    session.store.set_virtual_refs_arr(
        "a",
        (SIDE, SIDE),
        ["s3://bucket/key"] * (SIDE * SIDE),
        numbers,
        numbers + one,
        validate_containers=False,
    )
    metrics.reset()
    session.commit("refs")
    everything = metrics.bytes_written
    session = repo.writable_session("main")
    array = zarr.open_array(session.store, path="a", mode="r+")
    metrics.reset()
    array[7, 7] = 1
    session.commit("one")
    assert metrics.bytes_written < everything / 5


def test_memory_does_not_grow_with_what_is_written(tmp_path: Path) -> None:
    """Whether 32 or 96 MiB go through a session, the same few packs are held."""

    def peak(blocks: int) -> int:
        repo = ic.Repository.create(ic.local_filesystem_storage(tmp_path / str(blocks), durable=False))
        session = repo.writable_session("main")
        block = np.ones(4 << 20, dtype="f4")
        array = zarr.create_array(
            session.store, name="a", shape=(blocks * len(block),), chunks=(1 << 16,), dtype="f4",
            compressors=None, fill_value=0,
        )  # fmt: skip
        tracemalloc.start()
        try:
            for number in range(blocks):
                array[number * len(block) : (number + 1) * len(block)] = block
            session.commit("written")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(6) < peak(2) + (16 << 20)
