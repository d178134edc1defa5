"""What was asked of a storage: how often, how many bytes, and how it ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol
from weakref import WeakSet

from attrs import asdict, frozen

from icechunk_core.html import bytes_text, facts, page, table
from icechunk_core.tracing import kind_of

__all__ = ["LONGEST_LOG", "CallCounter", "IoStats", "OperationStats", "UnderWay", "note_retry", "under_way"]

_lock = threading.RLock()
"""Held while counters are read or changed, except for the appending to logs that is most of the counting."""
_all: WeakSet[IoStats] = WeakSet()
LONGEST_LOG = 4096
"""Calls after which a log is added up."""


def _after_fork_in_child() -> None:
    # What the parent did is not what this process does, and one of its threads may hold the lock.
    global _lock
    _lock = threading.RLock()
    for stats in _all:
        stats.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class UnderWay(Protocol):
    """A call of a storage that was begun."""

    def retried(self) -> None:
        """Something is sent again."""
        ...


under_way: ContextVar[UnderWay | None] = ContextVar("icechunk_core_storage_call", default=None)
"""The call of a storage that the current task or thread is in."""


def note_retry() -> None:
    """Tell that a request is about to be sent again; for backends and wrappers that repeat requests.

    It counts for the call of the storage from which it is made (`IoStats`), if anybody counts.
    """
    call = under_way.get()
    if call is not None:
        call.retried()


class _Row:
    """Counters of one operation at one place.

    Sizes of successful calls are appended to the log: that is one step, which threads can take
    without a lock. What reads the counters adds the log up before.
    """

    __slots__ = ("bytes", "failures", "log", "objects", "requests", "retries")

    def __init__(self) -> None:
        self.log: list[int] = []
        self.clear()

    def clear(self) -> None:
        self.log.clear()
        self.requests = self.failures = self.retries = self.bytes = self.objects = 0

    def add_up(self) -> None:
        """With the lock held: take what is in the log now; others may go on appending."""
        seen = self.log[:]
        del self.log[: len(seen)]
        self.requests += len(seen)
        self.bytes += sum(seen)

    def values(self) -> OperationStats:
        self.add_up()
        return OperationStats(self.requests, self.failures, self.retries, self.bytes, self.objects)


class CallCounter:
    """Counts the calls of one operation at one place for several `IoStats` at once."""

    __slots__ = ("_rows", "_stats", "log", "logs", "succeeded_with")

    def __init__(self, stats: Sequence[IoStats], place: str, operation: str) -> None:
        self._stats = stats
        self._rows = [each.row(place, operation) for each in stats]
        self.logs = tuple(row.log for row in self._rows)
        self.log: list[int] = self.logs[0] if self.logs else []
        self.succeeded_with: Callable[[int], None] = self._counting()

    def _counting(self) -> Callable[[int], None]:
        """Counts a call of so many bytes: `succeeded` for those who do it often."""
        if not self.logs:
            return lambda size: None
        log, shorten = self.log, self.shorten
        add, *others = [each.append for each in self.logs]

        def count(size: int) -> None:
            add(size)
            for each in others:
                each(size)
            if len(log) >= LONGEST_LOG:
                shorten()

        return count

    def retried(self) -> None:
        """Something is sent again."""
        with _lock:
            for row in self._rows:
                row.retries += 1

    def succeeded(self, size: int = 0, objects: int = 0) -> None:
        """A call is over."""
        self.succeeded_with(size)
        if objects:
            with _lock:
                for row in self._rows:
                    row.objects += objects

    def shorten(self) -> None:
        """Add the logs up."""
        with _lock:
            for row in self._rows:
                row.add_up()

    def failed(self, error: BaseException, objects: int = 0) -> None:
        """A call raised."""
        kind = kind_of(error)
        with _lock:
            for row in self._rows:
                row.requests += 1
                row.failures += 1
                row.objects += objects
            for each in self._stats:
                each.count_error(kind)


@frozen
class OperationStats:
    """How often one operation was asked for.

    Attributes
    ----------
    requests
        Calls of the storage, failed ones included. Repetitions are not.
    failures
        Calls that raised: an object that is not there and a lost race are failures, too.
    retries
        How often the backend sent something again before it answered.
    bytes
        Bytes read or written.
    objects
        Objects that a listing showed, or that were to be deleted.
    """

    requests: int = 0
    failures: int = 0
    retries: int = 0
    bytes: int = 0
    objects: int = 0

    def __add__(self, other: OperationStats) -> OperationStats:
        return OperationStats(
            self.requests + other.requests,
            self.failures + other.failures,
            self.retries + other.retries,
            self.bytes + other.bytes,
            self.objects + other.objects,
        )


_ORDER = (
    "get", "get_range", "put", "put_conditional", "list", "head", "delete", "copy", "sync",
)  # fmt: skip
_READS = ("get", "get_range")
_WRITES = ("put", "put_conditional")


class IoStats:
    """Counters of what a session or a repository asked of storages. They go on while you look at them.

    What is counted are calls of the storage itself: one for a pack of many chunks, one for many
    chunks that are read together, none for what is in a cache. An object that a backend transfers
    in several parts counts once. Safe between threads and event loops. A forked child counts
    from zero, and for itself; so does a copy that was pickled into another process.

    >>> import icechunk_core, zarr
    >>> repo = icechunk_core.Repository.create("memory:")
    >>> session = repo.writable_session("main")
    >>> array = zarr.create_array(session.store, shape=(100,), chunks=(1,), dtype="f8")
    >>> array[:] = 1
    >>> snapshot_id = session.commit("a hundred chunks")
    >>> session.io_stats.operations["put_conditional"].requests
    1
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], _Row] = {}
        self._errors: dict[str, int] = {}
        self._cache = [0, 0]
        _all.add(self)

    def reset(self) -> None:
        """Set everything to zero."""
        with _lock:
            for row in self._rows.values():
                row.clear()
            self._errors.clear()
            self._cache = [0, 0]

    # --- counting

    def row(self, place: str, operation: str) -> _Row:
        """The counters of an operation."""
        with _lock:
            return self._rows.setdefault((place, operation), _Row())

    def count_error(self, kind: str) -> None:
        """With the lock held: count how a call failed."""
        self._errors[kind] = self._errors.get(kind, 0) + 1

    def looked_up(self, *, found: bool) -> None:
        """Count a look into a cache of snapshots, manifests or chunks."""
        with _lock:
            self._cache[found] += 1

    # --- reading

    def _table(self, place: str | None = None) -> dict[str, OperationStats]:
        found: dict[str, OperationStats] = {}
        with _lock:
            for (where, name), row in self._rows.items():
                values = row.values()
                if values.requests and place in (None, where):
                    found[name] = found.get(name, OperationStats()) + values
        return {name: found[name] for name in _ORDER if name in found}

    @property
    def operations(self) -> dict[str, OperationStats]:
        """By operation, those that were asked for.

        ``get`` (whole objects), ``get_range``, ``put``, ``put_conditional``, ``list``, ``head``,
        ``delete``, ``copy``, ``sync`` (making files durable, on filesystems).
        """
        return self._table()

    @property
    def virtual(self) -> dict[str, OperationStats]:
        """The part of `operations` that went to the storages of virtual chunks."""
        return self._table("virtual")

    @property
    def requests(self) -> int:
        """Calls of all operations."""
        return _total(self._table()).requests

    @property
    def failures(self) -> int:
        """Calls that raised."""
        return _total(self._table()).failures

    @property
    def retries(self) -> int:
        """How often backends repeated something before they answered."""
        return _total(self._table()).retries

    @property
    def bytes_read(self) -> int:
        """Bytes that storages gave."""
        rows = self._table()
        return sum(rows[name].bytes for name in _READS if name in rows)

    @property
    def bytes_written(self) -> int:
        """Bytes that storages acknowledged."""
        rows = self._table()
        return sum(rows[name].bytes for name in _WRITES if name in rows)

    @property
    def errors(self) -> dict[str, int]:
        """How calls failed: stable kinds of errors (``not-found``, ``timeout``), and how often."""
        with _lock:
            return dict(sorted(self._errors.items()))

    @property
    def cache_hits(self) -> int:
        """Snapshots, manifests and cached chunks that were found in memory."""
        with _lock:
            return self._cache[1]

    @property
    def cache_misses(self) -> int:
        """Those that were not."""
        with _lock:
            return self._cache[0]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values, to log or to compare."""
        return {
            "operations": {name: asdict(row) for name, row in self.operations.items()},
            "virtual": {name: asdict(row) for name, row in self.virtual.items()},
            "requests": self.requests,
            "failures": self.failures,
            "retries": self.retries,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "errors": self.errors,
            "cache_hits": self.cache_hits,
            "cache_misses": self.cache_misses,
        }

    # --- showing

    def _summary(self) -> list[tuple[str, str]]:
        lines = [
            ("requests", f"{self.requests:,}"),
            ("read", bytes_text(self.bytes_read)),
            ("written", bytes_text(self.bytes_written)),
            ("cache", f"{self.cache_hits:,} found, {self.cache_misses:,} not"),
        ]
        virtual = _total(self.virtual)
        if virtual.requests:
            lines.append(("virtual", f"{virtual.requests:,} requests, {bytes_text(virtual.bytes)}"))
        if self.retries:
            lines.append(("retries", f"{self.retries:,}"))
        if self.errors:
            shown = ", ".join(f"{kind} {count:,}" for kind, count in self.errors.items())
            lines.append(("failures", f"{self.failures:,} ({shown})"))
        return lines

    def __repr__(self) -> str:
        lines = [f"{name}: {value}" for name, value in self._summary()]
        for name, row in self.operations.items():
            lines.append(f"    {name:<16}{row.requests:>10,}  {bytes_text(row.bytes) if row.bytes else ''}")
        return "\n".join(["<icechunk_core.IoStats>", *(line.rstrip() for line in lines)])

    def _repr_html_(self) -> str:
        rows = [
            [
                name,
                f"{row.requests:,}",
                bytes_text(row.bytes) if row.bytes else "",
                f"{row.objects:,}" if row.objects else "",
                f"{row.failures:,}" if row.failures else "",
                f"{row.retries:,}" if row.retries else "",
            ]
            for name, row in self.operations.items()
        ]
        heads = ["operation", "requests", "bytes", "objects", "failures", "retries"]
        return page("IoStats", facts(self._summary()), table(heads, rows, numbers=True) if rows else "")


def _total(rows: dict[str, OperationStats]) -> OperationStats:
    return sum(rows.values(), OperationStats())
