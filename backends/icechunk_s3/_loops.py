"""One client per event loop, closed in its own loop, whoever forgets to.

Connections belong to the loop they were opened in. Each client is owned by an asynchronous
generator: asyncio closes those when a loop shuts down, and when the last reference is dropped
schedules that on the loop that they belong to. What is left when the interpreter ends is closed
by `atexit`. A forked child starts without clients and leaves its parent's alone.

Clients must not refer to what owns their `LoopClients`: a finalizer holds them until that is gone.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from attrs import define, field

from icechunk_core.contract.errors import Closed

__all__ = ["LoopClients"]

EXIT_SECONDS = 2.0


class _Closable(Protocol):
    async def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)
_Loop = asyncio.AbstractEventLoop


@define(eq=False)
class _Entry(Generic[C]):
    opening: asyncio.Lock = field(factory=asyncio.Lock)
    client: C | None = None
    keeper: AsyncGenerator[None, None] | None = None


class LoopClients(Generic[C]):
    """Clients by running event loop, made on first use.

    Parameters
    ----------
    open_client
        Makes a client in the running loop.
    name
        What was closed, for the message of `Closed`.
    """

    def __init__(self, open_client: Callable[[], Awaitable[C]], name: str) -> None:
        self._open_client = open_client
        self._name = name
        self._entries: dict[_Loop, _Entry[C]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._finalizer = self._own()
        _live.add(self)

    async def get(self) -> C:
        """The running loop's client.

        Raises
        ------
        Closed
            After `close`.
        """
        loop = asyncio.get_running_loop()
        entry = self._entries.get(loop)
        if entry is not None and entry.client is not None:
            return entry.client
        if self._closed:
            raise self.closed()
        with self._lock:
            for other in [each for each in self._entries if each.is_closed()]:
                del self._entries[other]
            entry = self._entries.setdefault(loop, _Entry())
        async with entry.opening:
            if entry.client is None:
                client = await self._open_client()
                entry.keeper = _keep(client, weakref.ref(self), loop)
                await anext(entry.keeper)
                entry.client = client
            return entry.client

    async def close(self) -> None:
        """Close the running loop's client, and have those of other loops closed there."""
        self._closed = True
        with self._lock:
            entries = dict(self._entries)
            self._entries.clear()
        mine = entries.pop(asyncio.get_running_loop(), None)
        entries.clear()
        if mine is not None and mine.keeper is not None:
            await mine.keeper.aclose()

    def closed(self) -> Closed:
        """The error of an operation after `close`."""
        return Closed(f"the storage of {self._name} was closed; open it again")

    def forget(self, loop: _Loop) -> None:
        """Drop a client that was closed with its loop."""
        with self._lock:
            self._entries.pop(loop, None)

    def leave(self) -> dict[_Loop, _Entry[C]]:
        """Give up all clients without closing them, and the lock."""
        self._finalizer.detach()
        entries, self._entries = self._entries, {}
        self._finalizer = self._own()
        self._lock = threading.Lock()
        return entries

    def _own(self) -> weakref.finalize[..., Any]:
        """Keep the clients alive until this object is gone, so that they are not collected with it."""
        finalizer = weakref.finalize(self, self._entries.clear)
        finalizer.atexit = False
        return finalizer

    def keepers(self) -> list[tuple[_Loop, AsyncGenerator[None, None]]]:
        """The loops and what to close in them."""
        with self._lock:
            entries = list(self._entries.items())
        return [(loop, entry.keeper) for loop, entry in entries if entry.keeper is not None]


async def _keep(
    client: _Closable, clients: weakref.ref[LoopClients[Any]], loop: _Loop
) -> AsyncGenerator[None, None]:
    """Owns a client; closing this generator closes it."""
    try:
        yield
    finally:
        owner = clients()
        if owner is not None:
            owner.forget(loop)
        await client.close()


# --- the end, and forks ------------------------------------------------------

_live: weakref.WeakSet[LoopClients[Any]] = weakref.WeakSet()
_left_to_the_parent: list[Any] = []


async def _closing(keeper: AsyncGenerator[None, None]) -> None:
    await keeper.aclose()


def _close_at_exit() -> None:
    waiting = []
    for clients in list(_live):
        for loop, keeper in clients.keepers():
            with suppress(Exception):
                if loop.is_running():
                    waiting.append(asyncio.run_coroutine_threadsafe(_closing(keeper), loop))
                elif not loop.is_closed():
                    loop.run_until_complete(_closing(keeper))
    for closing in waiting:
        with suppress(Exception):
            closing.result(EXIT_SECONDS)


def _after_fork_in_child() -> None:
    # Kept for ever: collecting them would close connections that the parent uses.
    _left_to_the_parent.extend(clients.leave() for clients in list(_live))


atexit.register(_close_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
