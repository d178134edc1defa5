"""Blocking calls in worker threads, and what cancelling a write means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["Threads", "settled"]

T = TypeVar("T")

_GRACE = 5.0
"""Seconds that a cancelled write is waited for."""


class Threads:
    """A pool of as many threads as requests may be under way."""

    def __init__(self, count: int) -> None:
        self._workers = ThreadPoolExecutor(count, "icechunk-gcs")

    async def run(self, timeout: float | None, call: Callable[..., T], *arguments: Any) -> T:
        """The call's result. Cancelled before it began, it never begins; later, its result is dropped.

        Raises
        ------
        TimeoutError
            After that many seconds; the call goes on until its connection times out.
        """
        async with asyncio.timeout(timeout):
            return await asyncio.wrap_future(self._workers.submit(call, *arguments))

    def shutdown(self) -> None:
        """Let the threads end when their calls have."""
        self._workers.shutdown(wait=False)


async def settled(write: Coroutine[Any, Any, T]) -> T:
    """Await a write so that a cancelled one has either happened or never will, if that is soon known.

    A request that is under way cannot be called back. When its caller is cancelled, it gets a few
    seconds to come to its end before the cancellation goes on; then the caller sees what is
    there. Where it hangs longer, the cancellation does not wait: as with every cancelled write, only
    reading tells.
    """
    task: asyncio.Task[T] = asyncio.ensure_future(write)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await _grace(task)
        raise


async def _grace(task: asyncio.Task[Any]) -> None:
    try:
        await asyncio.wait([task], timeout=_GRACE)
    finally:
        if not task.done():
            task.cancel()
        elif not task.cancelled():
            task.exception()  # seen; the cancellation says more
