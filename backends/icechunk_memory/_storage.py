"""The operations of memory storage."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence

from icechunk_core.clock import Clock, SystemClock, datetime_from_us
from icechunk_core.contract import (
    ALWAYS,
    Always,
    AtomicityScope,
    Buffer,
    ByteRange,
    Capabilities,
    Condition,
    DeleteResult,
    IfAbsent,
    IfVersion,
    ObjectInfo,
    Range,
    Version,
    hookimpl,
    joined,
    resolve_range,
)
from icechunk_core.contract.keys import check_key
from icechunk_core.errors import (
    AlreadyExists,
    Closed,
    InvalidKey,
    NotFound,
    ReadOnly,
    StorageError,
    Unsupported,
    VersionMismatch,
)
from icechunk_memory._config import MemoryConfig
from icechunk_memory._space import Entry

__all__ = ["CAPABILITIES", "MemoryStorage"]

CAPABILITIES = Capabilities(
    create=True,
    update=True,
    atomicity=AtomicityScope.THREAD,
    metadata=True,
    copy=True,
    may_suspend=False,
)

_NOTHING: dict[str, Entry] = {}
"""What a closed storage reads from: every key misses, and the miss finds out why."""


class MemoryStorage:
    """One open view of a space. Never suspends, so any thread can drive it."""

    def __init__(self, config: MemoryConfig, clock: Clock | None = None) -> None:
        self._space = config.space
        self._objects = config.space.objects
        self._read_only = config.read_only
        self._closed = False
        self._clock = clock if clock is not None else SystemClock()

    @hookimpl
    def capabilities(self) -> Capabilities:
        if self._read_only:
            return Capabilities(metadata=True, may_suspend=False, read_only=True)
        return CAPABILITIES

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        entry = self._objects.get(key)
        if entry is None:
            raise self._missing(key)
        data, info = entry
        if if_version is not None and info.version != if_version:
            raise VersionMismatch(f"object {key!r} has another version", key=key)
        if byte_range is None:
            return entry
        if type(byte_range) is Range and 0 <= byte_range.start < byte_range.end <= len(data):
            return memoryview(data)[byte_range.start : byte_range.end], info
        start, end = resolve_range(byte_range, len(data), key=key)
        return memoryview(data)[start:end], info

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        entry = self._objects.get(key)
        if entry is None:
            raise self._missing(key)
        return entry[1]

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        self._check_open()
        keys = self._space.sorted_keys()
        position = bisect_left(keys, prefix)
        if start_after is not None:
            position = max(position, bisect_right(keys, start_after))
        while position < len(keys) and keys[position].startswith(prefix):
            entry = self._objects.get(keys[position])
            if entry is not None:
                yield entry[1]
            self._check_open()
            position += 1

    @hookimpl
    async def put(
        self,
        key: str,
        data: Sequence[Buffer],
        condition: Condition,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
        storage_class: str | None,
    ) -> Version:
        if key not in self._objects:
            check_key(key)
        return self._store(key, joined(data), condition, dict(metadata or ()))

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        self._check_writable()
        results = []
        with self._space.lock:
            for key in keys:
                try:
                    self._space.remove(check_key(key))
                except InvalidKey as error:
                    results.append(DeleteResult(key, error))
                else:
                    results.append(DeleteResult(key))
        return results

    @hookimpl
    async def copy(self, source: str, target: str) -> Version:
        check_key(target)
        entry = self._objects.get(source)
        if entry is None:
            raise self._missing(source)
        data, info = entry
        return self._store(target, data, ALWAYS, dict(info.metadata))

    @hookimpl
    async def close(self) -> None:
        self._closed = True
        self._objects = _NOTHING

    def _store(self, key: str, content: bytes, condition: Condition, metadata: dict[str, str]) -> Version:
        self._check_writable()
        space = self._space
        modified = datetime_from_us(self._clock.now_us())
        with space.lock:
            if isinstance(condition, Always):
                pass
            elif isinstance(condition, IfAbsent):
                if key in space.objects:
                    raise AlreadyExists(f"there is an object {key!r} already", key=key)
            elif isinstance(condition, IfVersion):
                current = space.objects.get(key)
                if current is None or current[1].version != condition.version:
                    found = "no object" if current is None else "another version"
                    raise VersionMismatch(f"found {found} under {key!r}; nothing was written", key=key)
            else:
                raise Unsupported(f"unknown condition {condition!r}; nothing was written", key=key)
            version = Version(space.next_version())
            space.store(key, (content, ObjectInfo(key, len(content), version, modified, metadata)))
        return version

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("this memory storage was closed; open it again")

    def _check_writable(self) -> None:
        self._check_open()
        if self._read_only:
            raise ReadOnly("this memory storage was opened read-only")
        if self._space.forked:
            raise Unsupported(
                "this is a forked child's copy of a memory storage; what it writes would never reach "
                "the process that owns it. Use a storage that processes share, such as a directory"
            )

    def _missing(self, key: str) -> StorageError:
        """Why a key was not found: as an error to raise."""
        self._check_open()
        check_key(key)
        return NotFound(f"no object {key!r}", key=key)
