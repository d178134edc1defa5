"""Small chunks share objects, and nothing else about a session changes."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from zarr.core.buffer import cpu

import icechunk_core as ic
from icechunk_core.assets.pack_config import PLAIN_LAYOUT_VARIABLE, as_pack_config
from icechunk_core.contract.wrappers import Call, Fault, with_faults, with_latency, with_metrics
from icechunk_core.drive import run_direct
from icechunk_core.errors import InvalidInputError, Unavailable
from tests.interop.implementations import contents, delete, get, put
from tests.interop.nodes import array_json
from tests.packs.support import COUNT, SMALL, chunk, chunk_files, fill, refs, with_array

SOLVER = ic.BasicConflictSolver(on_chunk_conflict=ic.VersionSelection.UseOurs)


def in_chunks(call: Call) -> bool:
    return any(key.startswith("chunks/") for key in call.keys)


def held(repo: ic.Repository, numbers: Any, **where: Any) -> dict[int, bytes | None]:
    session = repo.readonly_session(**(where or {"branch": "main"}))
    return {n: get(session, f"x/c/{n}") for n in numbers}


@pytest.mark.parametrize("spec_version", [1, 2])
@pytest.mark.parametrize("latency", [False, True], ids=["direct", "suspending"])
def test_requests(spec_version: int, latency: bool) -> None:
    """10,000 chunks of 4 KiB and their commit are at most ten puts; reading a region is few reads."""
    counted, metrics = with_metrics(ic.in_memory_storage())
    storage = with_latency(counted, 0) if latency else counted
    repo = ic.Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    put(session, {"x/zarr.json": array_json((10_000 * 4096,), (4096,))})
    session.commit("array")
    session = repo.writable_session("main")
    data = cpu.Buffer.from_bytes(bytes(4096))
    metrics.reset()

    async def write() -> None:
        for start in range(0, 10_000, 100):
            await asyncio.gather(*[session.store.set(f"x/c/{n}", data) for n in range(start, start + 100)])

    asyncio.run(write())
    session.commit("filled")
    assert metrics.calls["put"] <= 10
    metrics.reset()
    store = repo.readonly_session("main").store

    async def read() -> None:
        for start in range(0, 5_000, 50):
            values = await asyncio.gather(
                *[store.get(f"x/c/{n}", cpu.buffer_prototype) for n in range(start, start + 50)]
            )
            assert all(value is not None and len(value) == 4096 for value in values)

    asyncio.run(read())
    assert metrics.calls["get_range"] <= (40 if latency else 130)
    assert metrics.bytes_read < 2 * 5_000 * 4096


@pytest.mark.parametrize("kind", ["memory", "filesystem", "threaded"])
def test_contents(kind: str, tmp_path: Path) -> None:
    """Chunks of all sizes from several threads, read before and after the flush, and overwritten, deleted."""
    url = {"memory": "memory:", "filesystem": f"file://{tmp_path}/r"}.get(
        kind, f"file://{tmp_path}/r?threaded=true"
    )
    repo = ic.Repository.create(url, packs=SMALL)
    session = with_array(repo)
    lengths = {n: (0, 1, 500, 900, 2_000, 2_001, 15_000)[n % 7] or 3 for n in range(COUNT)}
    written = {f"x/c/{n}": chunk(n, length) for n, length in lengths.items()}

    def write(item: tuple[str, bytes]) -> None:
        put(session, dict([item]))
        assert get(session, item[0]) == item[1]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, written.items()))
    written |= {"x/c/3": chunk(1003), "x/c/4": chunk(1004)}
    put(session, {key: written[key] for key in ("x/c/3", "x/c/4")})
    delete(session, ["x/c/5"])
    del written["x/c/5"]
    assert {key: get(session, key) for key in written} == written
    assert get(session, "x/c/5") is None
    session.commit("many")
    found = contents(repo.readonly_session("main").store)
    assert {key: value for key, value in found.items() if "/c/" in key} == written


def test_layout(tmp_path: Path) -> None:
    """Packs have at most the size asked for, refs follow one another, larger chunks are on their own."""
    repo = ic.Repository.create(str(tmp_path / "r"), packs=SMALL)
    session = with_array(repo)
    fill(session, range(25))
    put(session, {"x/c/30": chunk(30, 2_001)})
    session.commit("filled")
    assert sorted(chunk_files(tmp_path / "r").values()) == [2_001, 5_000, 10_000, 10_000]
    found = refs(session, range(25))
    assert [ref.offset for ref in found] == [1_000 * (n % 10) for n in range(25)]
    assert len({ref.chunk_id for ref in found}) == 3


def test_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``packs=False``, or the environment, gives every chunk an object; what is passed wins."""
    monkeypatch.setenv(PLAIN_LAYOUT_VARIABLE, "1")
    for name, packs, files in (("off", False, 20), ("environment", None, 20), ("on", True, 1)):
        repo = ic.Repository.create(str(tmp_path / name), packs=packs)
        session = with_array(repo)
        fill(session, range(20))
        session.commit("filled")
        assert len(chunk_files(tmp_path / name)) == files, name
    reopened = ic.Repository.open(str(tmp_path / "on"), packs=True).reopen(packs=False)
    assert not reopened._context.packs.enabled
    assert not pickle.loads(pickle.dumps(reopened))._context.packs.enabled


