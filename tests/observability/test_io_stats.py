"""Counters of what sessions and repositories ask of storages."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.contract import IF_ABSENT, Range, Storage, note_retry
from icechunk_core.contract.io_stats import LONGEST_LOG, IoStats
from icechunk_core.contract.wrappers import (
    Fault,
    RetryPolicy,
    observed,
    with_faults,
    with_latency,
    with_metrics,
    with_retries,
)
from icechunk_core.drive import run_direct
from icechunk_core.errors import AlreadyExists, NotFound, Unavailable
from icechunk_core.ids import SeededIds

CHUNK = 1024


def fill(session: ic.Session, chunks: int = 50) -> zarr.Array[Any]:
    """An array with so many chunks of 1 KiB."""
    array = zarr.create_array(
        session.store, name="a", shape=(chunks, CHUNK), chunks=(1, CHUNK), dtype="u1", compressors=None
    )
    array[:] = np.arange(chunks, dtype="u1")[:, None] + 1
    return array


async def no_wait(seconds: float) -> None:
    """A pause that is over at once."""


@pytest.mark.parametrize("suspends", [False, True], ids=["direct", "suspending"])
@pytest.mark.parametrize("packs", [True, False], ids=["packs", "plain"])
def test_every_request_is_counted_once(suspends: bool, packs: bool) -> None:
    """With packs and without, read one by one or together: the counters are what reached the storage."""
    below, metrics = with_metrics(ic.in_memory_storage())
    storage = with_latency(below, 0, sleep=no_wait) if suspends else below
    repo = ic.Repository.create(storage, packs=packs)
    session = repo.writable_session("main")
    fill(session)
    session.commit("fifty chunks")
    reader = repo.readonly_session("main")
    assert (zarr.open_array(reader.store, path="a")[:, 0] == np.arange(50) + 1).all()
    counted = repo.io_stats.operations
    assert counted["get"].requests + counted["get_range"].requests == metrics.calls["get_range"]
    assert counted["put"].requests + counted["put_conditional"].requests == metrics.calls["put"]
    assert counted["head"].requests == metrics.calls["head"]
    assert counted["list"].objects == metrics.objects_listed
    assert repo.io_stats.requests == metrics.total_calls
    assert repo.io_stats.bytes_read == metrics.bytes_read
    assert repo.io_stats.bytes_written == metrics.bytes_written
    chunk_writes = session.io_stats.operations["put"].requests
    assert (chunk_writes < 10) is packs
    if packs:
        assert reader.io_stats.operations["get_range"].requests < 10


def test_sessions_count_for_themselves() -> None:
    """What one session asks for is in its counters and in the repository's, not in another session's."""
    repo = ic.Repository.create("memory:")
    writer, reader = repo.writable_session("main"), repo.readonly_session("main")
    fill(writer)
    before = repo.io_stats.requests
    writer.commit("done")
    assert reader.io_stats.requests == 0
    assert writer.io_stats.operations["put_conditional"].requests == 1
    assert repo.io_stats.requests - before == writer.io_stats.requests
    assert repo.reopen().io_stats.requests == 0


def test_opening_counts_for_the_repository() -> None:
    """The requests that find and read a repository are counted by the object that they open."""
    ic.Repository.create("memory:opened")
    opened = ic.Repository.open("memory:opened")
    assert opened.io_stats.operations["get"].requests == 1
    session = opened.readonly_session("main")
    assert session.io_stats.requests == 0
    assert opened.io_stats.operations["get"].requests > 1


def test_reset() -> None:
    """After a reset everything is zero, and counting goes on."""
    repo = ic.Repository.create("memory:")
    assert repo.io_stats.requests > 0
    repo.io_stats.reset()
    assert repo.io_stats.to_dict() == IoStats().to_dict()
    repo.list_branches()
    assert repo.io_stats.requests == 1


def test_caches() -> None:
    """Snapshots and manifests that are in memory count as found, others as missed."""
    repo = ic.Repository.create("memory:cached")
    session = repo.writable_session("main")
    fill(session)
    session.commit("done")
    fresh = ic.Repository.open("memory:cached")
    for hits, misses in ((0, 1), (1, 1)):
        fresh.readonly_session("main")
        assert (fresh.io_stats.cache_hits, fresh.io_stats.cache_misses) == (hits, misses)


def test_failures_are_told_by_kind() -> None:
    """A call that raises counts as a request and a failure, by the error's kind; its bytes do not count."""
    stats = IoStats()
    storage = observed(ic.in_memory_storage(), stats)
    run_direct(storage.put("a", b"1234"))
    with pytest.raises(AlreadyExists):
        run_direct(storage.put("a", b"other", IF_ABSENT))
    for read in (storage.get_range("b"), storage.get_range("b", Range(0, 1)), storage.head("b")):
        with pytest.raises(NotFound):
            run_direct(read)
    found = {name: (row.requests, row.failures, row.bytes) for name, row in stats.operations.items()}
    assert found == {
        "get": (1, 1, 0),
        "get_range": (1, 1, 0),
        "put": (1, 0, 4),
        "put_conditional": (1, 1, 0),
        "head": (1, 1, 0),
    }
    assert stats.errors == {"object-already-exists": 1, "object-not-found": 3}
    assert stats.failures == 4


def test_retries_are_counted_where_they_happen() -> None:
    """A wrapper that repeats a call is one request with retries, wherever in the stack it is."""
    broken, _ = with_faults(ic.in_memory_storage(), Fault("get_range", Unavailable("later"), times=2))
    stats = IoStats()
    storage = observed(with_retries(broken, RetryPolicy(first_wait=0.0)), stats)
    run_direct(storage.put("a", b"1234"))
    run_direct(storage.get_range("a", Range(1, 3)))
    row = stats.operations["get_range"]
    assert (row.requests, row.retries, row.failures, row.bytes) == (1, 2, 0, 2)
    note_retry()  # of something that nobody observes
    assert stats.retries == 2


