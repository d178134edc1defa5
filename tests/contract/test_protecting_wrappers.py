"""Wrappers that protect a storage: retries and limits; composing and pickling all wrappers."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import pytest

from icechunk_core.clock import SystemClock
from icechunk_core.contract import IF_ABSENT, Storage
from icechunk_core.drive import run_direct
from icechunk_core.errors import (
    AlreadyExists,
    InvalidInputError,
    NotFound,
    PluginError,
    RateLimited,
    StorageError,
    Timeout,
    Unavailable,
)
from icechunk_core.ids import SystemIds
from icechunk_core.plugins import open_storage
from icechunk_core.storage import (
    Fault,
    RetryPolicy,
    with_concurrency_limit,
    with_faults,
    with_latency,
    with_metrics,
    with_retries,
)


class NoWaits(SystemClock):
    """Sleeps are recorded and move the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class NoJitter(SystemIds):
    """Every wait has its full length."""

    def uniform(self) -> float:
        return 1.0


@pytest.fixture
def clock() -> NoWaits:
    """Time that does not pass."""
    return NoWaits()


def failing(storage: Storage, clock: NoWaits, *faults: Fault, **policy: Any) -> Storage:
    """A storage with these faults, and retries around it."""
    broken, _ = with_faults(storage, *faults)
    return with_retries(broken, RetryPolicy(**policy), clock=clock, ids=NoJitter())


@pytest.fixture
def storage() -> Storage:
    """A memory storage with three objects."""
    storage = open_storage("memory:")
    for key in "abc":
        run_direct(storage.put(key, key.encode()))
    return storage


# --- retries -----------------------------------------------------------------


@pytest.mark.parametrize("error", [Timeout("late"), Unavailable("down"), RateLimited("slower")])
@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("get_range", lambda storage: storage.get_range("a")),
        ("head", lambda storage: storage.head("a")),
        ("delete", lambda storage: storage.delete(["a"])),
        ("copy", lambda storage: storage.copy("a", "b")),
        ("put", lambda storage: storage.put("a", b"2")),
    ],
)
def test_harmless_calls_are_repeated(
    storage: Storage, clock: NoWaits, operation: str, call: Any, error: StorageError
) -> None:
    """What may be done twice is repeated, with waits that double."""
    retrying = failing(storage, clock, Fault(operation, error, times=3), attempts=4, first_wait=1.0)
    run_direct(call(retrying))
    assert clock.waits == [1.0, 2.0, 4.0]


def test_the_last_failure_is_told(storage: Storage, clock: NoWaits) -> None:
    """When attempts or time are used up the storage's own error comes out; others are not repeated at all."""
    always = Fault("head", Timeout("late"), times=None)
    with pytest.raises(Timeout, match="late"):
        run_direct(failing(storage, clock, always, attempts=3).head("a"))
    assert len(clock.waits) == 2
    with pytest.raises(Timeout):
        run_direct(
            failing(storage, clock, always, attempts=100, first_wait=10, longest_wait=10, deadline=35).head(
                "a"
            )
        )
    assert len(clock.waits) == 5
    with pytest.raises(NotFound):
        run_direct(failing(storage, clock).head("missing"))
    assert len(clock.waits) == 5


def test_a_conditional_put_is_not_repeated_blindly(storage: Storage, clock: NoWaits) -> None:
    """After a lost answer the write may have landed: repeating it would report a lie. A refusal is safe."""
    lost = failing(storage, clock, Fault("put", Timeout("lost"), after=True))
    with pytest.raises(Timeout):
        run_direct(lost.put("new", b"1", IF_ABSENT))
    assert not clock.waits
    refused = failing(storage, clock, Fault("put", RateLimited("slower")))
    run_direct(refused.put("newer", b"1", IF_ABSENT))
    with pytest.raises(AlreadyExists):
        run_direct(refused.put("newer", b"1", IF_ABSENT))


