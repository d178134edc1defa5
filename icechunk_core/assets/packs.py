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
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

from icechunk_core.assets.pack_buffer import PackBuffer, SpareSegments
from icechunk_core.assets.pack_config import PackConfig
from icechunk_core.assets.sink import BatchingSink, ChunkSink, ObjectSink
from icechunk_core.assets.streams import Bytes
from icechunk_core.contract import ALWAYS, Buffer, Storage
from icechunk_core.drive import gather, in_background, wait_for
from icechunk_core.format.chunk_refs import NativeRef
from icechunk_core.format.layout import chunk_key
from icechunk_core.format.refs import new_native_ref
from icechunk_core.ids import IdSource
from icechunk_core.tracing import annotate, traced

__all__ = ["PackingSink", "make_sink"]

_WRITTEN_AT_ONCE = 8


class _Abandoned(Exception):
    """Whoever was writing the pack gave up for reasons of its own; somebody else has to."""


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
        self._lock = threading.RLock()  # held by who forks (see `hold`)
        largest = storage.capabilities.max_object_size
        self._capacity = config.target_bytes if largest is None else min(config.target_bytes, largest)
        self._largest_chunk = min(config.max_chunk_bytes, self._capacity)
        self._most_buffered = config.buffered_bytes
        self._open: PackBuffer | None = None
        self._waiting: dict[bytes, PackBuffer] = {}
        self._spares = SpareSegments()
        self._sealed_bytes = 0
        with _sinks_lock:
            _sinks.add(self)

    # --- chunks

    @property
    def waiting(self) -> Mapping[bytes, Any]:
        """Packs by id."""
        return self._waiting

    @property
    def largest_chunk(self) -> int:
        """Bytes of the largest chunk that is packed."""
        return self._largest_chunk

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
        while True:
            ref = self.put_at_once(data, size)
            if ref is not None:
                return ref
            await self._make_room()

    def put_at_once(self, data: Buffer | Bytes, size: int) -> NativeRef | None:
        """See `ChunkSink`: appends a small chunk, if its turn to wait for room has not come."""
        if size > self._largest_chunk or self._sealed_bytes > self._most_buffered:
            return None
        with self._lock:
            pack = self._open
            if pack is None or pack.size + size > self._capacity:
                pack = self._next_pack(pack)
            start = pack.size
            pack.append(data, size)
        return new_native_ref((pack.id, start, size))

    def put_block_at_once(
        self, size: int, count: int, fill: Callable[[memoryview], None]
    ) -> tuple[bytes, int, int] | None:
        """Take up to ``count`` small chunks of equal size, which ``fill`` writes side by side into a pack.

        Gives the pack's id, the offset of the first, and how many were taken; ``None``, and nothing was done,
        where `put_at_once` gives that. If ``fill`` fails, nothing was taken.
        """
        if size > self._largest_chunk or self._sealed_bytes > self._most_buffered:
            return None
        with self._lock:
            pack = self._open
            if pack is None or pack.size + size > self._capacity:
                pack = self._next_pack(pack)
            start = pack.size
            view = pack.room(size, min(count, (self._capacity - start) // size))
            fill(view)
            pack.took(len(view))
        return pack.id, start, len(view) // size

    def _next_pack(self, full: PackBuffer | None) -> PackBuffer:
        if full is not None:
            self._seal(full)
            self._start(full)
        pack = self._open = PackBuffer(self._ids.object_id(), self._spares)
        self._waiting[pack.id] = pack
        return pack

    # --- writing packs; methods that take a pack are called with the lock held

    def _seal(self, pack: PackBuffer) -> None:
        self._open = None
        self._sealed_bytes += pack.size

    def _start(self, pack: PackBuffer) -> Future[None]:
        pack.flight = in_background(
            lambda: self._write_pack(pack, sync=True), may_suspend=self._storage.may_suspend
        )
        return pack.flight

    @traced("icechunk.write_pack")
    async def _write_pack(self, pack: PackBuffer, *, sync: bool) -> None:
        annotate(bytes=pack.size)
        key = chunk_key(pack.id)
        await self._storage.put_hook(key, pack.content(), ALWAYS, None, None, self._storage_class)
        if sync:
            # Beside the session's work, so that the commit need not wait for it. If it fails
            # the pack is written anew: a file that could not be synced once is not to be trusted.
            await self._storage.sync([key])
        if not sync:
            self._wrote(key)
        with self._lock:
            if self._waiting.pop(pack.id, None) is not None:
                self._sealed_bytes -= pack.size
                pack.release()

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
                    self._spares.clear()
                    return
            await self._write_here(mine)
            for flight in elsewhere:
                with suppress(Exception):  # what failed elsewhere is tried here, in the next round
                    await wait_for(flight, may_suspend=self._storage.may_suspend)

    def _claim(self, pack: PackBuffer) -> Future[None]:
        pack.flight = Future()
        return pack.flight

    async def _write_here(self, claimed: list[tuple[PackBuffer, Future[None]]]) -> None:
        async def carry_out(pack: PackBuffer, flight: Future[None]) -> None:
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
