"""Reads that lie close together become few requests, and what they give is the same."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

import icechunk_core as ic
from icechunk_core.assets.range_readers import CoalescingReader, DirectReader, Request, plan_spans
from icechunk_core.assets.streams import Streams, as_array
from icechunk_core.assets.virtual import VirtualChunks
from icechunk_core.contract import ObjectInfo, Range
from icechunk_core.contract.wrappers import Fault, with_faults, with_latency, with_metrics
from icechunk_core.drive import new_future, run_direct
from icechunk_core.errors import Corrupt, InvalidRange, NotFound, StorageError, Unavailable
from icechunk_core.format.refs import VirtualRef
from tests.interop.implementations import get, put
from tests.packs.support import chunk, fill, refs, with_array

SIZE = 100_000
DATA = chunk(0, SIZE)
RANGES = st.tuples(st.integers(0, SIZE - 1), st.integers(1, 3_000)).map(
    lambda pair: (pair[0], min(SIZE, pair[0] + pair[1]))
)


def storage_with_data(**more: bytes) -> ic.Storage:
    storage = ic.in_memory_storage()
    for key, data in {"a": DATA, "b": DATA[::-1], **more}.items():
        run_direct(storage.put(key, data))
    return storage


def coalescing(
    *, ahead: int = 0, over_read: int = 1_000, sleep: Any = asyncio.sleep
) -> tuple[CoalescingReader, Any, Any]:
    """A reader on storage that suspends, its storage's counters, and the log of its faults."""
    faulty, log = with_faults(storage_with_data())
    counted, metrics = with_metrics(faulty)
    return CoalescingReader(with_latency(counted, 0, sleep=sleep), Streams(ahead), over_read), metrics, log


# --- together


@given(
    wanted=st.lists(st.tuples(st.sampled_from("ab"), RANGES), min_size=1, max_size=30),
    over_read=st.integers(0, 5_000),
    largest=st.integers(3_000, 20_000),
)
def test_plan(wanted: list[Any], over_read: int, largest: int) -> None:
    """Every request is inside the span it belongs to; no span wastes or fetches more than it may."""

    async def plan() -> list[Any]:
        return plan_spans(
            [Request(key, start, end, new_future()) for key, (start, end) in wanted], over_read, largest
        )

    spans = asyncio.run(plan())
    assert sum(len(span.requests) for span in spans) == len(wanted)
    for span in spans:
        covered = set()
        for request in span.requests:
            assert request.key == span.key
            assert span.start <= request.start <= request.end <= span.end
            covered |= set(range(request.start, request.end))
        assert span.end - span.start - len(covered) == span.wasted <= over_read
        assert span.end - span.start <= largest
    for one, other in pairwise(spans):
        if one.key == other.key:
            gap = max(0, other.requests[0].start - one.end)
            joined = max(one.end, other.requests[0].end) - one.start
            assert one.wasted + gap > over_read or joined > largest


@settings(max_examples=50)
@given(
    wanted=st.lists(st.tuples(st.sampled_from("ab"), RANGES), min_size=1, max_size=40),
    ahead=st.sampled_from([0, 500, 50_000]),
    at_once=st.integers(1, 20),
)
def test_same_bytes(wanted: list[Any], ahead: int, at_once: int) -> None:
    """Whatever is read, in whatever order and company, each read gets its bytes."""
    direct = DirectReader(storage_with_data(), Streams(ahead))
    reader, _, _ = coalescing(ahead=ahead)
    objects = {"a": DATA, "b": DATA[::-1]}

    async def read() -> None:
        for first in range(0, len(wanted), at_once):
            group = wanted[first : first + at_once]
            found = await asyncio.gather(*[reader.read(key, *part) for key, part in group])
            for (key, (start, end)), (data, info) in zip(group, found, strict=True):
                assert data == objects[key][start:end]
                assert info.key == key

    asyncio.run(read())
    for key, (start, end) in wanted:
        assert run_direct(direct.read(key, start, end))[0] == objects[key][start:end]


