"""A small storage that keeps every promise: the measure of the suite itself.

It favours plainness over speed. The gallery of broken storages (`icechunk_conformance.broken`)
overrides one small method of it at a time.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from attrs import field, frozen

from icechunk_core.clock import SystemClock, datetime_from_us
from icechunk_core.contract import (
    AtomicityScope,
    Buffer,
    ByteRange,
    Capabilities,
    Condition,
    DeleteResult,
    IfAbsent,
    IfVersion,
    ObjectInfo,
    Storage,
    Suffix,
    Version,
    hookimpl,
    joined,
    open_backend,
    resolve_range,
)
from icechunk_core.contract.keys import check_key
from icechunk_core.errors import (
    AlreadyExists,
    Closed,
    InvalidKey,
    NotFound,
    ReadOnly,
    StorageConfigError,
    StorageError,
    Unsupported,
    VersionMismatch,
)

__all__ = ["REFERENCE", "Entry", "Opener", "Place", "ReferenceConfig", "ReferenceStorage"]

REFERENCE = Capabilities(
    create=True,
    update=True,
    atomicity=AtomicityScope.THREAD,
    metadata=True,
    copy=True,
    may_suspend=False,
)


@frozen
class Entry:
    """One stored object."""

    data: bytes
    info: ObjectInfo


class Place:
    """The objects that clients share, and the lock that makes their writes one after the other."""

    def __init__(self) -> None:
        self.objects: MutableMapping[str, Entry] = {}
        self.lock: AbstractContextManager[Any] = threading.RLock()
        self._writes = itertools.count(1)

    def version(self) -> Version:
        """A version that no other write has."""
        return Version(f"w{next(self._writes)}")


_by_name: dict[str, Place] = {}


@frozen
class ReferenceConfig:
    """Which place, and how to open it."""

    name: str
    secret: str = field(default="", repr=False)

    @classmethod
    def new_place(cls) -> str:
        """The name of a new, empty place."""
        name = f"place-{len(_by_name)}"
        _by_name[name] = Place()
        return name

    def place(self) -> Place:
        """The place of that name, in this process."""
        try:
            return _by_name[self.name]
        except KeyError:
            raise StorageConfigError("the reference storage lives in the process that made it") from None


class ReferenceStorage:
    """A client of a `Place`. Every step that a broken storage gets wrong is a method."""

    CAPABILITIES: ClassVar[Capabilities] = REFERENCE
    CONFIG: ClassVar[type[ReferenceConfig]] = ReferenceConfig

    def __init__(self, config: ReferenceConfig, place: Place) -> None:
        self.config = config
        self.place = place
        self.closed = False

    @classmethod
    def opener(cls, secret: str = "") -> Opener:
        """A function that opens clients of one new, empty place."""
        return Opener(cls, cls.CONFIG(cls.CONFIG.new_place(), secret))

    # --- steps

    async def enter(self, *keys: str) -> None:
        """What every operation begins with."""
        if self.closed:
            raise Closed("the storage was closed; open it again")
        for key in keys:
            check_key(key)
        if self.CAPABILITIES.may_suspend:
            await asyncio.sleep(0)

    def find(self, key: str) -> Entry:
        entry = self.place.objects.get(key)
        if entry is None:
            raise self.error(NotFound, f"no object {key!r}", key)
        return entry

    def cut(self, byte_range: ByteRange, data: bytes, key: str) -> bytes:
        start, end = resolve_range(byte_range, len(data), key=key)
        return data[start:end]

    def admit(self, key: str, condition: Condition) -> None:
        """Raise unless the condition holds now."""
        current = self.place.objects.get(key)
        if isinstance(condition, IfAbsent):
            if not self.CAPABILITIES.create:
                raise Unsupported("no conditional create", key=key)
            if current is not None:
                raise self.error(AlreadyExists, f"object {key!r} exists", key)
        elif isinstance(condition, IfVersion):
            if not self.CAPABILITIES.update:
                raise Unsupported("no conditional update", key=key)
            if current is None or current.info.version != condition.version:
                raise self.error(VersionMismatch, f"object {key!r} has another version", key)

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        version = self.next_version(key, data)
        modified = datetime_from_us(SystemClock().now_us())
        info = ObjectInfo(key, len(data), version, modified, dict(metadata))
        self.place.objects[key] = Entry(data, info)
        return version

    def next_version(self, key: str, data: bytes) -> Version:
        return self.place.version()

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        with self.place.lock:
            entries = list(self.place.objects.values())
        infos = [entry.info for entry in entries if entry.info.key.startswith(prefix)]
        return sorted(
            (info for info in infos if start_after is None or info.key > start_after),
            key=lambda info: info.key.encode(),
        )

    def remove(self, key: str) -> None:
        self.place.objects.pop(key, None)

    def error(self, kind: type[StorageError], message: str, key: str) -> StorageError:
        return kind(message, key=key)

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        with self.place.lock:
            self.admit(key, condition)
            return self.store(key, data, metadata)

    # --- hooks

    @hookimpl
    def capabilities(self) -> Capabilities:
        return self.CAPABILITIES

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        await self.enter(key)
        if isinstance(byte_range, Suffix) and not self.CAPABILITIES.suffix_range:
            raise Unsupported("no suffix ranges", key=key)
        entry = self.find(key)
        if if_version is not None and entry.info.version != if_version:
            raise self.error(VersionMismatch, f"object {key!r} has another version", key)
        return self.cut(byte_range, entry.data, key), entry.info

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        await self.enter(key)
        return self.find(key).info

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
        await self.enter(key)
        if self.CAPABILITIES.read_only:
            raise ReadOnly("opened read-only", key=key)
        if metadata and not self.CAPABILITIES.metadata:
            raise Unsupported("no metadata", key=key)
        return await self.write(key, joined(data), condition, metadata or {})

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        await self.enter()
        if not self.CAPABILITIES.list:
            raise Unsupported("no listing")
        for info in self.select(prefix, start_after):
            yield info

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        await self.enter()
        if self.CAPABILITIES.read_only:
            raise ReadOnly("opened read-only")
        results = []
        for key in keys:
            try:
                check_key(key)
                with self.place.lock:
                    self.remove(key)
            except InvalidKey as error:
                results.append(DeleteResult(key, error))
            else:
                results.append(DeleteResult(key))
        return results

    @hookimpl
    async def copy(self, source: str, target: str) -> Version:
        await self.enter(source, target)
        with self.place.lock:
            entry = self.find(source)
            return self.store(target, entry.data, entry.info.metadata)

    @hookimpl
    async def close(self) -> None:
        self.closed = True


@frozen
class Opener:
    """Opens clients of one place: the factory of a `Location`, and what a client pickles to."""

    backend: type[ReferenceStorage]
    config: ReferenceConfig

    def __call__(self, config: ReferenceConfig | None = None) -> Storage:
        return open_storage(self.backend, config or self.config)


def open_storage(backend: type[ReferenceStorage], config: ReferenceConfig) -> Storage:
    """A new client.

    Raises
    ------
    StorageConfigError
        In a process that does not have the place.
    """
    client = backend(config, config.place())
    return open_backend(client, plugin="reference", config=config, reopen=Opener(backend, config))