def test_bad_settings() -> None:
    """Settings that cannot be are refused, by name."""
    with pytest.raises(InvalidInputError, match="target_bytes=10 cannot hold"):
        ic.PackConfig(target_bytes=10, max_chunk_bytes=11)
    with pytest.raises(InvalidInputError, match="max_chunk_bytes must be at least 1"):
        ic.PackConfig(max_chunk_bytes=0)
    with pytest.raises(TypeError, match="PackConfig, True, False"):
        as_pack_config("no")  # type: ignore[arg-type]


@pytest.mark.parametrize("suspending", [False, True])
def test_failures_surface_and_lose_nothing(suspending: bool) -> None:
    """While packs cannot be written, writers and the commit get the error; later all is there."""
    storage, log = with_faults(ic.in_memory_storage())
    repo = ic.Repository.create(with_latency(storage, 0) if suspending else storage, packs=SMALL)
    session = with_array(repo)
    log.add(Fault("put", lambda: Unavailable("disk on fire"), key=in_chunks, times=10_000))
    written: dict[int, bytes] = {}

    def write_on() -> None:
        for n in range(COUNT):
            written.update(fill(session, [n]))

    with pytest.raises(Unavailable, match="disk on fire"):
        write_on()
    # At most what may be buffered was taken, and it is all still readable.
    assert 20 <= len(written) < 60
    assert {n: get(session, f"x/c/{n}") for n in written} == written
    with pytest.raises(Unavailable, match="disk on fire"):
        session.commit("fails")
    assert repo.lookup_branch("main") == session.snapshot_id
    log.clear()
    session.commit("works")
    assert held(repo, written) == written
    assert get(repo.readonly_session("main"), f"x/c/{len(written)}") is None


@pytest.mark.parametrize("suspending", [False, True])
def test_one_failure_is_made_up_for(suspending: bool) -> None:
    """A pack that could not be written in the background is written by the commit."""
    storage, log = with_faults(ic.in_memory_storage())
    repo = ic.Repository.create(with_latency(storage, 0) if suspending else storage, packs=SMALL)
    session = with_array(repo)
    log.add(Fault("put", lambda: Unavailable("a hiccup"), key=in_chunks, nth=1))
    written = fill(session, range(25))
    flights = [pack.flight for pack in session._state.sink.waiting.values() if pack.flight is not None]
    wait(flights)
    session.commit("works")
    assert held(repo, written) == written


@pytest.mark.parametrize("url", ["memory:", "file"])
def test_a_chunk_that_is_written_over_and_over(url: str, tmp_path: Path) -> None:
    """Memory stays bounded, the last value counts, and what was written over is known as not needed."""
    repo = ic.Repository.create(url if url == "memory:" else str(tmp_path / "r"), packs=SMALL)
    session = with_array(repo)
    sink = session._state.sink
    for number in range(1_500):
        put(session, {"x/c/7": chunk(number % 50)})
        held_back = sum(pack.size for pack in sink.waiting.values())
        assert held_back <= SMALL.buffered_bytes + 2 * SMALL.target_bytes
    delete(session, ["x/c/7"])
    assert get(session, "x/c/7") is None
    put(session, {"x/c/7": chunk(7)})
    session.commit("the last one")
    assert held(repo, [7]) == {7: chunk(7)}
    stats = repo.pack_stats()
    assert (stats.live_bytes, stats.dead_bytes + stats.unused_bytes) == (1_000, 1_500 * 1_000)


