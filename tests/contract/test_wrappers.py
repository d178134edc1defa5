"""Wrappers that count, slow down and break a storage."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from icechunk_core.clock import SystemClock
from icechunk_core.contract import ALWAYS, IF_ABSENT, IfVersion, Range, Storage
from icechunk_core.contract.wrappers import Fault, with_faults, with_latency, with_metrics
from icechunk_core.drive import run_direct
from icechunk_core.errors import AlreadyExists, NotFound, Timeout, Unavailable, VersionMismatch
from icechunk_core.plugins import open_storage


@pytest.fixture
def storage() -> Storage:
    """An empty memory storage."""
    return open_storage("memory:")


def keys_in(storage: Storage, prefix: str = "") -> list[str]:
    """All keys, in the order of the listing."""

    async def collect() -> list[str]:
        return [info.key async for info in storage.list(prefix)]

    return run_direct(collect())


class SteppingClock(SystemClock):
    """Every look at the clock takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


# --- metrics -----------------------------------------------------------------


def test_metrics_count_calls_bytes_and_objects(storage: Storage) -> None:
    """Each call is counted once, with the bytes that it moved and the objects that it listed."""
    measured, metrics = with_metrics(storage)
    run_direct(measured.put("a", [b"12", b"345"]))
    run_direct(measured.put("b", b"6"))
    run_direct(measured.get_range("a", Range(1, 3)))
    run_direct(measured.head("a"))
    assert keys_in(measured) == ["a", "b"]
    run_direct(measured.copy("a", "c"))
    run_direct(measured.delete(["a", "b"]))
    run_direct(measured.close())
    assert metrics.calls == {
        "put": 2, "get_range": 1, "head": 1, "list": 1, "copy": 1, "delete": 1, "close": 1
    }  # fmt: skip
    assert (metrics.bytes_written, metrics.bytes_read, metrics.objects_listed) == (6, 2, 2)
    assert metrics.total_calls == 8
    assert not metrics.errors


def test_metrics_count_errors_by_class(storage: Storage) -> None:
    """A failed call is a call, and an error under its class; the error arrives unchanged."""
    measured, metrics = with_metrics(storage)
    run_direct(measured.put("a", b"1"))
    with pytest.raises(NotFound):
        run_direct(measured.get_range("missing"))
    with pytest.raises(AlreadyExists):
        run_direct(measured.put("a", b"2", IF_ABSENT))
    assert metrics.errors == {("get_range", "NotFound"): 1, ("put", "AlreadyExists"): 1}
    assert metrics.calls == {"put": 2, "get_range": 1}
    assert metrics.bytes_written == 1


def test_metrics_measure_time(storage: Storage) -> None:
    """Durations come from the injected clock, by operation."""
    measured, metrics = with_metrics(storage, clock=SteppingClock())
    run_direct(measured.put("a", b"1"))
    run_direct(measured.put("a", b"1"))
    assert metrics.seconds == {"put": 2.0}


def test_a_listing_that_is_left_early_is_counted(storage: Storage) -> None:
    """What was seen counts, and leaving is no error."""
    measured, metrics = with_metrics(storage)
    for key in "abc":
        run_direct(measured.put(key, b""))
    metrics.reset()

    async def first() -> str:
        items = measured.list()
        key = (await anext(items)).key
        await items.aclose()  # type: ignore[attr-defined]
        return key

    assert run_direct(first()) == "a"
    assert (metrics.calls["list"], metrics.objects_listed, len(metrics.errors)) == (1, 1, 0)


def test_wrapped_storages_keep_their_promises(storage: Storage) -> None:
    """Metrics and faults change no capability: a storage that never suspends can still be driven by hand."""
    measured, _ = with_metrics(storage)
    broken, _ = with_faults(measured)
    assert broken.capabilities == storage.capabilities
    assert broken.may_suspend is False
    assert broken.hook_names == storage.hook_names


# --- latency -----------------------------------------------------------------


