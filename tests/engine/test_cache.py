"""The loading cache: bounded, one load at a time, correct when loads fail or are cancelled."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.assets.cache import LoadingCache
from icechunk_core.drive import run_direct


async def test_concurrent_misses_load_once() -> None:
    """Ten tasks that miss at once share one load."""
    cache: LoadingCache[int] = LoadingCache(10, lambda _: 1, may_suspend=True)
    loads = 0
    release = asyncio.Event()

    async def load() -> int:
        nonlocal loads
        loads += 1
        await release.wait()
        return 7

    tasks = [asyncio.create_task(cache.get("k", load)) for _ in range(10)]
    await asyncio.sleep(0)
    release.set()
    assert await asyncio.gather(*tasks) == [7] * 10
    assert loads == 1


async def test_a_cancelled_leader_does_not_take_the_others_along() -> None:
    """When the task that loads is cancelled, another one loads; a cancelled waiter harms nobody."""
    cache: LoadingCache[int] = LoadingCache(10, lambda _: 1, may_suspend=True)
    started = asyncio.Event()
    release = asyncio.Event()

    async def load() -> int:
        started.set()
        await release.wait()
        return 7

    leader = asyncio.create_task(cache.get("k", load))
    await started.wait()
    waiters = [asyncio.create_task(cache.get("k", load)) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    leader.cancel()
    release.set()
    assert await asyncio.gather(*waiters[1:]) == [7, 7]
    assert (await asyncio.gather(leader, waiters[0], return_exceptions=True))[0].__class__ is (
        asyncio.CancelledError
    )


def test_a_failed_load_is_not_remembered() -> None:
    """The next caller loads again."""
    cache: LoadingCache[int] = LoadingCache(10, lambda _: 1, may_suspend=False)

    async def fail() -> int:
        raise ValueError("no")

    async def succeed() -> int:
        return 3

    with pytest.raises(ValueError, match="no"):
        run_direct(cache.get("k", fail))
    assert run_direct(cache.get("k", succeed)) == 3


def test_threads_share_one_load() -> None:
    """Threads that drive coroutines by hand wait for the one that loads."""
    cache: LoadingCache[int] = LoadingCache(10, lambda _: 1, may_suspend=False)
    loads: list[int] = []
    inside, release = threading.Event(), threading.Event()

    async def load() -> int:
        loads.append(1)
        inside.set()
        release.wait(10)
        return 5

    results: list[int] = []
    first = threading.Thread(target=lambda: results.append(run_direct(cache.get("k", load))))
    first.start()
    inside.wait(10)
    others = [
        threading.Thread(target=lambda: results.append(run_direct(cache.get("k", load)))) for _ in range(4)
    ]
    for thread in others:
        thread.start()
    release.set()
    for thread in [first, *others]:
        thread.join()
    assert results == [5] * 5
    assert len(loads) == 1


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 6)), max_size=40), st.integers(0, 12))
def test_weight_stays_within_capacity(puts: list[tuple[int, int]], capacity: int) -> None:
    """Whatever is put, the kept weights never exceed the capacity, and the newest that fits is kept."""
    cache: LoadingCache[int] = LoadingCache(capacity, lambda weight: weight, may_suspend=False)
    for key, weight in puts:
        cache.put(key, weight)
        kept = [cache.peek(other) for other in range(9)]
        assert sum(w for w in kept if w is not None) <= capacity
        assert cache.peek(key) == (weight if weight <= capacity else None)
