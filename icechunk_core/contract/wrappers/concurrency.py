"""Bound how many calls a storage serves at a time, over all event loops and threads of the process."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol

from icechunk_core.contract.storage import Storage
from icechunk_core.contract.wrappers._around import around_each
from icechunk_core.errors import InvalidInputError

__all__ = ["with_concurrency_limit"]


class _Slots(Protocol):
    """A bounded number of places; who finds none waits, first come, first served."""

    async def acquire(self) -> None: ...

    def release(self) -> None: ...


class _ThreadSlots:
    """For storages that never suspend: a call waits by blocking its thread."""

    def __init__(self, limit: int) -> None:
        self._semaphore = threading.Semaphore(limit)

    async def acquire(self) -> None:
        self._semaphore.acquire()

    def release(self) -> None:
        self._semaphore.release()


class _LoopSlots:
    """For storages that suspend: a call waits in its event loop, whichever that is.

    ``asyncio.Semaphore`` belongs to one loop; a storage is used from several.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._lock = threading.Lock()
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    async def acquire(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            loop = asyncio.get_running_loop()
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting.append((loop, turn))
        try:
            await turn
        except asyncio.CancelledError:
            with self._lock:
                waiting = (loop, turn) in self._waiting
                if waiting:
                    self._waiting.remove((loop, turn))
            if not waiting and turn.done() and not turn.cancelled():
                self.release()  # the place came together with the cancellation
            raise

    def release(self) -> None:
        with self._lock:
            while self._waiting:
                loop, turn = self._waiting.popleft()
                try:
                    loop.call_soon_threadsafe(self._hand_over, turn)
                except RuntimeError:  # that loop was closed with its calls
                    continue
                return
            self._free += 1

    def _hand_over(self, turn: asyncio.Future[None]) -> None:
        if turn.done():  # cancelled meanwhile: the next one gets the place
            self.release()
        else:
            turn.set_result(None)


def with_concurrency_limit(storage: Storage, limit: int) -> Storage:
    """A storage that serves at most so many calls at a time; others wait for their turn, in order.

    A listing takes a place only while it waits for its next item, so that calls made between
    two items cannot wait for the listing itself. ``close`` takes none. Unpickled, the storage
    has the same limit for itself.

    Parameters
    ----------
    storage
        What to protect.
    limit
        Calls at a time, 1 or more.

    Raises
    ------
    InvalidInputError
        If the limit is not positive.
    """
    if limit < 1:
        raise InvalidInputError(f"a concurrency limit is 1 or more, not {limit}")
    slots: _Slots = _LoopSlots(limit) if storage.may_suspend else _ThreadSlots(limit)

    async def around(
        operation: str, arguments: tuple[Any, ...], perform: Callable[[], Awaitable[Any]]
    ) -> Any:
        if operation in ("close", "take_turn"):  # whose turn it is needs the places of those who wait
            return await perform()
        await slots.acquire()
        try:
            return await perform()
        finally:
            slots.release()

    async def around_list(
        arguments: tuple[Any, ...], inner: Callable[..., AsyncGenerator[Any, None]]
    ) -> AsyncGenerator[Any, None]:
        async with aclosing(inner(*arguments)) as items:
            while True:
                await slots.acquire()
                try:
                    info = await anext(items, None)
                finally:
                    slots.release()
                if info is None:
                    return
                yield info

    return around_each(
        storage, around, around_list=around_list, rewrap=partial(with_concurrency_limit, limit=limit)
    )