async def test_neighbours_are_one_request() -> None:
    """Reads at the same time with small gaps are one request; those far away or elsewhere are others."""
    reader, metrics, _ = coalescing(over_read=1_000)
    starts = [*range(0, 30_000, 300), 60_000]
    found = await asyncio.gather(*[reader.read("a", at, at + 290) for at in starts], reader.read("b", 0, 5))
    assert [bytes(data) for data, _ in found[:-1]] == [DATA[at : at + 290] for at in starts]
    # 10 bytes are wasted each time, 1,000 may be: the hundred reads are one request.
    assert metrics.calls["get_range"] == 3
    assert metrics.bytes_read == 99 * 300 + 290 + 290 + 5


async def test_a_read_joins_one_that_is_under_way() -> None:
    """What is being fetched already is not fetched again."""
    arrived, release = asyncio.Event(), asyncio.Event()
    inner = storage_with_data()
    get_range = inner.hook("get_range")
    calls = []

    async def slow(key: str, byte_range: Any, version: Any) -> Any:
        calls.append(byte_range)
        arrived.set()
        await release.wait()
        return await get_range(key, byte_range, version)

    reader = CoalescingReader(inner.with_hooks(get_range=slow), Streams(0), 1_000)
    first = asyncio.ensure_future(reader.read("a", 0, 5_000))
    await arrived.wait()
    second = asyncio.ensure_future(reader.read("a", 1_000, 2_000))
    await asyncio.sleep(0)
    release.set()
    assert (await second)[0] == DATA[1_000:2_000]
    assert (await first)[0] == DATA[:5_000]
    assert calls == [Range(0, 5_000)]


async def test_errors_reach_everybody() -> None:
    """A request that fails fails all reads that it was for, and no others."""
    reader, _, log = coalescing()
    log.add(Fault("get_range", lambda: Unavailable("gone fishing"), key="a"))
    results = await asyncio.gather(
        *[reader.read("a", at, at + 10) for at in range(0, 100, 10)],
        reader.read("b", 0, 10),
        reader.read("c", 0, 10),
        return_exceptions=True,
    )
    assert [type(result) for result in results[:10]] == [Unavailable] * 10
    assert results[10][0] == DATA[::-1][:10]
    assert isinstance(results[11], NotFound)
    assert (await reader.read("a", 0, 10))[0] == DATA[:10]


