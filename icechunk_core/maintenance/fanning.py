"""Spread work over an executor: threads, processes, or the workers of a Dask cluster.

What runs elsewhere is a plain function of picklable arguments. It opens nothing by itself
but what it is given: a storage pickles by its configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

from icechunk_core.drive import wait_for

__all__ = ["batches", "fan_out"]

T = TypeVar("T")
A = TypeVar("A")

_AHEAD = 64


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive items in lists of at most ``size``.

    >>> list(batches("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


async def fan_out(
    executor: Executor,
    function: Callable[[A], T],
    arguments: Iterable[A],
    done: Callable[[T], None],
    *,
    may_suspend: bool,
) -> None:
    """Call ``done`` with each result, in order; at most 64 calls are waiting at a time.

    The first failure cancels what has not begun, and is raised.
    """
    waiting: list[Future[T]] = []
    try:
        for argument in arguments:
            waiting.append(executor.submit(function, argument))
            if len(waiting) >= _AHEAD:
                done(await wait_for(waiting.pop(0), may_suspend=may_suspend))
        while waiting:
            done(await wait_for(waiting.pop(0), may_suspend=may_suspend))
    finally:
        for future in waiting:
            future.cancel()
