"""Mistakes with cancellation and event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from icechunk_conformance.broken.gallery import broken
from icechunk_conformance.broken.races import Suspending
from icechunk_conformance.reference import Place, ReferenceConfig, ReferenceStorage
from icechunk_core.clock import SystemClock
from icechunk_core.contract import (
    ALWAYS,
    Buffer,
    ByteRange,
    Condition,
    ObjectInfo,
    Version,
    hookimpl,
)
from icechunk_core.errors import Unavailable


@broken("half-write-on-cancel", "I01 I02 I03")
class HalfWriteOnCancel(Suspending):
    """A put that is cancelled in the middle leaves half of the object."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        with self.place.lock:
            self.admit(key, condition)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.store(key, data[: len(data) // 2], metadata)
            raise
        return await super().write(key, data, condition, metadata)


@broken("cancel-empties", "I02 I03")
class CancelEmpties(Suspending):
    """A cancelled overwrite has removed the old object already."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            with self.place.lock:
                self.remove(key)
            raise
        return await super().write(key, data, condition, metadata)


@broken("cancel-is-success", "I01 I02 I03")
class CancelIsSuccess(Suspending):
    """Swallows a cancellation, and reports success for a put that did not happen."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return self.place.version()
        return await super().write(key, data, condition, metadata)


@broken("lock-left-behind", "I03")
class LockLeftBehind(Suspending):
    """A conditional put that is cancelled leaves its key locked."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        if condition == ALWAYS:
            return await super().write(key, data, condition, metadata)
        locked: dict[str, None] = self.place.__dict__.setdefault("locked", {})
        turns = 0
        while key in locked:
            turns += 1
            if turns > 10_000:
                raise Unavailable("locked", key=key)
            await asyncio.sleep(0)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            locked[key] = None
            raise
        return await super().write(key, data, condition, metadata)


@broken("read-poisons", "I04")
class ReadPoisons(Suspending):
    """A cancelled read leaves its answer in the connection; the next read gets it."""

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        data, info = await super().get_range(key, byte_range, if_version)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.left = True
            raise
        if self.__dict__.pop("left", False):
            return b"", info
        return data, info


class Bound(Suspending):
    """Has something that belongs to an event loop."""

    def __init__(self, config: ReferenceConfig, place: Place) -> None:
        super().__init__(config, place)
        self.loop: Any = None


@broken("bound-to-first-loop", "F02 F06 I06 I07 M01 M02 M06 M07 M08")
class BoundToFirstLoop(Bound):
    """Works only in the event loop of its first operation."""

    async def enter(self, *keys: str) -> None:
        await super().enter(*keys)
        running = asyncio.get_running_loop()
        self.loop = self.loop or running
        if self.loop is not running:
            raise RuntimeError("attached to a different loop")


@broken("changes-loop", "F02 F06 I07")
class ChangesLoop(Bound):
    """Follows its caller to another event loop, and fails those that are still at work in the last."""

    async def enter(self, *keys: str) -> None:
        self.loop = asyncio.get_running_loop()
        await super().enter(*keys)
        await asyncio.sleep(0)
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError("Event loop is closed")


@broken("suspends-undeclared", "I08 M01 M02 M06 M07 M08")
class SuspendsUndeclared(ReferenceStorage):
    """Declares that it never suspends, and does."""

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        await asyncio.sleep(0)
        return await super().head(key)


@broken("never-suspends", "I09")
class NeverSuspends(Suspending):
    """Declares that it suspends, and does all its work at once: a blocking client in an async function."""

    async def enter(self, *keys: str) -> None:
        await ReferenceStorage.enter(self, *keys)

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        if self.closed or key not in self.place.objects:
            return await super().head(key)
        return self.place.objects[key].info


@broken("blocks-the-loop", "I09")
class BlocksTheLoop(Suspending):
    """Blocks the event loop for 0.15 s when it reads a large object."""

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        data, info = await super().get_range(key, byte_range, if_version)
        if len(data) > (1 << 20):
            SystemClock().sleep(0.15)
        return data, info
