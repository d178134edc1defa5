"""Several requests of one operation at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

__all__ = ["in_parallel"]

T = TypeVar("T")


async def in_parallel(jobs: Sequence[Callable[[], Awaitable[T]]], limit: int) -> list[T]:
    """Results of all jobs, in order, at most ``limit`` at once.

    The first failure cancels the others and is raised when they have ended, so that nothing of
    an operation goes on after it.
    """
    if len(jobs) <= 1:
        return [await job() for job in jobs]
    gate = asyncio.Semaphore(limit)

    async def guarded(job: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await job()

    tasks = [asyncio.ensure_future(guarded(job)) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
