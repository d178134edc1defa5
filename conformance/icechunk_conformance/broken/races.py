"""Mistakes that only contention shows."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from typing import ClassVar

from attrs import evolve, frozen

from icechunk_conformance.broken.gallery import broken
from icechunk_conformance.reference import REFERENCE, Entry, ReferenceConfig, ReferenceStorage
from icechunk_conformance.reference_shared import SharedConfig, SharedObjects, SharedPlace, SharedStorage
from icechunk_core.contract import Capabilities, Condition, IfAbsent, IfVersion, Version
from icechunk_core.errors import AlreadyExists


class Suspending(ReferenceStorage):
    """The reference storage, suspending in every operation."""

    CAPABILITIES: ClassVar[Capabilities] = evolve(REFERENCE, may_suspend=True)


@broken("racy-create", "F01 F02")
class RacyCreate(ReferenceStorage):
    """Looks whether the object is there, and then writes it: a check, then an act."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        if isinstance(condition, IfAbsent):
            self.admit(key, condition)
            return self.store(key, data, metadata)
        return await super().write(key, data, condition, metadata)


@broken("racy-update", "F04 F05 F06")
class RacyUpdate(ReferenceStorage):
    """Compares the version, and then writes."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        if isinstance(condition, IfVersion):
            self.admit(key, condition)
            return self.store(key, data, metadata)
        return await super().write(key, data, condition, metadata)


@broken("lock-per-client", "F01 F04 F05")
class LockPerClient(ReferenceStorage):
    """Holds a lock that other clients do not know of."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        with self.__dict__.setdefault("own_lock", threading.Lock()):
            self.admit(key, condition)
            return self.store(key, data, metadata)


@broken("lock-per-loop", "F01 F02 F04 F05 F06")
class LockPerLoop(ReferenceStorage):
    """Guards its writes among the tasks of one event loop only."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        self.admit(key, condition)
        return self.store(key, data, metadata)


@broken("suspends-in-between", "F01 F02 F03 F04 F05 F06 F07")
class SuspendsInBetween(Suspending):
    """Gives way between the check and the act."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        with self.place.lock:
            self.admit(key, condition)
        await asyncio.sleep(0)
        with self.place.lock:
            return self.store(key, data, metadata)


@broken("seen-half-written", "B13 F08 F09")
class SeenHalfWritten(ReferenceStorage):
    """Writes into the object that readers see: first the front, then the whole."""

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        old = self.place.objects.get(key)
        if old is not None and len(data) > 100:
            size = len(data) // 2
            self.place.objects[key] = Entry(data[:size], evolve(old.info, size=size))
        return super().store(key, data, metadata)


@broken("update-seen-half-written", "F09")
class UpdateSeenHalfWritten(ReferenceStorage):
    """Writes conditional updates into the object that readers see."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        if not isinstance(condition, IfVersion) or len(data) < 100:
            return await super().write(key, data, condition, metadata)
        with self.place.lock:
            self.admit(key, condition)
            old = self.find(key)
            self.place.objects[key] = Entry(data[: len(data) // 2], old.info)
            return self.store(key, data, metadata)


@broken("loser-sees-nothing", "F01 F02")
class LoserSeesNothing(ReferenceStorage):
    """Reserves a key before it writes it: losers are turned away before there is an object."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        if not isinstance(condition, IfAbsent):
            return await super().write(key, data, condition, metadata)
        reserved: set[str] = self.place.__dict__.setdefault("reserved", set())
        with self.place.lock:
            self.admit(key, condition)
            if key in reserved:
                raise AlreadyExists("somebody is writing it", key=key)
            reserved.add(key)
        version = self.store(key, data, metadata)
        reserved.discard(key)
        return version


@broken("shared-scratch", "F02 F06 I07")
class SharedScratch(ReferenceStorage):
    """Gathers what it writes in a place that all threads of a client share."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        self.scratch = data
        with self.place.lock:
            self.admit(key, condition)
            return self.store(key, self.scratch, metadata)


# --- between processes -------------------------------------------------------


class ThreadLock:
    """Excludes the threads of this process only."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


class ThreadPlace(SharedPlace):
    """A shared folder with a lock that only the threads of one process know of."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.lock = ThreadLock()


@frozen
class ThreadConfig(SharedConfig):
    PLACE: ClassVar[type[SharedPlace]] = ThreadPlace


@broken("thread-lock-between-processes", "F10 F11")
class ThreadLockBetweenProcesses(SharedStorage):
    """Declares atomicity between processes, and holds a lock between threads."""

    CONFIG: ClassVar[type[ReferenceConfig]] = ThreadConfig


class InPlaceObjects(SharedObjects):
    """Writes files in place instead of replacing them."""

    def __setitem__(self, key: str, entry: Entry) -> None:
        if 1000 < len(entry.data) < 100_000:
            super().__setitem__(key, Entry(entry.data[: len(entry.data) // 2], entry.info))
        super().__setitem__(key, entry)


class InPlacePlace(SharedPlace):
    """A shared folder in which files are written in place; threads of one process are kept apart."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.objects = InPlaceObjects(folder)
        self.within = ThreadLock()


@frozen
class InPlaceConfig(SharedConfig):
    PLACE: ClassVar[type[SharedPlace]] = InPlacePlace


@broken("written-in-place", "F12", sometimes="K01")
class WrittenInPlace(SharedStorage):
    """Other processes see objects half written; the threads of its own do not."""

    CONFIG: ClassVar[type[ReferenceConfig]] = InPlaceConfig

    def find(self, key: str) -> Entry:
        with self.place.within:  # type: ignore[attr-defined]
            return super().find(key)

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        with self.place.within:  # type: ignore[attr-defined]
            return super().store(key, data, metadata)
