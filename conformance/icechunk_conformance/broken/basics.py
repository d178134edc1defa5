"""Mistakes in put, get, head, delete and close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from icechunk_conformance.broken.gallery import broken
from icechunk_conformance.reference import REFERENCE, Entry, ReferenceStorage
from icechunk_core.contract import Buffer, Condition, DeleteResult, ObjectInfo, Version, hookimpl, joined
from icechunk_core.errors import NotFound, Unsupported


@broken("text-mode", "A01")
class TextMode(ReferenceStorage):
    """Ends an object at its first NUL byte."""

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        return super().store(key, data.split(b"\0")[0] if len(data) < 100 else data, metadata)


@broken("head-forgets-size", "A02 A04 A06 B13 D07 I06")
class HeadForgetsSize(ReferenceStorage):
    """``head`` reports a size of zero."""

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        await self.enter(key)
        return evolve(self.find(key).info, size=0)


@broken("missing-is-empty", "A03 A12 A13 A18 B12 C11 G06 G07 G09 G10 G11 I07 M02")
class MissingIsEmpty(ReferenceStorage):
    """Reads of a missing key return an empty object."""

    def find(self, key: str) -> Entry:
        try:
            return super().find(key)
        except NotFound:
            now = evolve(self.store_info(key), size=0)
            return Entry(b"", now)

    def store_info(self, key: str) -> ObjectInfo:
        from icechunk_core.clock import SystemClock, datetime_from_us

        return ObjectInfo(key, 0, None, datetime_from_us(SystemClock().now_us()))


@broken("no-truncation", "A04 A18 B13 C13 E10 F04 F05 F06 F07 F08 F09 J01")
class NoTruncation(ReferenceStorage):
    """Overwrites in place: what is longer of the old object stays behind the new bytes."""

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        old = self.place.objects.get(key)
        return super().store(key, data + old.data[len(data) :] if old else data, metadata)


@broken("no-empty-objects", "A05 A07 B08 D07 E01")
class NoEmptyObjects(ReferenceStorage):
    """Treats an empty object as no object."""

    def find(self, key: str) -> Entry:
        entry = super().find(key)
        if not entry.data:
            raise NotFound(f"no object {key!r}", key=key)
        return entry


@broken("part-limit", "A06 B11 E10")
class PartLimit(ReferenceStorage):
    """Loses what is beyond the first 4 MiB of an upload."""

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        return super().store(key, data[: 4 << 20], metadata)


@broken("first-buffer-only", "A07 A08 E10 M08")
class FirstBufferOnly(ReferenceStorage):
    """Writes only the first of several buffers."""

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
        return await self.write(key, joined(data[:1]), condition, metadata or {})


@broken("keeps-buffer", "A08")
class KeepsBuffer(ReferenceStorage):
    """Keeps a single buffer instead of its bytes, so that later changes of it change the object."""

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
        kept = data[0] if len(data) == 1 and isinstance(data[0], bytearray) else joined(data)
        return await self.write(key, kept, condition, metadata or {})  # type: ignore[arg-type]


@broken("drops-metadata", "A09 E09 G01 G02 G03 G04")
class DropsMetadata(ReferenceStorage):
    """Declares metadata and drops it."""

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        return super().store(key, data, {})


@broken("merges-metadata", "A09")
class MergesMetadata(ReferenceStorage):
    """Adds the new metadata to the old object's."""

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        old = self.place.objects.get(key)
        return super().store(key, data, {**(old.info.metadata if old else {}), **metadata})


@broken("silent-without-metadata", "A10")
class SilentWithoutMetadata(ReferenceStorage):
    """Does not declare metadata, and drops it silently instead of refusing it."""

    CAPABILITIES = evolve(REFERENCE, metadata=False)

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
        return await self.write(key, joined(data), condition, {})


@broken("batch-delete-stops", "A12 C13 M07")
class BatchDeleteStops(ReferenceStorage):
    """Deletes the first key of a batch and reports success for all."""

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        results = await super().delete(keys[:1])
        return [*results, *(DeleteResult(key) for key in keys[1:])]


@broken("delete-does-nothing", "A12 A13 B10 C08 C13 D06 D09 E01 E05 I07 M02 M07")
class DeleteDoesNothing(ReferenceStorage):
    """Reports every delete as a success and deletes nothing."""

    def remove(self, key: str) -> None:
        return None


@broken("cached-reads", "A13 F04 F05 F06 G01 G02 G03 G04 G05 G08 G10 G15 M06")
class CachedReads(ReferenceStorage):
    """Each client keeps what it has read, and does not notice what others write."""

    def find(self, key: str) -> Entry:
        cache: dict[str, Entry] = self.__dict__.setdefault("cache", {})
        if key not in cache:
            cache[key] = super().find(key)
        return cache[key]

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        self.__dict__.setdefault("cache", {}).pop(key, None)
        return super().store(key, data, metadata)

    def remove(self, key: str) -> None:
        self.__dict__.setdefault("cache", {}).pop(key, None)
        super().remove(key)


@broken("never-closes", "A14")
class NeverCloses(ReferenceStorage):
    """Goes on working after ``close``."""

    @hookimpl
    async def close(self) -> None:
        return None


@broken("closes-everybody", "A15")
class ClosesEverybody(ReferenceStorage):
    """Closing one client closes those that were opened before it."""

    def __init__(self, config, place):  # type: ignore[no-untyped-def]
        super().__init__(config, place)
        self.siblings = place.__dict__.setdefault("siblings", [])
        self.siblings.append(self)

    @hookimpl
    async def close(self) -> None:
        for client in self.siblings:
            client.closed = True
        self.siblings.clear()
        self.closed = True


@broken("refuses-content-type", "A16 M02")
class RefusesContentType(ReferenceStorage):
    """Refuses content types because it does not keep them."""

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
        if content_type:
            raise Unsupported("no content types", key=key)
        await self.enter(key)
        return await self.write(key, joined(data), condition, metadata or {})


@broken("naive-times", "A17 D07")
class NaiveTimes(ReferenceStorage):
    """Gives times without a time zone."""

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        version = super().store(key, data, metadata)
        entry = self.place.objects[key]
        info = evolve(entry.info, last_modified=entry.info.last_modified.replace(tzinfo=None))
        self.place.objects[key] = Entry(entry.data, info)
        return version


@broken("copy-keeps-version", "A18")
class CopyKeepsVersion(ReferenceStorage):
    """A copy has its source's version."""

    @hookimpl
    async def copy(self, source: str, target: str) -> Version:
        await self.enter(source, target)
        entry = self.find(source)
        self.place.objects[target] = Entry(entry.data, evolve(entry.info, key=target))
        return entry.info.version or Version("")


@broken("read-only-writes", "A19")
class ReadOnlyWrites(ReferenceStorage):
    """Declares that it is read-only, and writes."""

    CAPABILITIES = evolve(REFERENCE, read_only=True)

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
        return await self.write(key, joined(data), condition, metadata or {})
