"""Where written chunks go until they are committed.

A sink stands between sessions and storage: it takes bytes and gives back a ref. It also
knows which objects an uncommitted session has written, so that they can be made durable
in one batch just before the commit is published.
"""

from __future__ import annotations

import threading
from typing import Protocol

from icechunk_core.contract import ALWAYS, Buffer, Storage
from icechunk_core.format.chunk_refs import NativeRef
from icechunk_core.format.layout import chunk_key
from icechunk_core.ids import IdSource

__all__ = ["ChunkSink", "ObjectSink"]


class ChunkSink(Protocol):
    """Takes chunk payloads, gives refs to them."""

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

    async def put(self, data: Buffer) -> NativeRef:
        chunk_id = self._ids.object_id()
        key = chunk_key(chunk_id)
        await self._storage.put_hook(key, [data], ALWAYS, None, None, self._storage_class)
        with self._lock:
            self._unsynced.append(key)
        return NativeRef(chunk_id, 0, len(data))

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