async def test_latency_waits_before_each_call(storage: Storage) -> None:
    """The wait comes first, for as long as was asked for that operation."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    slow = with_latency(storage, lambda operation: {"put": 2.0}.get(operation, 1.0), sleep=sleep)
    await slow.put("a", b"1")
    await slow.get_range("a")
    assert [info.key async for info in slow.list()] == ["a"]
    assert waits == [2.0, 1.0, 1.0]


async def test_latency_suspends_and_says_so(storage: Storage) -> None:
    """Other tasks run while a call waits, and the storage declares that it may suspend."""
    slow = with_latency(storage, 0.0)
    assert slow.may_suspend
    assert slow.capabilities.may_suspend
    order: list[str] = []

    async def other() -> None:
        order.append("other")

    task = asyncio.ensure_future(other())
    await slow.put("a", b"1")
    order.append("put")
    await task
    assert order == ["other", "put"]


# --- faults ------------------------------------------------------------------


def test_a_fault_before_the_call_leaves_the_storage_alone(storage: Storage) -> None:
    """The request never arrived: an error, and nothing written."""
    broken, log = with_faults(storage, Fault("put", Unavailable("down")))
    with pytest.raises(Unavailable, match="down"):
        run_direct(broken.put("a", b"1"))
    assert keys_in(storage) == []
    run_direct(broken.put("a", b"1"))
    assert keys_in(storage) == ["a"]
    assert [call.operation for _, call in log.struck] == ["put"]


def test_a_fault_after_the_call_loses_only_the_response(storage: Storage) -> None:
    """The put landed, the caller sees an error: the case that must not become a lie."""
    broken, _ = with_faults(storage, Fault("put", Timeout("no answer"), key="repo", after=True))
    with pytest.raises(Timeout):
        run_direct(broken.put("repo", b"1", IF_ABSENT))
    assert keys_in(storage) == ["repo"]
    with pytest.raises(AlreadyExists):
        run_direct(broken.put("repo", b"1", IF_ABSENT))


def test_a_fault_after_a_call_that_failed_does_not_strike(storage: Storage) -> None:
    """A call that raised did not land: its own error is what the caller sees."""
    broken, log = with_faults(storage, Fault("get_range", Timeout("no answer"), after=True))
    with pytest.raises(NotFound):
        run_direct(broken.get_range("missing"))
    assert log.struck == []


def test_the_nth_matching_calls_are_struck(storage: Storage) -> None:
    """Counting is per fault, among the calls that match."""
    broken, _ = with_faults(storage, Fault("put", Unavailable("down"), key="a", nth=2, times=2))
    outcomes = []
    for key in ["a", "b", "a", "b", "a", "a"]:
        try:
            run_direct(broken.put(key, b""))
            outcomes.append("ok")
        except Unavailable:
            outcomes.append("down")
    assert outcomes == ["ok", "ok", "down", "ok", "down", "ok"]


def test_a_fault_can_last(storage: Storage) -> None:
    """``times=None`` strikes until the faults are cleared; errors can be made afresh."""
    broken, log = with_faults(storage, Fault("*", lambda: Unavailable("down"), times=None))
    errors = []
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            run_direct(broken.head("a"))
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3
    log.clear()
    run_direct(broken.put("a", b""))
    log.add(Fault("head", Unavailable("again")))
    with pytest.raises(Unavailable, match="again"):
        run_direct(broken.head("a"))


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("get_range", lambda storage: storage.get_range("a")),
        ("put", lambda storage: storage.put("a", b"")),
        ("head", lambda storage: storage.head("a")),
        ("delete", lambda storage: storage.delete(["b", "a"])),
        ("copy", lambda storage: storage.copy("b", "a")),
    ],
)
def test_faults_match_by_key(storage: Storage, operation: str, call: Any) -> None:
    """The key of a fault is any of the keys that a call is about."""
    broken, log = with_faults(storage, Fault(operation, Unavailable("down"), key="a"))
    with pytest.raises(Unavailable):
        run_direct(call(broken))
    assert log.struck[0][1].operation == operation
    assert "a" in log.struck[0][1].keys


def test_faults_match_by_function(storage: Storage) -> None:
    """A function of the call decides, for instance by the condition of a put."""
    conditional = Fault("put", Unavailable("down"), key=lambda call: call.arguments[2] is not ALWAYS)
    broken, _ = with_faults(storage, conditional)
    run_direct(broken.put("a", b""))
    with pytest.raises(Unavailable):
        run_direct(broken.put("b", b"", IF_ABSENT))


@pytest.mark.parametrize("after", [False, True])
def test_listings_fail_before_or_after_their_items(storage: Storage, after: bool) -> None:
    """A listing can fail at once, or when all its items were seen."""
    run_direct(storage.put("a", b""))
    broken, _ = with_faults(storage, Fault("list", Unavailable("down"), after=after))
    seen: list[str] = []

    async def collect() -> None:
        async for info in broken.list():
            seen.append(info.key)  # noqa: PERF401 - what was seen before the error counts

    with pytest.raises(Unavailable):
        run_direct(collect())
    assert seen == (["a"] if after else [])


def test_another_writer_gets_in_between(storage: Storage) -> None:
    """``meanwhile`` runs just before the struck call: a compare-and-swap loses the race it places."""
    version = run_direct(storage.put("repo", b"0"))

    async def other_writer() -> None:
        await storage.put("repo", b"theirs", IfVersion(version))

    broken, _ = with_faults(storage, Fault("put", key="repo", meanwhile=other_writer))
    with pytest.raises(VersionMismatch):
        run_direct(broken.put("repo", b"ours", IfVersion(version)))
    assert run_direct(storage.get_range("repo"))[0] == b"theirs"


def test_lost_and_then_overwritten(storage: Storage) -> None:
    """Our put lands, another writer replaces it, and our response is lost: all three from one fault."""

    async def other_writer() -> None:
        await storage.put("repo", b"theirs")

    lost = Fault("put", Timeout("no answer"), key="repo", after=True, meanwhile=other_writer)
    broken, log = with_faults(storage, lost)
    with pytest.raises(Timeout):
        run_direct(broken.put("repo", b"ours"))
    assert run_direct(storage.get_range("repo"))[0] == b"theirs"
    assert [call.operation for call in log.calls] == ["put"]