@pytest.mark.parametrize("cancelled", [0, 3])
async def test_a_cancelled_read_cancels_no_other(cancelled: int) -> None:
    """When one read is cancelled, also that which reads for all, the others get their bytes."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        arrived.set()
        await release.wait()

    reader, _, _ = coalescing(sleep=sleep)
    tasks = [asyncio.ensure_future(reader.read("a", at, at + 10)) for at in range(0, 100, 10)]
    await arrived.wait()
    tasks[cancelled].cancel()
    release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for at, result in enumerate(results):
        if at == cancelled:
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert result[0] == DATA[10 * at : 10 * at + 10]


@pytest.mark.parametrize("suspending", [False, True])
def test_readers_cannot_change_what_others_read(suspending: bool) -> None:
    """Where a storage gives memory that can be written to, what is kept of it cannot."""
    storage = storage_with_data()
    get_range = storage.hook("get_range")

    async def writable(*arguments: Any) -> Any:
        data, info = await get_range(*arguments)
        return bytearray(data), info

    capabilities = evolve(storage.capabilities, may_suspend=suspending)
    storage = storage.with_hooks(capabilities, get_range=writable)
    streams = Streams(8_000)
    reader: Any = CoalescingReader(storage, streams, 100) if suspending else DirectReader(storage, streams)

    async def read() -> None:
        for at in (0, 100, 200, 300, 250, 100):
            ranges = [(at, at + 100), (at, at + 50)]
            found = await asyncio.gather(*[reader.read("a", *part) for part in ranges])
            values = [data for data, _ in found]
            if not suspending:
                values += [reader.at_once("a", *part) for part in ranges]
            for (start, end), data in zip([*ranges, *ranges], values, strict=False):
                assert bytes(data) == DATA[start:end]
                assert memoryview(data).readonly

    asyncio.run(read())


def test_loops_do_not_share_requests() -> None:
    """One reader serves several event loops, one after the other."""
    reader, metrics, _ = coalescing()

    async def read() -> list[Any]:
        return await asyncio.gather(*[reader.read("a", at, at + 10) for at in (0, 10, 20)])

    for _ in range(3):
        assert [data for data, _ in asyncio.run(read())] == [DATA[:10], DATA[10:20], DATA[20:30]]
    assert metrics.calls["get_range"] == 3


# --- ahead


def sequential(reader: Any, size: int, count: int, step: int = 0) -> None:
    for at in range(0, count * (step or size), step or size):
        assert run_direct(reader.read("a", at, at + size))[0] == DATA[at : at + size]


def test_sequential_reads_are_ahead() -> None:
    """Reading in order takes few requests, each up to the limit, and little is read in vain."""
    counted, metrics = with_metrics(storage_with_data())
    sequential(DirectReader(counted, Streams(8_000)), 100, 900)
    assert metrics.calls["get_range"] <= 18
    assert metrics.bytes_read <= 90_000 + 8_000


def test_random_reads_get_what_they_ask_for() -> None:
    """Reads far from one another fetch nothing else, nor does anything with reading ahead switched off."""
    counted, metrics = with_metrics(storage_with_data())
    reader = DirectReader(counted, Streams(8_000))
    for at in (50_000, 10_000, 90_000, 30_000):
        run_direct(reader.read("a", at, at + 100))
    assert (metrics.calls["get_range"], metrics.bytes_read) == (4, 400)
    metrics.reset()
    sequential(DirectReader(counted, Streams(8_000)), 100, 20, step=4_000)
    assert (metrics.calls["get_range"], metrics.bytes_read) == (20, 2_000)
    metrics.reset()
    sequential(DirectReader(counted, Streams(0)), 100, 20)
    assert (metrics.calls["get_range"], metrics.bytes_read) == (20, 2_000)


def test_streams_are_bounded() -> None:
    """At most sixteen objects are followed, and large pieces are not kept."""
    streams = Streams(100)
    info = ObjectInfo("x", 1_000, None, None)  # type: ignore[arg-type]
    for n in range(30):
        streams.keep(str(n), 0, as_array(bytes(50)), info, 0)
    assert sum(streams.held(str(n), 0, 10) is not None for n in range(30)) == 16
    streams.keep("large", 0, as_array(bytes(500)), info, 0)
    assert streams.held("large", 0, 10) is None


# --- chunks of repositories


def test_damage_is_reported(tmp_path: Path) -> None:
    """A pack that is gone or cut short is `Corrupt`, naming it, for the chunks that are not there."""
    for url in (f"file://{tmp_path}/a", f"file://{tmp_path}/b?threaded=true"):
        repo = ic.Repository.create(url)
        session = with_array(repo)
        written = fill(session, range(4))
        session.commit("filled")
        [pack] = {ref.chunk_id for ref in refs(session, range(4))}
        [file] = (tmp_path / url[len(f"file://{tmp_path}/")] / "chunks").iterdir()
        file.write_bytes(file.read_bytes()[:2_500])
        reader = ic.Repository.open(url).readonly_session("main")
        assert get(reader, "x/c/1") == written[1]
        for n in (2, 3):
            with pytest.raises(Corrupt, match=file.name):
                get(reader, f"x/c/{n}")
        file.unlink()
        with pytest.raises(Corrupt, match=file.name):
            get(ic.Repository.open(url).readonly_session("main"), "x/c/1")
        assert len(pack) == 12


def virtual_chunks(storage: ic.Storage) -> VirtualChunks:
    """Virtual chunks below ``file:///data/``, whose objects are those of a storage."""
    config = ic.RepositoryConfig.default()
    store = ic.ObjectStoreConfig.LocalFileSystem("/data")
    config.set_virtual_chunk_container(ic.VirtualChunkContainer("file:///data/", store))
    return VirtualChunks(
        config, {"file:///data/": None}, direct=False, open_container=lambda *_: storage, over_read=1_000
    )


async def test_virtual_chunks_of_one_object() -> None:
    """Virtual chunks that are read together come in one request; one that is too short harms no other."""
    counted, metrics = with_metrics(storage_with_data())
    virtual = virtual_chunks(with_latency(counted, 0))
    parts = [VirtualRef("file:///data/a", at, 1_000) for at in range(0, SIZE, 1_000)]
    found = await asyncio.gather(*[virtual.read(part, None) for part in parts])
    assert b"".join(bytes(data) for data in found) == DATA
    assert metrics.calls["get_range"] == 1
    short = VirtualRef("file:///data/a", SIZE - 500, 1_000)
    results = await asyncio.gather(
        virtual.read(parts[-1], Range(10, 20)), virtual.read(short, None), return_exceptions=True
    )
    assert results[0] == DATA[-990:-980]
    assert isinstance(results[1], StorageError)
    assert metrics.calls["get_range"] == 2


