"""Watch what a storage is asked to do, without being in its way: counters, and spans for who traces."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from icechunk_core import tracing
from icechunk_core.contract.io_stats import LONGEST_LOG, CallCounter, IoStats, under_way
from icechunk_core.contract.storage import Storage
from icechunk_core.contract.types import (
    Always,
    Buffer,
    ByteRange,
    Condition,
    DeleteResult,
    ObjectInfo,
    Version,
)
from icechunk_core.drive import run_direct

__all__ = ["observed"]

_KEY_CLASSES = frozenset({"chunks", "manifests", "snapshots", "transactions", "refs", "overwritten", "repo"})


def observed(storage: Storage, *stats: IoStats, place: str = "repository") -> Storage:
    """The same storage, whose calls are counted, and traced if the program traces.

    It is equal to the storage, and pickles as that. Of a storage that is observed already, what
    is below is taken: each call is seen by those that look at it now.

    Parameters
    ----------
    storage
        What to observe.
    stats
        Counters; each call is added to all of them.
    place
        ``repository``, or ``virtual`` for what is outside of it.
    """
    storage = storage.unobserved
    observer = _Observer(storage, stats, place)
    hooks: dict[str, Callable[..., Any]] = {
        "get_range": observer.get_range(),
        "put": observer.put,
        "list": observer.list,
        "head": observer.head,
        "delete": observer.delete,
    }
    if observer.has("copy"):
        hooks["copy"] = observer.copy
    if observer.has("sync"):
        hooks["sync"] = observer.sync
    return storage.observed_by(hooks, observer.get_range_at_once())


class _Observer:
    """The operations of a storage, each with its counting around it."""

    __slots__ = ("_counters", "_place", "_ranges", "_stats", "_storage")

    def __init__(self, storage: Storage, stats: tuple[IoStats, ...], place: str) -> None:
        self._storage = storage
        self._stats = stats
        self._place = place
        self._counters: dict[str, CallCounter] = {}
        self._ranges = self._counter("get_range")

    def has(self, name: str) -> bool:
        return name in self._storage.hook_names

    def _counter(self, operation: str) -> CallCounter:
        made = CallCounter(self._stats, self._place, operation)
        return self._counters.setdefault(operation, made)

    def _begun(self, operation: str, key: str) -> CallCounter | _TracedCall:
        counter = self._counters.get(operation) or self._counter(operation)
        if not tracing.possible():
            return counter
        about = {"backend": self._storage.plugin, "key_class": _key_class(self._place, key)}
        span = tracing.start(f"icechunk.storage.{operation}", **about)
        return counter if span is None else _TracedCall(counter, span)

    async def _get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        found: tuple[Buffer, ObjectInfo] = await self._call(
            "get" if byte_range is None else "get_range",
            key,
            lambda: self._storage.get_range_hook(key, byte_range, if_version),
            lambda answer: len(answer[0]),
        )
        return found

    def get_range(self) -> Callable[..., Awaitable[tuple[Buffer, ObjectInfo]]]:
        """The hook, which is on the way of many small chunks: no lock and no object."""
        if not self._stats:
            return self._get_range
        inner, otherwise, counter = self._storage.get_range_hook, self._get_range, self._ranges
        count, api, modules, begin = counter.succeeded_with, tracing.API, sys.modules, under_way.set

        async def get_range(
            key: str, byte_range: ByteRange, if_version: Version | None
        ) -> tuple[Buffer, ObjectInfo]:
            if byte_range is None or api in modules:
                return await otherwise(key, byte_range, if_version)
            begin(counter)
            try:
                answer = await inner(key, byte_range, if_version)
            except BaseException as error:
                begin(None)
                counter.failed(error)
                raise
            begin(None)
            count(len(answer[0]))
            return answer

        return get_range

    def get_range_at_once(self) -> Callable[[str, ByteRange], tuple[Buffer, ObjectInfo]]:
        """The same without a coroutine, for storages that never suspend: every chunk read comes by here."""
        inner: Callable[..., Any] = self._storage.get_range_hook
        otherwise, counter = self._get_range, self._ranges
        if not self._stats:
            return lambda key, byte_range: run_direct(otherwise(key, byte_range, None))
        log, shorten, api, modules, begin = (
            counter.log,
            counter.shorten,
            tracing.API,
            sys.modules,
            under_way.set,
        )
        add, add_too = counter.logs[0].append, counter.logs[-1].append
        alone = len(counter.logs) == 1

        def get_range_at_once(key: str, byte_range: ByteRange) -> tuple[Buffer, ObjectInfo]:
            if alone or api in modules:
                return run_direct(otherwise(key, byte_range, None))
            begin(counter)
            coroutine = inner(key, byte_range, None)
            try:
                coroutine.send(None)
            except StopIteration as stop:  # as `run_direct` does it, without one more call
                answer: tuple[Buffer, ObjectInfo] = stop.value
            except BaseException as error:
                begin(None)
                counter.failed(error)
                raise
            else:
                coroutine.close()
                return run_direct(otherwise(key, byte_range, None))  # says that it must not suspend
            size = len(answer[0])
            add(size)
            add_too(size)
            if len(log) >= LONGEST_LOG:
                shorten()
            begin(None)
            return answer

        return get_range_at_once

    async def put(
        self,
        key: str,
        data: Sequence[Buffer],
        condition: Condition,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
        storage_class: str | None,
    ) -> Version:
        operation = "put" if isinstance(condition, Always) else "put_conditional"
        version: Version = await self._call(
            operation,
            key,
            lambda: self._storage.put_hook(key, data, condition, metadata, content_type, storage_class),
            lambda _: sum(map(len, data)),
        )
        return version

    async def _call(
        self,
        operation: str,
        key: str,
        perform: Callable[[], Awaitable[Any]],
        size: Callable[[Any], int] | None = None,
        objects: int = 0,
    ) -> Any:
        call = self._begun(operation, key)
        under_way.set(call)
        try:
            answer = await perform()
        except BaseException as error:
            under_way.set(None)
            call.failed(error)
            raise
        under_way.set(None)
        call.succeeded(0 if size is None else size(answer), objects)
        return answer

    async def head(self, key: str) -> ObjectInfo:
        info: ObjectInfo = await self._call("head", key, lambda: self._storage.hook("head")(key))
        return info

    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        first = keys[0] if keys else ""
        results: Sequence[DeleteResult] = await self._call(
            "delete", first, lambda: self._storage.hook("delete")(keys), objects=len(keys)
        )
        return results

    async def copy(self, source: str, target: str) -> Version:
        version: Version = await self._call(
            "copy", source, lambda: self._storage.hook("copy")(source, target)
        )
        return version

    async def sync(self, keys: Sequence[str]) -> None:
        first = keys[0] if keys else ""
        await self._call("sync", first, lambda: self._storage.hook("sync")(keys), objects=len(keys))

    async def list(self, prefix: str, start_after: str | None) -> AsyncGenerator[ObjectInfo, None]:
        call = self._begun("list", prefix)
        listed = 0
        try:
            async with aclosing(self._storage.hook("list")(prefix, start_after)) as items:
                while True:
                    # Between two items the caller's own requests are under way.
                    under_way.set(call)
                    info = await anext(items, None)
                    under_way.set(None)
                    if info is None:
                        break
                    listed += 1
                    yield info
        except GeneratorExit:  # the caller has seen enough
            call.succeeded(objects=listed)
            raise
        except BaseException as error:
            under_way.set(None)
            call.failed(error, listed)
            raise
        call.succeeded(objects=listed)


class _TracedCall:
    """A call that counts, and that has a span."""

    __slots__ = ("_counter", "_retries", "_span")

    def __init__(self, counter: CallCounter, span: Any) -> None:
        self._counter = counter
        self._span = span
        self._retries = 0

    def retried(self) -> None:
        self._retries += 1
        self._counter.retried()

    def succeeded(self, size: int = 0, objects: int = 0) -> None:
        self._counter.succeeded(size, objects)
        retries = self._retries or None
        tracing.finish(self._span, bytes=size or None, objects=objects or None, retries=retries, outcome="ok")

    def failed(self, error: BaseException, objects: int = 0) -> None:
        self._counter.failed(error, objects)
        retries = self._retries or None
        tracing.finish(self._span, error, outcome=tracing.kind_of(error), retries=retries)


def _key_class(place: str, key: str) -> str:
    """What kind of object it is; keys themselves may hold names that users gave."""
    if place == "virtual":
        return "virtual"
    first = key.partition("/")[0]
    if not first:
        return "all"
    return first if first in _KEY_CLASSES else "other"
