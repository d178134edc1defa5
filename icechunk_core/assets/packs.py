"""Packs: many small chunks in one object.

A pack fills in memory. When it is full it is *sealed*, and written beside whatever the
session does meanwhile: on the background loop, or by a thread where the storage never
suspends. Until it is in the storage its chunks are read from memory.

Nothing is lost and nothing dangles. A ref is given out for bytes that are in a pack's
buffer; the buffer goes when the storage has acknowledged them, and not before. A pack
that could not be written waits for the next attempt, and whoever needs it written, or
needs its room, gets the error. A sealed pack never changes, so writing it twice, also by
a forked child, does no harm.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import numpy as np

from icechunk_core.assets.pack_config import PackConfig
from icechunk_core.assets.sink import BatchingSink, ChunkSink, ObjectSink
from icechunk_core.contract import ALWAYS, Buffer, Storage
from icechunk_core.drive import gather, in_background, wait_for
from icechunk_core.format.chunk_refs import NativeRef
from icechunk_core.format.layout import chunk_key
from icechunk_core.ids import IdSource

__all__ = ["PackingSink", "make_sink"]

_WRITTEN_AT_ONCE = 8
_FIRST_SEGMENT = 1 << 16
_LARGEST_SEGMENT = 1 << 20


class _Abandoned(Exception):
    """Whoever was writing the pack gave up for reasons of its own; somebody else has to."""


class _Pack:
    """One pack that is not in the storage yet.

    Attributes
    ----------
    flight
        The attempt to write it that is under way, or the last one. ``None`` before the first.
    """

    __slots__ = ("_room", "_segments", "_starts", "flight", "id", "size")

    def __init__(self, id: bytes) -> None:
        self.id = id
        self.size = 0
        self.flight: Future[None] | None = None
        # Memory grows with the content, a segment at a time. No chunk lies in two of them.
        self._segments: list[memoryview] = []
        self._starts: list[int] = []
        self._room = 0

    def append(self, data: Buffer, size: int) -> None:
        """Copy a chunk to the end; the lock is held."""
        if size > self._room:
            grown = 4 * len(self._segments[-1]) if self._segments else _FIRST_SEGMENT
            self._room = max(size, min(grown, _LARGEST_SEGMENT))
            self._segments.append(memoryview(np.empty(self._room, np.uint8)))
            self._starts.append(self.size)
        at = self.size - self._starts[-1]
        try:
            self._segments[-1][at : at + size] = data
        except ValueError:  # bytes of another type, such as signed ones
            self._segments[-1][at : at + size] = memoryview(data).cast("B")
        self.size += size
        self._room -= size

    def view(self, start: int, length: int) -> memoryview:
        """A chunk. Bytes once appended do not change, so that views stay valid."""
        segment = bisect_right(self._starts, start) - 1
        start -= self._starts[segment]
        return self._segments[segment][start : start + length].toreadonly()

    def content(self) -> list[memoryview]:
        """All of it, in pieces."""
        ends = [*self._starts[1:], self.size]
        return [
            segment[: end - start]
            for segment, start, end in zip(self._segments, self._starts, ends, strict=True)
        ]

    def under_way(self) -> bool:
        """Whether somebody is writing it."""
        return self.flight is not None and not self.flight.done()


_sinks: WeakSet[PackingSink] = WeakSet()
_sinks_lock = threading.Lock()
_held: list[PackingSink] = []


def _before_fork() -> None:
    # Parent and child both go on. Were the open pack to grow in both, they would write
    # different bytes under one key: it is sealed, so that each begins another one.
    _sinks_lock.acquire()
    for sink in list(_sinks):
        sink.hold()
        _held.append(sink)


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().release()
    _sinks_lock.release()


def _after_fork_in_child() -> None:
    for sink in _held:
        sink.forget_flights()
    _after_fork_in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )


class PackingSink(ObjectSink):
    """Appends small chunks to packs; larger ones are objects of their own.

    Any thread and any event loop may use it, several at a time.
    """

    def __init__(
        self, storage: Storage, ids: IdSource, config: PackConfig, *, storage_class: str | None = None
    ) -> None:
        super().__init__(storage, ids, storage_class=storage_class)
        largest = storage.capabilities.max_object_size
        self._capacity = config.target_bytes if largest is None else min(config.target_bytes, largest)
        self._largest_chunk = min(config.max_chunk_bytes, self._capacity)
        self._most_buffered = config.buffered_bytes
        self._open: _Pack | None = None
        self._waiting: dict[bytes, _Pack] = {}
        self._sealed_bytes = 0
        with _sinks_lock:
            _sinks.add(self)

    # --- chunks

    @property
    def waiting(self) -> Mapping[bytes, Any]:
        """Packs by id."""
        return self._waiting

    def peek(self, ref: NativeRef) -> Buffer | None:
        """A view of the payload, if its pack is not in the storage yet."""
        pack = self._waiting.get(ref.chunk_id)
        if pack is None:
            return None
        return pack.view(ref.offset, ref.length)

    async def put(self, data: Buffer) -> NativeRef:
        """Append a small chunk to the open pack, write a larger one."""
        size = len(data)
        if size > self._largest_chunk:
            return await super().put(data)
        if self._sealed_bytes > self._most_buffered:
            await self._make_room()
        with self._lock:
            pack = self._open
            if pack is None or pack.size + size > self._capacity:
                if pack is not None:
                    self._seal(pack)
                    self._start(pack)
                pack = self._open = _Pack(self._ids.object_id())
                self._waiting[pack.id] = pack
            start = pack.size
            pack.append(data, size)
        return NativeRef(pack.id, start, size)

    # --- writing packs; methods that take a pack are called with the lock held

    def _seal(self, pack: _Pack) -> None:
        self._open = None
        self._sealed_bytes += pack.size

    def _start(self, pack: _Pack) -> Future[None]:
        pack.flight = in_background(
            lambda: self._write_pack(pack, sync=True), may_suspend=self._storage.may_suspend
        )
        return pack.flight

    async def _write_pack(self, pack: _Pack, *, sync: bool) -> None:
        key = chunk_key(pack.id)
        await self._storage.put_hook(key, pack.content(), ALWAYS, None, None, self._storage_class)
        if sync:
            # Beside the session's work, so that the commit need not wait for it. If it fails
            # the pack is written anew: a file that could not be synced once is not to be trusted.
            await self._storage.sync([key])
        with self._lock:
            if not sync:
                self._unsynced.append(key)
            if self._waiting.pop(pack.id, None) is not None:
                self._sealed_bytes -= pack.size

    async def _make_room(self) -> None:
        """Wait until fewer bytes are buffered."""
        while True:
            with self._lock:
                if self._sealed_bytes <= self._most_buffered:
                    return
                pack = next(pack for pack in self._waiting.values() if pack is not self._open)
                flight = pack.flight
                if flight is None or flight.done():
                    flight = self._start(pack)
            with suppress(_Abandoned):
                await wait_for(flight, may_suspend=self._storage.may_suspend)

    async def flush(self) -> None:
        """Write all packs, here unless it is done elsewhere already."""
        with self._lock:
            if self._open is not None:
                self._seal(self._open)
            wanted = list(self._waiting.values())
        while True:
            with self._lock:
                left = [pack for pack in wanted if pack.id in self._waiting]
                elsewhere = [pack.flight for pack in left if pack.flight is not None and pack.under_way()]
                mine = [(pack, self._claim(pack)) for pack in left if not pack.under_way()]
            if not left:
                return
            await self._write_here(mine)
            for flight in elsewhere:
                with suppress(Exception):  # what failed elsewhere is tried here, in the next round
                    await wait_for(flight, may_suspend=self._storage.may_suspend)

    def _claim(self, pack: _Pack) -> Future[None]:
        pack.flight = Future()
        return pack.flight

    async def _write_here(self, claimed: list[tuple[_Pack, Future[None]]]) -> None:
        async def carry_out(pack: _Pack, flight: Future[None]) -> None:
            with _settling(flight):
                await self._write_pack(pack, sync=False)

        try:
            await gather(
                [lambda pack=pack, flight=flight: carry_out(pack, flight) for pack, flight in claimed],  # type: ignore[misc]
                may_suspend=self._storage.may_suspend,
                limit=_WRITTEN_AT_ONCE,
            )
        finally:
            for _, flight in claimed:
                if not flight.done():  # its turn did not come
                    flight.set_exception(_Abandoned())

    # --- fork

    def hold(self) -> None:
        """Seal the open pack, and stop all writers until `release`."""
        self._lock.acquire()
        if self._open is not None:
            self._seal(self._open)

    def release(self) -> None:
        """Let writers go on."""
        self._lock.release()

    def forget_flights(self) -> None:
        """Whoever was writing is a thread of the parent."""
        for pack in self._waiting.values():
            pack.flight = None


@contextmanager
def _settling(flight: Future[None]) -> Iterator[None]:
    """Complete a future as the block ends."""
    try:
        yield
    except Exception as error:
        flight.set_exception(error)
        raise
    except BaseException:
        flight.set_exception(_Abandoned())
        raise
    flight.set_result(None)


def make_sink(
    storage: Storage, ids: IdSource, config: PackConfig, *, storage_class: str | None = None
) -> ChunkSink:
    """The sink that a configuration asks for and that suits a storage."""
    if config.enabled:
        return PackingSink(storage, ids, config, storage_class=storage_class)
    plain = ObjectSink if storage.may_suspend else BatchingSink
    return plain(storage, ids, storage_class=storage_class)