async def test_changed_objects_are_noticed() -> None:
    """Nothing of another program's objects is kept: the next read sees what it has put there."""
    storage = storage_with_data()
    virtual = virtual_chunks(with_latency(storage, 0))
    for at in range(0, 500, 10):
        assert await virtual.read(VirtualRef("file:///data/a", at, 10), None) == DATA[at : at + 10]
    await storage.put("a", DATA[::-1])
    assert await virtual.read(VirtualRef("file:///data/a", 490, 10), None) == DATA[::-1][490:500]


async def test_a_read_of_a_changed_object_does_not_get_what_an_earlier_one_fetches() -> None:
    """A read that begins after an object was replaced sees the new one, whatever is still under way."""
    storage = storage_with_data()
    get_range = storage.hook("get_range")
    arrived, answer = asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> Any:
        found = await get_range(*arguments)
        arrived.set()
        await answer.wait()
        return found

    capabilities = evolve(storage.capabilities, may_suspend=True)
    virtual = virtual_chunks(storage.with_hooks(capabilities, get_range=slow))
    ref = VirtualRef("file:///data/a", 100, 50)
    first = asyncio.ensure_future(virtual.read(ref, None))
    await arrived.wait()
    await storage.put("a", DATA[::-1])
    second = asyncio.ensure_future(virtual.read(ref, None))
    for _ in range(20):
        await asyncio.sleep(0)
    answer.set()
    assert await first == DATA[100:150]
    assert await second == DATA[::-1][100:150]


def test_chunk_cache_is_shared_and_bounded() -> None:
    """Sessions of one repository share cached chunks, of no more bytes than the limit."""
    counted, metrics = with_metrics(ic.in_memory_storage())
    config = ic.RepositoryConfig(caching=ic.CachingConfig(num_bytes_chunks=10_000))
    repo = ic.Repository.create(counted, config)
    session = with_array(repo)
    written = fill(session, range(30))
    session.commit("filled")
    first, second = repo.readonly_session("main"), repo.readonly_session("main")
    assert get(first, "x/c/7") == written[7]
    metrics.reset()
    assert get(second, "x/c/7") == written[7]
    assert metrics.calls["get_range"] == 0
    for n in range(30):
        assert get(second, f"x/c/{n}") == written[n]
    assert repo._context.assets._chunks.cache._weight <= 10_000


@pytest.mark.parametrize("limit", [0, 1, 3_000, 10_000_000])
@pytest.mark.parametrize("over_read", [0, 2_000])
def test_parts_of_chunks_with_a_cache(limit: int, over_read: int) -> None:
    """Whatever the cache may hold, a part of a chunk costs no more bytes than may be read in vain."""
    counted, metrics = with_metrics(ic.in_memory_storage())
    config = ic.RepositoryConfig(caching=ic.CachingConfig(num_bytes_chunks=limit))
    packs = ic.PackConfig(over_read_bytes=over_read, read_ahead_bytes=0)
    repo = ic.Repository.create(counted, config, packs=packs)
    session = with_array(repo)
    large, small = chunk(1, 50_000), chunk(2, 1_500)
    put(session, {"x/c/1": large, "x/c/2": small})
    session.commit("filled")
    state = repo.readonly_session("main")._state
    run_direct(state.chunk_ref("/x", (1,)))  # the manifest
    for n, data in ((1, large), (2, small)):
        for start, end in ((5, 105), (5, 105), (1_000, 1_001), (0, len(data)), (7, 8)):
            metrics.reset()
            assert run_direct(state.read_chunk("/x", (n,), Range(start, end))) == data[start:end]
            assert metrics.bytes_read <= end - start + over_read
    if limit >= len(large):  # all of it was read, and is there
        assert metrics.calls["get_range"] == 0


def test_ranges_of_waiting_chunks() -> None:
    """A part of a chunk that is not in the storage yet, or one that holds nothing of it."""
    session = with_array(ic.Repository.create("memory:"))
    fill(session, [1])
    state = session._state
    assert run_direct(state.read_chunk("/x", (1,), Range(5, 9))) == chunk(1)[5:9]
    with pytest.raises(InvalidRange):
        run_direct(state.read_chunk("/x", (1,), Range(5_000, 5_001)))
