"""Mistakes that show when a process dies, in a long program, or in other processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, ClassVar, cast

from attrs import frozen

from icechunk_conformance.broken.gallery import broken
from icechunk_conformance.broken.races import ThreadLock
from icechunk_conformance.reference import Entry, ReferenceConfig, ReferenceStorage
from icechunk_conformance.reference_shared import SharedConfig, SharedObjects, SharedPlace, SharedStorage
from icechunk_core.clock import SystemClock
from icechunk_core.contract import ByteRange, Condition, IfVersion, Range, Version, hookimpl
from icechunk_core.errors import Corrupt, Timeout


class LazyObjects(SharedObjects):
    """Puts off writing the file of a ``…/object-N`` until a moment later."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.pending: dict[str, Entry] = {}

    def __getitem__(self, key: str) -> Entry:
        return self.pending[key] if key in self.pending else super().__getitem__(key)

    def __setitem__(self, key: str, entry: Entry) -> None:
        name = key.rpartition("/")[2]
        if not name.startswith("object-"):
            super().__setitem__(key, entry)
            return
        self.pending[key] = entry
        threading.Thread(target=self._later, args=(key, entry), daemon=True).start()

    def _later(self, key: str, entry: Entry) -> None:
        SystemClock().sleep(0.03)
        if self.pending.get(key) is entry:
            super().__setitem__(key, entry)
            self.pending.pop(key, None)

    def __delitem__(self, key: str) -> None:
        there = self.pending.pop(key, None)
        try:
            super().__delitem__(key)
        except KeyError:
            if there is None:
                raise

    def __iter__(self) -> Iterator[str]:
        waiting = list(self.pending)
        yield from waiting
        yield from (key for key in super().__iter__() if key not in waiting)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class LazyPlace(SharedPlace):
    """A shared folder behind a buffer of this process."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.objects = LazyObjects(folder)


@frozen
class LazyConfig(SharedConfig):
    PLACE: ClassVar[type[SharedPlace]] = LazyPlace


@broken("acknowledges-early", "K01")
class AcknowledgesEarly(SharedStorage):
    """Acknowledges a put when it is in a buffer of this process."""

    CONFIG: ClassVar[type[ReferenceConfig]] = LazyConfig


@broken("lock-outlives-its-holder", "K02")
class LockOutlivesItsHolder(SharedStorage):
    """Guards updates by a file that stays behind when its maker is killed."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        if not isinstance(condition, IfVersion) or not data.isalnum():
            return await super().write(key, data, condition, metadata)
        path = os.path.join(self.config.name, f".held-{hash_of(key)}.lock")
        clock = SystemClock()
        for _ in range(100):
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError:
                clock.sleep(0.01)
        else:
            raise Timeout("somebody holds the lock", key=key)
        try:
            version = await super().write(key, data, condition, metadata)
            clock.sleep(0.01)
            return version
        finally:
            os.unlink(path)


def hash_of(key: str) -> str:
    return key.replace("/", "-")[-40:]


class SyncsFolders(ReferenceStorage):
    """The reference storage with a ``sync`` that has nothing to do."""

    @hookimpl
    async def sync(self, keys: Sequence[str]) -> None:
        await self.enter(*keys)


@broken("sync-needs-bytes", "K03")
class SyncNeedsBytes(SyncsFolders):
    """Fails to sync an empty object."""

    @hookimpl
    async def sync(self, keys: Sequence[str]) -> None:
        await self.enter(*keys)
        for key in keys:
            if not self.find(key).data:
                raise Corrupt(f"nothing to sync in {key!r}")


# --- other processes, long programs ----------------------------------------------


class RememberingPlace(SharedPlace):
    """A shared folder of which a process remembers what it has read, like the attribute cache of a network
    file system; threads of one process are kept apart."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.within = ThreadLock()
        self.remembered: dict[str, Iterator[Entry]] = {}


@frozen
class RememberingConfig(SharedConfig):
    PLACE: ClassVar[type[SharedPlace]] = RememberingPlace


@broken("remembers-in-each-process", "F14")
class RemembersInEachProcess(SharedStorage):
    """Answers a few reads from the memory of the process, where other processes have written since."""

    CONFIG: ClassVar[type[ReferenceConfig]] = RememberingConfig

    def find(self, key: str) -> Entry:
        place = cast(RememberingPlace, self.place)
        with place.within:
            known = next(place.remembered.get(key, iter(())), None)
            if known is not None:
                return known
            entry = super().find(key)
            if "register-" in key:
                place.remembered[key] = repeat(entry, 3)
            return entry

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        place = cast(RememberingPlace, self.place)
        with place.within:
            place.remembered.pop(key, None)
            return super().store(key, data, metadata)

    def remove(self, key: str) -> None:
        place = cast(RememberingPlace, self.place)
        with place.within:
            place.remembered.pop(key, None)
            super().remove(key)


@broken("goes-back", "F13")
class GoesBack(ReferenceStorage):
    """Of the readers of an object that is being replaced the first sees the new one, the next the old one."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        flapping: dict[str, Any] = self.place.__dict__.setdefault("flapping", {})
        with self.place.lock:
            self.admit(key, condition)
            old = self.place.objects.get(key)
            version = self.store(key, data, metadata)
            if old is not None and "register-" in key:
                flapping[key] = [old, 0]
                SystemClock().sleep(0.004)
                del flapping[key]
            return version

    def find(self, key: str) -> Entry:
        there = super().find(key)
        waiting = self.place.__dict__.get("flapping", {}).get(key)
        if waiting is not None:
            waiting[1] += 1
            if waiting[1] > 1:
                old: Entry = waiting[0]
                return old
        return there


@broken("metadata-follows", "F15")
class MetadataFollows(ReferenceStorage):
    """Shows an object before its metadata."""

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        version = super().store(key, data, {})
        entry = self.place.objects[key]
        if metadata.get("body"):
            SystemClock().sleep(0.0002)
        info = type(entry.info)(key, len(data), version, entry.info.last_modified, dict(metadata))
        self.place.objects[key] = Entry(data, info)
        return version


@broken("ranges-of-updated-objects", "L01")
class RangesOfUpdatedObjects(ReferenceStorage):
    """Cuts a range of an object that was ever updated conditionally one byte late."""

    def admit(self, key: str, condition: Condition) -> None:
        super().admit(key, condition)
        if isinstance(condition, IfVersion):
            self.place.__dict__.setdefault("updated", set()).add(key)

    def cut(self, byte_range: ByteRange, data: bytes, key: str) -> bytes:
        cut = super().cut(byte_range, data, key)
        updated = key in self.place.__dict__.get("updated", set())
        if updated and isinstance(byte_range, Range):
            return super().cut(Range(byte_range.start, byte_range.end + 1), data, key)[1:]
        return cut


# --- under a repository ------------------------------------------------------------


@broken("keeps-one-sibling", "M01 M02 M03 M04 M06 M07")
class KeepsOneSibling(ReferenceStorage):
    """Drops the snapshots beside the one that is written."""

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        folder, slash, _ = key.partition("/snapshots/")
        if slash:
            for other in list(self.place.objects):
                if other.startswith(folder + slash):
                    del self.place.objects[other]
        return super().store(key, data, metadata)


@broken("misreads-packs", "M08")
class MisreadsPacks(ReferenceStorage):
    """Cuts ranges of a chunk object one byte late."""

    def cut(self, byte_range: ByteRange, data: bytes, key: str) -> bytes:
        if "/chunks/" in key and isinstance(byte_range, Range):
            return super().cut(Range(byte_range.start + 1, byte_range.end + 1), data, key)
        return super().cut(byte_range, data, key)
