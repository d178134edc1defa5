"""Where written chunks go until they are committed.

A sink stands between sessions and storage: it takes bytes and gives back a ref. It also
knows which objects an uncommitted session has written, so that they can be made durable
in one batch just before the commit is published.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

from icechunk_core.assets.streams import Bytes
from icechunk_core.contract import ALWAYS, Buffer, Storage
from icechunk_core.drive import child_safe
from icechunk_core.format.chunk_refs import NativeRef
from icechunk_core.format.layout import chunk_key
from icechunk_core.ids import IdSource

__all__ = ["BatchingSink", "ChunkSink", "ObjectSink"]


class ChunkSink(Protocol):
    """Takes chunk payloads, gives refs to them.

    Attributes
    ----------
    waiting
        What is not in the storage yet, by the id of its object. Where it is empty, `peek` finds nothing.
    """

    @property
    def waiting(self) -> Mapping[bytes, Any]: ...

    def peek(self, ref: NativeRef) -> Buffer | None:
        """The payload of a ref that waits; ``None`` if it is in the storage."""
        ...

    async def put(self, data: Buffer) -> NativeRef:
        """Take one payload (not empty). After an error there is nothing to refer to.

        Raises
        ------
        StorageError
            If this payload, or one taken earlier, cannot be written.
        """
        ...

    def put_at_once(self, data: Buffer | Bytes, size: int) -> NativeRef | None:
        """Take one payload of so many bytes (not 0) if nothing has to be written or waited for.

        ``None`` otherwise: then nothing was done, and `put` will do it.
        """
        ...

    async def flush(self) -> None:
        """Write whatever waits; called before commit, pickling and fork.

        Raises
        ------
        StorageError
            If something cannot be written. It goes on waiting, and the next flush tries again.
        """
        ...

    def unsynced(self) -> list[str]:
        """Keys written and not yet made durable, oldest first; none where puts are durable by themselves."""
        ...

    def synced(self, keys: list[str]) -> None:
        """These keys are durable now."""
        ...

    def adopt(self, keys: list[str]) -> None:
        """Take over keys that another process wrote for this session and did not make durable.

        Those known already count once.
        """
        ...


class ObjectSink:
    """One object ``chunks/ID12`` per chunk (FORMAT.md, section 10)."""

    def __init__(self, storage: Storage, ids: IdSource, *, storage_class: str | None = None) -> None:
        self._storage = storage
        self._ids = ids
        self._storage_class = storage_class
        # Not held while anything is written. Reentrant, for a job that has to run where it was submitted.
        self._lock = child_safe(threading.RLock())
        # In order; only where puts are not durable by themselves.
        self._unsynced: dict[str, None] = {}
        self._syncs = "sync" in storage.hook_names

    @property
    def waiting(self) -> Mapping[bytes, Any]:
        """Nothing ever waits."""
        return {}

    def peek(self, ref: NativeRef) -> Buffer | None:
        """Nothing ever waits."""
        return None

    async def put(self, data: Buffer) -> NativeRef:
        """Write one object."""
        chunk_id = self._ids.object_id()
        await self._write(chunk_id, data)
        return NativeRef(chunk_id, 0, len(data))

    def put_at_once(self, data: Buffer | Bytes, size: int) -> NativeRef | None:
        """Each payload is written when it comes."""
        return None

    async def _write(self, chunk_id: bytes, data: Buffer) -> None:
        key = chunk_key(chunk_id)
        await self._storage.put_hook(key, [data], ALWAYS, None, None, self._storage_class)
        self._wrote(key)

    def _wrote(self, key: str) -> None:
        if self._syncs:
            with self._lock:
                self._unsynced[key] = None

    async def flush(self) -> None:
        """Nothing is buffered."""

    def unsynced(self) -> list[str]:
        """Keys written and not yet made durable, oldest first."""
        with self._lock:
            return list(self._unsynced)

    def synced(self, keys: list[str]) -> None:
        """These keys are durable now."""
        with self._lock:
            for key in keys:
                self._unsynced.pop(key, None)

    def adopt(self, keys: list[str]) -> None:
        """Take over keys that another process wrote."""
        if self._syncs:
            with self._lock:
                self._unsynced.update(dict.fromkeys(keys))


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
        self._waiting: dict[bytes, bytes] = {}
        self._writing = child_safe(threading.Lock())

    @property
    def waiting(self) -> Mapping[bytes, Any]:
        """Payloads by chunk id."""
        return self._waiting

    def peek(self, ref: NativeRef) -> Buffer | None:
        """The payload of a ref that waits."""
        return self._waiting.get(ref.chunk_id)

    async def put(self, data: Buffer) -> NativeRef:
        """Keep a small chunk for a moment, write a large one."""
        size = len(data)
        if size > _LARGEST_WAITING:
            return await super().put(data)
        while True:
            ref = self.put_at_once(data, size)
            if ref is not None:
                return ref
            await self.flush()

    def put_at_once(self, data: Buffer | Bytes, size: int) -> NativeRef | None:
        """See `ChunkSink`: keeps a small chunk, unless there are so many that they are written now."""
        if size > _LARGEST_WAITING or len(self._waiting) >= _BATCH:
            return None
        chunk_id = self._ids.object_id()
        self._waiting[chunk_id] = bytes(data)
        return NativeRef(chunk_id, 0, size)

    async def flush(self) -> None:
        """Write what waits."""
        with self._writing:  # never held while suspended: nothing here suspends
            for chunk_id, data in list(self._waiting.items()):
                await self._write(chunk_id, data)
                del self._waiting[chunk_id]