class Gate:
    """Lets puts of chunks wait until it is opened."""

    def __init__(self, storage: ic.Storage) -> None:
        put_hook = storage.hook("put")
        self.open = threading.Event()
        self.arrived = threading.Semaphore(0)

        async def gated(key: str, *arguments: Any) -> Any:
            if key.startswith("chunks/"):
                self.arrived.release()
                await asyncio.to_thread(self.open.wait)
            return await put_hook(key, *arguments)

        capabilities = evolve(storage.capabilities, may_suspend=True)
        self.storage = storage.with_hooks(capabilities, put=gated)


def test_memory_is_bounded() -> None:
    """Writers wait while more than the allowed bytes are not in the storage yet."""
    gate = Gate(ic.in_memory_storage())
    repo = ic.Repository.create(gate.storage, packs=SMALL)
    session = with_array(repo)
    sink = session._state.sink

    async def write() -> int:
        tasks = [
            asyncio.ensure_future(session.store.set(f"x/c/{n}", cpu.Buffer.from_bytes(chunk(n))))
            for n in range(100)
        ]
        await asyncio.to_thread(gate.arrived.acquire)
        for _ in range(50):
            await asyncio.sleep(0)
        taken = sum(task.done() for task in tasks)
        assert (
            sum(pack.size for pack in sink.waiting.values()) <= SMALL.buffered_bytes + 2 * SMALL.target_bytes
        )
        gate.open.set()
        await asyncio.gather(*tasks)
        return taken

    assert 20 <= asyncio.run(write()) <= 40
    session.commit("all")
    assert held(repo, range(100)) == {n: chunk(n) for n in range(100)}


def test_cancelled_writers_and_commits() -> None:
    """A cancelled commit and cancelled writers leave a session that commits all that was acknowledged."""
    gate = Gate(ic.in_memory_storage())
    repo = ic.Repository.create(gate.storage, packs=SMALL)
    session = with_array(repo)

    async def write() -> dict[int, bytes]:
        writers = {
            n: asyncio.ensure_future(session.store.set(f"x/c/{n}", cpu.Buffer.from_bytes(chunk(n))))
            for n in range(100)
        }
        await asyncio.to_thread(gate.arrived.acquire)
        for _ in range(50):
            await asyncio.sleep(0)
        acknowledged = {n: chunk(n) for n, writer in writers.items() if writer.done()}
        for writer in writers.values():
            writer.cancel()
        await asyncio.gather(*writers.values(), return_exceptions=True)
        commit = asyncio.ensure_future(session.commit_async("cancelled"))
        for _ in range(50):
            await asyncio.sleep(0)
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        gate.open.set()
        await session.commit_async("committed")
        return acknowledged

    acknowledged = asyncio.run(write())
    assert len(acknowledged) >= 20
    everything = held(repo, range(100))
    assert {n: everything[n] for n in acknowledged} == acknowledged
    assert all(everything[n] is None for n in range(100) if n not in acknowledged)


def test_two_flushes_at_once(tmp_path: Path) -> None:
    """Threads that flush one session at the same time write each pack once, and both find it written."""
    counted, metrics = with_metrics(ic.storage_from_url(f"file://{tmp_path}/r?threaded=true"))
    repo = ic.Repository.create(counted, packs=SMALL)
    session = with_array(repo)
    written = fill(session, range(35))
    metrics.reset()
    sink = session._state.sink

    async def flush() -> None:
        await asyncio.gather(*[sink.flush() for _ in range(5)])

    asyncio.run(flush())
    assert not sink.waiting
    assert metrics.calls["put"] <= 4
    session.commit("flushed")
    assert held(repo, written) == written


