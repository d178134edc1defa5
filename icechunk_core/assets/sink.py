"""Where written chunks go until they are committed.

A sink stands between sessions and storage: it takes bytes and gives back a ref. It also
knows which objects an uncommitted session has written, so that they can be made durable
in one batch just before the commit is published.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Protocol

from icechunk_core.contract import ALWAYS, Buffer, Storage
from icechunk_core.format.chunk_refs import NativeRef
from icechunk_core.format.layout import chunk_key
from icechunk_core.ids import IdSource

__all__ = ["BatchingSink", "ChunkSink", "ObjectSink", "make_sink"]


class ChunkSink(Protocol):
    """Takes chunk payloads, gives refs to them.

    Attributes
    ----------
    waiting
        Payloads by chunk id that are not in the storage yet; readers look here first.
    """

    @property
    def waiting(self) -> Mapping[bytes, bytes]: ...

    async def put(self, data: Buffer) -> NativeRef:
        """Store one payload (not empty)."""
        ...

    async def flush(self) -> None:
        """Write whatever is still buffered; called before commit, pickling and fork."""
        ...

    def unsynced(self) -> list[str]:
        """Keys written and not yet made durable, oldest first."""
        ...

    def synced(self, keys: list[str]) -> None:
        """These keys are durable now."""
        ...

    def adopt(self, keys: list[str]) -> None:
        """Take over keys that another process wrote for this session and did not make durable."""
        ...


class ObjectSink:
    """One object ``chunks/ID12`` per chunk (FORMAT.md, section 10)."""

    def __init__(self, storage: Storage, ids: IdSource, *, storage_class: str | None = None) -> None:
        self._storage = storage
        self._ids = ids
        self._storage_class = storage_class
        self._lock = threading.Lock()
        self._unsynced: list[str] = []
        self.waiting: dict[bytes, bytes] = {}

    async def put(self, data: Buffer) -> NativeRef:
        chunk_id = self._ids.object_id()
        await self._write(chunk_id, data)
        return NativeRef(chunk_id, 0, len(data))

    async def _write(self, chunk_id: bytes, data: Buffer) -> None:
        key = chunk_key(chunk_id)
        await self._storage.put_hook(key, [data], ALWAYS, None, None, self._storage_class)
        with self._lock:
            self._unsynced.append(key)

    async def flush(self) -> None:
        """Nothing is buffered."""

    def unsynced(self) -> list[str]:
        with self._lock:
            return list(self._unsynced)

    def synced(self, keys: list[str]) -> None:
        done = set(keys)
        with self._lock:
            self._unsynced = [key for key in self._unsynced if key not in done]

    def adopt(self, keys: list[str]) -> None:
        with self._lock:
            self._unsynced.extend(keys)


_BATCH = 64
_LARGEST_WAITING = 1 << 16


class BatchingSink(ObjectSink):
    """The same, for storages that never suspend: small chunks wait for one another.

    Between the steps of whatever encodes the chunks, each write finds cold caches and costs
    twice what it costs right after another one. Chunks that wait are in memory only, at most
    4 MiB; what could not be written goes on waiting, so `flush` never forgets one.
    """

    def __init__(self, storage: Storage, ids: IdSource, *, storage_class: str | None = None) -> None:
        super().__init__(storage, ids, storage_class=storage_class)
        self._writing = threading.Lock()

    async def put(self, data: Buffer) -> NativeRef:
        size = len(data)
        if size > _LARGEST_WAITING:
            return await super().put(data)
        chunk_id = self._ids.object_id()
        self.waiting[chunk_id] = bytes(data)
        if len(self.waiting) >= _BATCH:
            await self.flush()
        return NativeRef(chunk_id, 0, size)

    async def flush(self) -> None:
        """Write what waits."""
        with self._writing:  # never held while suspended: nothing here suspends
            for chunk_id, data in list(self.waiting.items()):
                await self._write(chunk_id, data)
                del self.waiting[chunk_id]


def make_sink(storage: Storage, ids: IdSource, *, storage_class: str | None = None) -> ChunkSink:
    """The sink that suits a storage."""
    sink = ObjectSink if storage.may_suspend else BatchingSink
    return sink(storage, ids, storage_class=storage_class)
