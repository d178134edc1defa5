"""The memory of packs: filled, looked at, and used again for the next ones."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zarr.core.buffer import cpu

import icechunk_core as ic
from icechunk_core.assets.later import LATER
from icechunk_core.assets.pack_buffer import PackBuffer, SpareSegments
from icechunk_core.drive import run_direct
from icechunk_core.format.refs import InlineRef, NativeRef
from tests.interop.implementations import get
from tests.packs.support import SMALL, chunk, fill, with_array

MIB = 1 << 20


def filled(spares: SpareSegments, chunks: list[bytes]) -> PackBuffer:
    pack = PackBuffer(bytes(12), spares)
    for data in chunks:
        pack.append(data, len(data))
    return pack


def chunks_of(letter: bytes, sizes: list[int]) -> list[bytes]:
    return [letter * size for size in sizes]


@pytest.mark.parametrize("sizes", [[10, 70_000, 5, 3 * MIB, 1], [1] * 9, [40_000] * 120])
def test_content_and_views(sizes: list[int]) -> None:
    """A pack is its chunks one after the other, and each of them can be looked at."""
    chunks = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    pack = filled(SpareSegments(), chunks)
    assert b"".join(pack.content()) == b"".join(chunks)
    assert pack.size == sum(sizes)
    at = 0
    for data in chunks:
        assert pack.view(at, len(data)) == data
        at += len(data)


def test_bytes_of_another_type() -> None:
    """Memory of signed bytes is taken as it is."""
    pack = filled(SpareSegments(), [np.arange(-5, 5, dtype=np.int8).data])  # type: ignore[list-item]
    assert bytes(pack.content()[0]) == np.arange(-5, 5, dtype=np.int8).tobytes()


def test_memory_is_used_again() -> None:
    """A pack that was written gives its memory to the next one, whose content is its own."""
    spares = SpareSegments()
    first = filled(spares, chunks_of(b"a", [40_000] * 100))
    owned = {id(segment) for segment in first._owned if len(segment) == MIB}
    assert owned
    first.release()
    chunks = chunks_of(b"b", [30_000] * 110)
    second = filled(spares, chunks)
    assert {id(segment) for segment in second._owned} & owned
    assert b"".join(second.content()) == b"".join(chunks)


@pytest.mark.parametrize(
    "look",
    [
        lambda pack: pack.view(0, 10),
        lambda pack: pack.view(3_000_000, 10),
        lambda pack: np.frombuffer(pack.view(3_000_000, 10), "u1")[2:5],
        lambda pack: cpu.Buffer.from_bytes(pack.view(3_000_000, 10)),
        lambda pack: pack.content(),
        lambda pack: memoryview(pack._segments[-2]).cast("B")[5:],
        lambda pack: pack._segments,
    ],
    ids=["small", "view", "array", "buffer", "content", "cast", "list"],
)
def test_memory_that_somebody_looks_at_is_not_used_again(look: Any) -> None:
    """Views of a pack stay valid, and their bytes as they are, however many packs come after it."""
    spares = SpareSegments()
    first = filled(spares, chunks_of(b"a", [40_000] * 100))
    seen = look(first)
    first.release()
    for _ in range(3):
        pack = filled(spares, chunks_of(b"b", [40_000] * 100))
        pack.release()
    pieces = seen if isinstance(seen, list) else [seen]
    for piece in pieces:
        data = piece.to_bytes() if isinstance(piece, cpu.Buffer) else bytes(piece)
        assert b"b" not in data
        assert b"a" in data


def test_a_released_pack_shows_nothing() -> None:
    """Who asks too late is told to look into the storage."""
    pack = filled(SpareSegments(), [b"abc"])
    pack.release()
    assert pack.view(0, 3) is None


def test_spare_memory_is_bounded() -> None:
    """At most 16 MiB are kept, and small segments not at all."""
    spares = SpareSegments()
    packs = [filled(spares, [b"x" * 5 * MIB, *chunks_of(b"a", [40_000] * 300)]) for _ in range(4)]
    for pack in packs:
        pack.release()
    assert len(spares._segments) == 16
    assert all(len(segment) == MIB for segment in spares._segments)
    spares.clear()
    assert spares.take() is None


def test_chunks_read_from_the_buffer_outlive_it(tmp_path: Path) -> None:
    """What was read before packs were written does not change when their memory is filled anew."""
    packs = ic.PackConfig(target_bytes=3 * MIB, max_chunk_bytes=64 << 10, buffered_bytes=0)
    repo = ic.Repository.create(str(tmp_path / "r"), packs=packs)
    session = with_array(repo)
    store = session.store
    seen = []
    for n in range(400):
        store.set_sync(f"x/c/{n % 100}", cpu.Buffer.from_bytes(bytes([n % 251]) * 60_000))
        if n % 7 == 0:
            value = store.get_sync(f"x/c/{n % 100}", prototype=cpu.buffer_prototype)
            assert value is not None
            seen.append((n, value))
    for n, value in seen:
        assert value.to_bytes() == bytes([n % 251]) * 60_000
    session.commit("all")
    for n in range(300, 400):
        assert get(repo.readonly_session("main"), f"x/c/{n % 100}") == bytes([n % 251]) * 60_000


# --- without waiting


def _plain(data: Any) -> Any:
    """Bytes that came as an array, as bytes."""
    return data.tobytes() if isinstance(data, np.ndarray) else data


def test_what_is_at_hand_needs_no_coroutine() -> None:
    """On a storage that never suspends, chunks of each kind are written and read by plain calls."""
    repo = ic.Repository.create(ic.in_memory_storage(), packs=SMALL)
    session = with_array(repo)
    state = session._state
    assert state.write_chunk_at_once("/x", (0,), b"first") is False  # the array was not looked at yet
    run_direct(state.write_chunk("/x", (0,), b"first"))
    assert state.write_chunk_at_once("/x", (1,), b"inline")
    assert state.write_chunk_at_once("/x", (2,), chunk(2))
    assert not state.write_chunk_at_once("/x", (3,), chunk(3, 15_000))  # an object of its own
    assert not state.write_chunk_at_once("/x", (3,), b"")
    assert not state.write_chunk_at_once("/x", (10**6,), b"outside")
    assert not state.write_chunk_at_once("/x", (3, 0), b"another number of dimensions")
    assert isinstance(state.changes.chunk(state.array("/x").node_id, (1,)), InlineRef)
    assert isinstance(state.changes.chunk(state.array("/x").node_id, (2,)), NativeRef)
    expected = {0: b"first", 1: b"inline", 2: chunk(2), 3: None, 10**6: None}
    assert {n: _plain(state.read_chunk_at_once("/x", (n,))) for n in expected} == expected
    session.commit("chunks")
    state = repo.readonly_session("main")._state
    assert state.read_chunk_at_once("/x", (2,)) is LATER  # nor was the manifest
    assert run_direct(state.read_chunk("/x", (2,))) == chunk(2)
    assert {n: _plain(state.read_chunk_at_once("/x", (n,))) for n in expected} == expected


def test_where_something_has_to_be_waited_for(tmp_path: Path) -> None:
    """On a storage that suspends, plain calls give what is in memory, and leave the rest to coroutines."""
    repo = ic.Repository.create(f"file://{tmp_path}/r?threaded=true", packs=SMALL)
    session = with_array(repo)
    written = fill(session, range(30))
    state = session._state
    assert state.read_chunk_at_once("/x", (29,)) == written[29]
    session.commit("chunks")
    state = repo.readonly_session("main")._state

    async def read() -> None:
        assert await state.read_chunk("/x", (3,)) == written[3]
        assert state.read_chunk_at_once("/x", (20,)) is LATER
        assert await state.read_chunk("/x", (20,)) == written[20]
        await repo._context.storage.close()

    asyncio.run(read())


@pytest.mark.parametrize("cached", [False, True])
def test_plain_and_awaited_reads_agree(tmp_path: Path, cached: bool) -> None:
    """Both ways give the same bytes and the same errors, with a chunk cache and without."""
    caching = ic.CachingConfig(num_bytes_chunks=10_000_000 if cached else 0)
    config = ic.RepositoryConfig(caching=caching)
    repo = ic.Repository.create(str(tmp_path / "r"), packs=SMALL, config=config)
    session = with_array(repo)
    written = fill(session, range(30))
    session.commit("chunks")
    store = repo.reopen(config=config).readonly_session("main").store
    for n in (*range(30), *reversed(range(30)), 50):
        key = f"x/c/{n}"
        value = store.get_sync(key, prototype=cpu.buffer_prototype)
        awaited = asyncio.run(store.get(key, cpu.buffer_prototype))
        assert (None if value is None else value.to_bytes()) == written.get(n)
        assert (None if awaited is None else awaited.to_bytes()) == written.get(n)