def test_listings_go_on_where_they_broke(storage: Storage, clock: NoWaits) -> None:
    """No key twice, none left out."""
    breaks = iter([1, 0, 1])

    def broken_list(inner: Any) -> Any:
        async def list_(prefix: str, start_after: str | None) -> Any:
            after = next(breaks, 99)
            async for info in inner(prefix, start_after):
                if not after:
                    raise Unavailable("broke off")
                after -= 1
                yield info

        return list_

    breaking = storage.with_hooks(list=broken_list(storage.hook("list")))
    retrying = with_retries(breaking, RetryPolicy(), clock=clock, ids=NoJitter())

    async def keys() -> list[str]:
        return [info.key async for info in retrying.list()]

    assert run_direct(keys()) == ["a", "b", "c"]
    assert len(clock.waits) == 3


# --- limits ------------------------------------------------------------------


class Gauge:
    """How many calls are inside at once, and the most there were."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    async def sleep(self, _: float) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with self._lock:
            self.now -= 1


def test_a_limit_holds_over_loops_and_threads(storage: Storage) -> None:
    """Four loops in four threads make forty calls; never more than three are inside, and all get through."""
    gauge = Gauge()
    limited = with_concurrency_limit(with_latency(storage, 1.0, sleep=gauge.sleep), 3)
    finished: list[int] = []

    async def work() -> None:
        results = await asyncio.gather(*(limited.get_range("a") for _ in range(10)))
        finished.append(len(results))

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert finished == [10] * 4
    assert 1 <= gauge.most <= 3


async def test_who_gives_up_leaves_no_gap(storage: Storage) -> None:
    """Calls that are cancelled, waiting or inside, give their places on."""
    entered, go = asyncio.Event(), asyncio.Event()

    async def hold(_: float) -> None:
        entered.set()
        await go.wait()

    limited = with_concurrency_limit(with_latency(storage, 1.0, sleep=hold), 1)
    inside = asyncio.create_task(limited.head("a"))
    await entered.wait()
    waiting = [asyncio.create_task(limited.head("a")) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    inside.cancel()
    waiting[1].cancel()
    go.set()
    assert (await waiting[2]).key == "a"
    assert (await limited.head("b")).key == "b"
    outcomes = await asyncio.gather(inside, *waiting[:2], return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in outcomes)


async def test_calls_between_items_of_a_listing(storage: Storage) -> None:
    """A listing that is under way takes no place: what it shows can be read meanwhile."""
    for base in (storage, with_latency(storage, 0.0)):
        limited = with_concurrency_limit(base, 1)
        read = [bytes((await limited.get_range(info.key))[0]) async for info in limited.list()]
        assert read == [b"a", b"b", b"c"]


def test_a_limit_is_positive(storage: Storage) -> None:
    """Zero would wait forever."""
    with pytest.raises(InvalidInputError, match="1 or more"):
        with_concurrency_limit(storage, 0)


# --- composing ---------------------------------------------------------------


def test_wrappers_compose(storage: Storage, clock: NoWaits) -> None:
    """Each sees what the one around it does: the inner counter counts every repeat, the outer one call."""
    broken, log = with_faults(storage, Fault("head", Unavailable("down"), times=2))
    counted, inner = with_metrics(broken)
    retried = with_retries(with_concurrency_limit(counted, 2), clock=clock, ids=NoJitter())
    outside, outer = with_metrics(retried)
    assert run_direct(outside.head("a")).key == "a"
    assert (outer.calls["head"], inner.calls["head"], len(log.struck)) == (1, 3, 2)
    assert outer.errors == {}
    assert outside.capabilities == storage.capabilities
    assert outside.hook_names == storage.hook_names


def test_wrapped_storages_pickle() -> None:
    """What was wrapped comes back wrapped, around the same storage; scripted faults refuse."""
    storage = open_storage("memory:pickled-wrappers")
    run_direct(storage.put("a", b"1"))
    counted, metrics = with_metrics(with_retries(with_concurrency_limit(storage, 2), RetryPolicy(attempts=2)))
    copy = pickle.loads(pickle.dumps(counted))
    assert copy == counted
    assert run_direct(copy.head("a")).key == "a"
    assert metrics.total_calls == 0
    slow = pickle.loads(pickle.dumps(with_latency(storage, 0.0)))
    assert slow.may_suspend
    broken, _ = with_faults(storage)
    for each in (broken, with_retries(broken)):
        with pytest.raises(PluginError, match="cannot be pickled"):
            pickle.dumps(each)
