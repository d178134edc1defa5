"""A cache whose look-ups are counted for one session or repository; what is in it belongs to all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from icechunk_core.assets.cache import LoadingCache
from icechunk_core.contract.io_stats import IoStats

__all__ = ["CountedCache"]

V = TypeVar("V")


class CountedCache(Generic[V]):
    """The same cache as another, seen by counters."""

    __slots__ = ("_stats", "cache")

    def __init__(self, cache: LoadingCache[V] | CountedCache[V], stats: tuple[IoStats, ...]) -> None:
        self.cache: LoadingCache[V] = cache.cache if isinstance(cache, CountedCache) else cache
        self._stats = stats

    def peek(self, key: Hashable) -> V | None:
        """The value if it is cached; not counted."""
        return self.cache.peek(key)

    def put(self, key: Hashable, value: V) -> None:
        """Remember a value."""
        self.cache.put(key, value)

    def discard(self, key: Hashable) -> None:
        """Forget a value."""
        self.cache.discard(key)

    async def get(self, key: Hashable, load: Callable[[], Awaitable[V]]) -> V:
        """See `LoadingCache.get`; counts as found what needs no waiting."""
        value = self.cache.peek(key)
        for each in self._stats:
            each.looked_up(found=value is not None)
        return await self.cache.get(key, load) if value is None else value
