"""Mistakes with turns."""

from __future__ import annotations

import os
import threading

from icechunk_conformance.broken.gallery import broken
from icechunk_conformance.reference import Place, ReferenceStorage
from icechunk_conformance.reference_shared import SharedStorage
from icechunk_core.clock import SystemClock
from icechunk_core.contract import EndTurn, hookimpl


class HasTurns(ReferenceStorage):
    """The reference storage with one lock for all turns."""

    @hookimpl
    async def take_turn(self, key: str, seconds: float) -> EndTurn | None:
        await self.enter(key)
        lock = _lock_of(self.place)
        return self.ending(lock) if lock.acquire(timeout=seconds) else None

    def ending(self, lock: threading.Lock) -> EndTurn:
        """What ends the turn, once."""
        mine = [lock]
        return lambda: mine.pop().release() if mine else None


def _nothing() -> None:
    """Ends no turn."""


def _lock_of(place: Place) -> threading.Lock:
    lock: threading.Lock = place.__dict__.setdefault("turns", threading.Lock())
    return lock


@broken("turn-for-all", "F17")
class TurnForAll(HasTurns):
    """Gives everybody the turn at once."""

    @hookimpl
    async def take_turn(self, key: str, seconds: float) -> EndTurn | None:
        await self.enter(key)
        return _nothing


@broken("turn-without-end", "F17")
class TurnWithoutEnd(HasTurns):
    """Keeps the turn of who has ended it."""

    def ending(self, lock: threading.Lock) -> EndTurn:
        return _nothing


@broken("turn-ended-twice", "F17")
class TurnEndedTwice(HasTurns):
    """Ends whosever turn it is."""

    def ending(self, lock: threading.Lock) -> EndTurn:
        return lambda: lock.release() if lock.locked() else None


@broken("turn-outlives-its-holder", "F18")
class TurnOutlivesItsHolder(SharedStorage):
    """Has a file for a turn, which stays behind when its maker is killed."""

    @hookimpl
    async def take_turn(self, key: str, seconds: float) -> EndTurn | None:
        await self.enter(key)
        path = os.path.join(self.config.name, ".turn.lock")
        clock = SystemClock()
        deadline = clock.monotonic() + seconds
        while True:
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                if clock.monotonic() > deadline:
                    return None
                clock.sleep(0.01)
            else:
                return _once(path)


def _once(path: str) -> EndTurn:
    mine = [path]
    return lambda: os.unlink(mine.pop()) if mine else None
