"""Turns: who updates an object that many want to update, one after the other.

A turn is a lock of the operating system (`flock`), which the system frees when its holder dies. Unlike the
locks that conditional writes rest on it is asked for, not needed: nothing goes wrong when somebody writes
without, so where there is no such lock, or it does not come in time, there is simply no turn.
Who waits does so in the kernel, in a queue: hundreds of waiting processes cost nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress

from icechunk_core.contract import EndTurn
from icechunk_filesystem._directories import Directories
from icechunk_filesystem._paths import HIDDEN

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment,unused-ignore]

__all__ = ["Turns"]

_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)

_held: set[_Turn] = set()
"""Turns that this process has."""


def _after_fork_in_child() -> None:
    # A copy would keep the turn of a parent that dies.
    while _held:
        _held.pop().forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Turns:
    """The turns of one storage."""

    def __init__(self, directories: Directories) -> None:
        self._directory = f"{HIDDEN}/locks"
        self._directories = directories

    def take(self, digest: str, seconds: float) -> EndTurn | None:
        """Wait for one's turn, blocking; gives what ends it, or None if it did not come in time."""
        descriptor = self._open(digest)
        if descriptor is None:
            return None
        try:
            if _locked(descriptor, wait=False):
                return _Turn(descriptor)
        except OSError:
            os.close(descriptor)
            return None
        waiting = _waiting(descriptor)
        try:
            return waiting.result(seconds)
        except NotInTime:
            return _left(waiting)
        except BaseException:
            _end(_left(waiting))
            raise

    async def take_async(self, digest: str, seconds: float) -> EndTurn | None:
        """The same without blocking the event loop."""
        descriptor = await asyncio.to_thread(self._open, digest)
        if descriptor is None:
            return None
        waiting = _waiting(descriptor)
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(waiting)), seconds)
        except TimeoutError:
            return _left(waiting)
        except BaseException:
            _end(_left(waiting))
            raise

    def _open(self, digest: str) -> int | None:
        if fcntl is None:
            return None
        path = self._directories.absolute(f"{self._directory}/{digest[:2]}.turn")
        try:
            self._directories.ensure(self._directory)
            return os.open(path, _OPEN, 0o666)
        except OSError:
            return None


def _locked(descriptor: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Turn:
    """Ends a turn when it is called; once, since the system uses the numbers of closed descriptors again."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._guard = threading.Lock()
        _held.add(self)

    def __call__(self) -> None:
        with self._guard:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _held.discard(self)
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # also of copies that a child has
            os.close(descriptor)

    def forget(self) -> None:
        """Close a copy that a child got, whose parent's turn goes on."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


def _waiting(descriptor: int) -> Future[EndTurn | None]:
    """Waits in a thread of its own: nothing else ends a wait for such a lock."""
    future: Future[EndTurn | None] = Future()

    def wait() -> None:
        try:
            _locked(descriptor, wait=True)
        except OSError:
            os.close(descriptor)
            future.set_result(None)
            return
        turn = _Turn(descriptor)
        if future.set_running_or_notify_cancel():
            future.set_result(turn)
        else:
            turn()

    threading.Thread(target=wait, name="icechunk-filesystem-turn", daemon=True).start()
    return future


def _left(waiting: Future[EndTurn | None]) -> EndTurn | None:
    """Stop waiting; the turn, if it came at the last moment."""
    return None if waiting.cancel() else waiting.result()


def _end(turn: EndTurn | None) -> None:
    if turn is not None:
        turn()
