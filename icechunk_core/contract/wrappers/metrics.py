"""Count what a storage is asked to do."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from attrs import Factory, define, field

from icechunk_core.clock import Clock, SystemClock
from icechunk_core.contract.storage import Storage
from icechunk_core.contract.wrappers._around import around_each

__all__ = ["StorageMetrics", "with_metrics"]


@define
class StorageMetrics:
    """Counters of a storage made by `with_metrics`; safe to read while it works.

    Attributes
    ----------
    calls
        Calls by operation (``get_range``, ``put``, ``list``, ...).
    errors
        Calls that raised, by operation and error class, e.g. ``("put", "AlreadyExists")``.
    seconds
        Time spent in calls, by operation; of a listing, the time waited for its items.
    bytes_read, bytes_written
        Bytes of data that ``get_range`` returned and ``put`` stored.
    objects_listed
        Items that listings yielded.
    """

    calls: Counter[str] = Factory(Counter)
    errors: Counter[tuple[str, str]] = Factory(Counter)
    seconds: dict[str, float] = Factory(dict)
    bytes_read: int = 0
    bytes_written: int = 0
    objects_listed: int = 0
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False, eq=False)

    @property
    def total_calls(self) -> int:
        """Calls of all operations."""
        return self.calls.total()

    def reset(self) -> None:
        """Set everything to zero."""
        with self._lock:
            self.calls.clear()
            self.errors.clear()
            self.seconds.clear()
            self.bytes_read = self.bytes_written = self.objects_listed = 0

    def count(
        self,
        operation: str,
        seconds: float,
        *,
        error: BaseException | None = None,
        read: int = 0,
        written: int = 0,
        listed: int = 0,
    ) -> None:
        """Add one call."""
        with self._lock:
            self.calls[operation] += 1
            if error is not None:
                self.errors[operation, type(error).__name__] += 1
            self.seconds[operation] = self.seconds.get(operation, 0.0) + seconds
            self.bytes_read += read
            self.bytes_written += written
            self.objects_listed += listed


def with_metrics(storage: Storage, *, clock: Clock | None = None) -> tuple[Storage, StorageMetrics]:
    """A storage that counts its calls, and the counters.

    Unpickled, the storage counts for itself: another process's calls are not in these counters.

    Parameters
    ----------
    storage
        What to measure.
    clock
        Whose ``monotonic`` measures durations; the machine's by default.
    """
    metrics = StorageMetrics()
    now = (clock if clock is not None else SystemClock()).monotonic

    async def around(
        operation: str, arguments: tuple[Any, ...], perform: Callable[[], Awaitable[Any]]
    ) -> Any:
        start = now()
        try:
            result = await perform()
        except BaseException as error:
            metrics.count(operation, now() - start, error=error)
            raise
        read = len(result[0]) if operation == "get_range" else 0
        written = sum(map(len, arguments[1])) if operation == "put" else 0
        metrics.count(operation, now() - start, read=read, written=written)
        return result

    async def around_list(
        arguments: tuple[Any, ...], inner: Callable[..., AsyncGenerator[Any, None]]
    ) -> AsyncGenerator[Any, None]:
        listed, waited = 0, 0.0
        start = now()
        try:
            async with aclosing(inner(*arguments)) as items:
                async for info in items:
                    waited += now() - start
                    listed += 1
                    yield info
                    start = now()
        except GeneratorExit:
            # The caller has seen enough.
            metrics.count("list", waited, listed=listed)
            raise
        except BaseException as error:
            metrics.count("list", waited + now() - start, error=error, listed=listed)
            raise
        metrics.count("list", waited + now() - start, listed=listed)

    wrapped = around_each(storage, around, around_list=around_list, rewrap=partial(_counting, clock=clock))
    return wrapped, metrics


def _counting(storage: Storage, clock: Clock | None) -> Storage:
    return with_metrics(storage, clock=clock)[0]
