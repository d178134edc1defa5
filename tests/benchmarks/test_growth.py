"""What commits and listings do, counted: these numbers, unlike times, are the same on every machine.

They fail when an order of magnitude is lost: when work that should follow the change follows the whole
repository, or when objects are made for chunks that nobody looks at.
"""

from __future__ import annotations

import asyncio
import gc
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