class _AtOnce(SeededIds):
    """Draws no time to wait."""

    def uniform(self) -> float:
        return 0.0


async def test_backends_tell_their_retries() -> None:
    """Each backend that repeats requests says so to whoever counts."""
    from icechunk_azure._errors import Failed
    from icechunk_azure._retry import Retrying as AzureRetrying
    from icechunk_core.clock import SystemClock
    from icechunk_core.contract.io_stats import under_way
    from icechunk_gcs._errors import AttemptFailed
    from icechunk_gcs._retry import Retrying as GcsRetrying

    class Recorder:
        retries = 0

        def retried(self) -> None:
            self.retries += 1

    def failing_once(error: Exception) -> Any:
        failures = [error]

        async def attempt() -> str:
            if failures:
                raise failures.pop()
            return "done"

        return attempt

    clock, ids, policy = SystemClock(), _AtOnce(0), RetryPolicy(attempts=3, deadline=9.0)
    azure = AzureRetrying(policy, clock, ids)
    gcs = GcsRetrying(clock, ids, policy)
    for run, error in (
        (azure.run, Failed(Unavailable("later"))),
        (gcs, AttemptFailed(Unavailable("later"), again=True, landed=False)),
    ):
        recorder = Recorder()
        under_way.set(recorder)
        assert await run(failing_once(error)) == "done"
        assert recorder.retries == 1
    under_way.set(None)


def test_virtual_chunks_count(tmp_path: Path) -> None:
    """Requests to the storages of virtual chunks count, and are told apart."""
    (tmp_path / "raw.bin").write_bytes(np.arange(8, dtype="<i4").tobytes())
    prefix = f"file://{tmp_path}/"
    config = ic.RepositoryConfig()
    config.set_virtual_chunk_container(
        ic.VirtualChunkContainer(prefix, ic.local_filesystem_store(str(tmp_path)))
    )
    allowed = {prefix: ic.Credentials.LocalFileSystemAccess()}
    repo = ic.Repository.create("memory:", config, allowed)
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="x", shape=(8,), chunks=(4,), dtype="<i4", compressors=None)
    for index in range(2):
        session.store.set_virtual_ref(f"x/c/{index}", f"{prefix}raw.bin", offset=16 * index, length=16)
    session.io_stats.reset()
    assert zarr.open_array(session.store, path="x")[:].tolist() == list(range(8))
    for stats in (session.io_stats, repo.io_stats):
        row = stats.virtual["get_range"]
        assert (row.requests, row.bytes) == (2, 32)
    assert session.io_stats.operations == session.io_stats.virtual


def test_threads_lose_no_count() -> None:
    """Eight threads that read at once are counted exactly, also past the length of a log."""
    stats = IoStats()
    storage = observed(ic.in_memory_storage(), stats, IoStats())
    run_direct(storage.put("a", b"12345"))
    each = LONGEST_LOG

    def read() -> None:
        for _ in range(each):
            run_direct(storage.get_range_hook("a", Range(0, 3), None))  # type: ignore[arg-type]

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = stats.operations["get_range"]
    assert (row.requests, row.bytes) == (8 * each, 3 * 8 * each)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_counts_from_zero() -> None:
    """What the parent asked for is not counted by the child, and the other way round."""
    repo = ic.Repository.create("memory:")
    before = repo.io_stats.requests
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        seen = [repo.io_stats.requests]
        repo.list_branches()
        seen.append(repo.io_stats.requests)
        os._exit(0 if seen == [0, 1] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert repo.io_stats.requests == before > 0


def test_copies_count_for_themselves() -> None:
    """A session that was pickled shows the same, and has counters of its own."""
    repo = ic.Repository.create("memory:")
    session = repo.writable_session("main")
    fill(session)
    session.commit("done")
    reader = repo.readonly_session("main")
    copy = pickle.loads(pickle.dumps(reader))
    assert copy == reader
    zarr.open_array(copy.store, path="a")[0]
    assert copy.io_stats.requests > 0
    assert reader.io_stats.requests == 0


def test_an_observed_storage_is_the_storage() -> None:
    """It equals the storage, pickles as it, and is not observed twice by observing it again."""
    first, second = IoStats(), IoStats()
    storage: Storage = ic.in_memory_storage()
    seen = observed(storage, first)
    assert seen == storage
    assert seen.unobserved is storage
    assert pickle.loads(pickle.dumps(seen)) == storage
    run_direct(observed(seen, second).put("a", b"1"))
    assert (first.requests, second.requests) == (0, 1)
    empty = ic.in_memory_storage()
    assert ic.Repository.create(observed(empty, first)).storage is empty


async def test_listings_that_are_left_early() -> None:
    """A listing that its caller leaves counts once, with what it has shown."""
    stats = IoStats()
    storage = observed(ic.in_memory_storage(), stats)
    for name in "abcd":
        await storage.put(name, b"x")
    listing = storage.list("")
    async for info in listing:
        if info.key == "b":
            break
    await listing.aclose()  # type: ignore[attr-defined]
    row = stats.operations["list"]
    assert (row.requests, row.objects, row.failures) == (1, 2, 0)


def test_counters_describe_themselves() -> None:
    """Text and HTML have the totals and a line for each operation that was asked for."""
    repo = ic.Repository.create("memory:")
    stats = repo.io_stats
    shown = repr(stats)
    assert f"requests: {stats.requests}" in shown
    assert "put_conditional" in shown
    assert "copy" not in shown
    html = stats._repr_html_()
    assert "<td>put_conditional</td>" in html
    assert "icechunk_core.IoStats" in html