def test_pickling_while_another_thread_works() -> None:
    """A fork that is pickled before its chunks are written does not stop the loop that has to write them."""
    gate = Gate(ic.in_memory_storage())
    session = with_array(ic.Repository.create(gate.storage, packs=SMALL))
    fork = session.fork()
    fork._state.sink.put_at_once(chunk(1), 1_000)
    with ThreadPoolExecutor(2) as pool:
        pickling = pool.submit(lambda: fork.__getstate__()["state"])
        assert gate.arrived.acquire(timeout=60)
        asking = pool.submit(fork.chunk_type, "/x", [1])
        assert asking.result(60) is ic.ChunkType.uninitialized
        gate.open.set()
        assert pickling.result(60)["is_fork"]


def test_discarded_chunks_are_gone(tmp_path: Path) -> None:
    """Discarding changes leaves the session usable; what is written afterwards is committed, nothing else."""
    repo = ic.Repository.create(str(tmp_path / "r"), packs=SMALL)
    session = with_array(repo)
    fill(session, range(25))
    session.discard_changes()
    assert get(session, "x/c/3") is None
    written = fill(session, range(5, 10), seed=7)
    session.commit("the rest")
    assert held(repo, range(25)) == {n: written.get(n) for n in range(25)}


def test_forked_sessions(tmp_path: Path) -> None:
    """Chunks in the buffer of a session and of its forks arrive with the merge, also after pickling."""
    repo = ic.Repository.create(str(tmp_path / "r"), packs=SMALL)
    session = with_array(repo)
    written = fill(session, range(3))
    forks = [pickle.loads(pickle.dumps(session.fork())) for _ in range(3)]
    for at, fork in enumerate(forks):
        assert get(fork, "x/c/1") == written[1]
        written |= fill(fork, range(10 * at + 5, 10 * at + 12))
    session.merge(forks[0], pickle.loads(pickle.dumps(forks[1])))
    session.merge(forks[2])
    written |= fill(session, [50])
    session.commit("merged")
    assert held(repo, written) == written


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("threaded", ["false", "true"])
def test_a_forked_process(tmp_path: Path, threaded: str) -> None:
    """Parent and child go on with one buffer after ``fork``, and neither harms the other's chunks."""
    repo = ic.Repository.create(f"file://{tmp_path}/r?threaded={threaded}", packs=SMALL)
    session = with_array(repo)
    common = fill(session, range(13))
    child = os.fork()
    if child == 0:  # pragma: no cover - measured in the parent only
        status = 1
        try:
            fill(session, range(20, 24), seed=100)
            session.commit("child")
            status = 0
        finally:
            os._exit(status)
    mine = fill(session, range(30, 41))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    session.commit("parent", rebase_with=SOLVER)
    theirs = {n: chunk(100 + n) for n in range(20, 24)}
    assert held(repo, range(50)) == {n: (common | theirs | mine).get(n) for n in range(50)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("packs", [False, SMALL], ids=["plain", "packs"])
def test_a_process_that_is_forked_while_a_thread_writes(tmp_path: Path, packs: Any) -> None:
    """The child has all chunks, can write and commit, and waits for no thread that it does not have."""
    storage = ic.local_filesystem_storage(str(tmp_path / "r"))
    put_hook, arrived, open_gate = storage.hook("put"), threading.Event(), threading.Event()

    async def gated(key: str, *arguments: Any) -> Any:
        if key.startswith("chunks/") and not open_gate.is_set():
            arrived.set()
            open_gate.wait()
        return await put_hook(key, *arguments)

    repo = ic.Repository.create(storage.with_hooks(put=gated), packs=packs)
    session = with_array(repo)
    common = fill(session, range(13))
    flushing = threading.Thread(target=lambda: run_direct(session._state.sink.flush()))
    flushing.start()
    assert arrived.wait(60)
    child = os.fork()
    if child == 0:  # pragma: no cover - measured in the parent only
        status = 1
        try:
            signal.alarm(60)
            open_gate._flag = True  # type: ignore[attr-defined]
            common |= fill(session, [20])
            session.commit("child")
            status = 0 if held(repo, common) == common else 2
        finally:
            os._exit(status)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        open_gate.set()
        flushing.join(60)
    session.commit("parent", rebase_with=SOLVER)
    assert held(repo, common) == common
