"""Caches of immutable objects: bounded by weight, each object loaded once at a time."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from icechunk_core.drive import wait_for

__all__ = ["LoadingCache"]

V = TypeVar("V")


_caches: WeakSet[LoadingCache[Any]] = WeakSet()


def _after_fork_in_child() -> None:
    # Whoever was loading, or held a lock, is a thread of the parent.
    for cache in _caches:
        cache.forget_flights()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class _LeaderGone(Exception):
    """The caller that was loading was cancelled; somebody else has to load."""


class LoadingCache(Generic[V]):
    """Least recently used values up to a total weight; concurrent misses load once.

    Safe between threads and event loops. A load that fails is not remembered.

    Parameters
    ----------
    capacity
        Largest total weight kept; 0 keeps nothing (loads still fly single).
    weigh
        Weight of a value, e.g. the number of chunk refs of a manifest.
    may_suspend
        Whether loads suspend (see `icechunk_core.drive`).
    """

    def __init__(self, capacity: int, weigh: Callable[[V], int], *, may_suspend: bool) -> None:
        self._capacity = capacity
        self._weigh = weigh
        self._may_suspend = may_suspend
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._weight = 0
        self._flights: dict[Hashable, Future[V]] = {}
        _caches.add(self)

    def forget_flights(self) -> None:
        """Start over without the loads of other threads: for a forked child."""
        self._lock = threading.Lock()
        self._flights = {}

    def peek(self, key: Hashable) -> V | None:
        """The value if it is cached."""
        with self._lock:
            entry = self._values.get(key)
            if entry is None:
                return None
            self._values.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, value: V) -> None:
        """Remember a value that was just written or loaded."""
        weight = max(1, self._weigh(value))
        with self._lock:
            self._drop(key)
            if weight > self._capacity:
                return
            self._values[key] = (value, weight)
            self._weight += weight
            while self._weight > self._capacity:
                oldest = next(iter(self._values))
                self._drop(oldest)

    def discard(self, key: Hashable) -> None:
        """Forget a value."""
        with self._lock:
            self._drop(key)

    async def get(self, key: Hashable, load: Callable[[], Awaitable[V]]) -> V:
        """The cached value, or the result of one ``load`` shared by everybody who asks meanwhile."""
        while True:
            with self._lock:
                entry = self._values.get(key)
                if entry is not None:
                    self._values.move_to_end(key)
                    return entry[0]
                flight = self._flights.get(key)
                mine = flight is None
                if flight is None:
                    flight = self._flights[key] = Future()
            if mine:
                return await self._lead(key, flight, load)
            try:
                return await wait_for(flight, may_suspend=self._may_suspend)
            except _LeaderGone:
                continue

    async def _lead(self, key: Hashable, flight: Future[V], load: Callable[[], Awaitable[V]]) -> V:
        try:
            value = await load()
        except BaseException as error:
            with self._lock:
                del self._flights[key]
            flight.set_exception(error if isinstance(error, Exception) else _LeaderGone())
            raise
        self.put(key, value)
        with self._lock:
            del self._flights[key]
        flight.set_result(value)
        return value

    def _drop(self, key: Hashable) -> None:
        entry = self._values.pop(key, None)
        if entry is not None:
            self._weight -= entry[1]
