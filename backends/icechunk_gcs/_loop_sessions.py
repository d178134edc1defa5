"""aiohttp sessions, one for each event loop, closed whoever forgets to.

A session belongs to its loop. It ends

* when its storage is closed, or is collected as garbage;
* when its loop ends: a loop then closes the asynchronous generators that were begun on it, and one
  of them closes the session;
* at the end of the program, if its loop runs in a thread until then.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, wait

import aiohttp

from icechunk_core.contract import child_safe

__all__ = ["LoopSessions"]

_EXIT_SECONDS = 1.0
_open: set[_LoopSession] = set()
"""All that are open, so that none becomes garbage before it is closed. In a forked child, the parent's
stay here for ever: closing them would end the parent's connections."""


class LoopSessions:
    """The sessions of one storage."""

    def __init__(self, make: Callable[[], aiohttp.ClientSession]) -> None:
        self._make = make
        self._lock = child_safe(threading.Lock())
        self._held: dict[asyncio.AbstractEventLoop, _LoopSession] = {}
        weakref.finalize(self, _close_all, self._held).atexit = False

    async def here(self) -> aiohttp.ClientSession:
        """The running loop's session."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is None:
            held = _LoopSession(self._make(), loop)
            with self._lock:
                for ended in [each for each in self._held if each.is_closed()]:
                    del self._held[ended]
                self._held[loop] = held
            await held.begin()
        return held.session

    async def close(self) -> None:
        """Close the sessions of all loops; those of other loops a little later."""
        here = asyncio.get_running_loop()
        with self._lock:
            sessions = dict(self._held)
            self._held.clear()
        own = sessions.pop(here, None)
        _close_all(sessions)
        if own is not None:
            await own.close()


class _LoopSession:
    def __init__(self, session: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop) -> None:
        self.session = session
        self.ended: Future[None] = Future()
        self.pid = os.getpid()
        self._loop = loop
        self._until_the_loop_ends = self._life()
        self._closing = False

    async def begin(self) -> None:
        """Tie the session to the running loop."""
        await anext(self._until_the_loop_ends)

    async def _life(self) -> AsyncGenerator[None]:
        _open.add(self)
        try:
            yield
        finally:
            await self.session.close()
            _open.discard(self)
            self.ended.set_result(None)

    async def close(self) -> None:
        """Close the session; idempotent."""
        if not self._closing:
            self._closing = True
            await self._until_the_loop_ends.aclose()

    def close_from_outside(self) -> None:
        """Have its loop close the session, if it runs; otherwise it does when it ends."""
        if self.pid == os.getpid() and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._close_soon)

    def _close_soon(self) -> None:
        self._task = self._loop.create_task(self.close())


def _close_all(sessions: dict[asyncio.AbstractEventLoop, _LoopSession]) -> None:
    for each in sessions.values():
        each.close_from_outside()


@atexit.register
def _close_at_exit() -> None:
    own = [each for each in list(_open) if each.pid == os.getpid() and each._loop.is_running()]
    for each in own:
        each.close_from_outside()
    wait([each.ended for each in own], timeout=_EXIT_SECONDS)
