"""Mistakes in byte ranges."""

from __future__ import annotations

from attrs import evolve

from icechunk_conformance.broken.gallery import broken
from icechunk_conformance.reference import REFERENCE, Entry, ReferenceStorage
from icechunk_core.contract import Buffer, ByteRange, From, ObjectInfo, Range, Suffix, Version, hookimpl
from icechunk_core.errors import InvalidRange, NotFound


@broken("inclusive-end", "B01 B10 B11 M08")
class InclusiveEnd(ReferenceStorage):
    """Takes a range's end as included, as HTTP does: one byte too many."""

    def cut(self, byte_range: ByteRange, data: bytes, key: str) -> bytes:
        if isinstance(byte_range, Range) and 0 <= byte_range.start < byte_range.end:
            byte_range = Range(byte_range.start, byte_range.end + 1)
        return super().cut(byte_range, data, key)


@broken("offset-by-one", "B02 B11")
class OffsetByOne(ReferenceStorage):
    """Skips the first byte of an offset read, except at the start."""

    def cut(self, byte_range: ByteRange, data: bytes, key: str) -> bytes:
        if isinstance(byte_range, From) and 0 < byte_range.offset < len(data):
            return data[byte_range.offset + 1 :]
        return super().cut(byte_range, data, key)


@broken("suffix-is-prefix", "B03")
class SuffixIsPrefix(ReferenceStorage):
    """Returns the first bytes for the last."""

    def cut(self, byte_range: ByteRange, data: bytes, key: str) -> bytes:
        if isinstance(byte_range, Suffix) and byte_range.length > 0 and data:
            return data[: byte_range.length]
        return super().cut(byte_range, data, key)


@broken("long-suffix-fails", "B03")
class LongSuffixFails(ReferenceStorage):
    """Refuses a suffix that is longer than the object."""

    def cut(self, byte_range: ByteRange, data: bytes, key: str) -> bytes:
        if isinstance(byte_range, Suffix) and byte_range.length > len(data):
            raise InvalidRange("suffix too long", key=key)
        return super().cut(byte_range, data, key)


@broken("ignores-suffix", "B04")
class IgnoresSuffix(ReferenceStorage):
    """Has no suffix ranges, and returns the whole object for one."""

    CAPABILITIES = evolve(REFERENCE, suffix_range=False)

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        return await super().get_range(
            key, None if isinstance(byte_range, Suffix) else byte_range, if_version
        )


@broken("unclamped", "B05 M08")
class Unclamped(ReferenceStorage):
    """Refuses a range that ends past the object."""

    def cut(self, byte_range: ByteRange, data: bytes, key: str) -> bytes:
        if isinstance(byte_range, Range) and byte_range.end > len(data):
            raise InvalidRange("range ends past the object", key=key)
        return super().cut(byte_range, data, key)


@broken("empty-past-the-end", "B06")
class EmptyPastTheEnd(ReferenceStorage):
    """Returns no bytes for a range that starts past the object, as slicing does."""

    def cut(self, byte_range: ByteRange, data: bytes, key: str) -> bytes:
        start = {Range: "start", From: "offset"}.get(type(byte_range))
        if start and getattr(byte_range, start) >= len(data) > 0:
            return b""
        return super().cut(byte_range, data, key)


@broken("slices", "B07")
class Slices(ReferenceStorage):
    """Gives empty and negative ranges the meaning that Python's slices have."""

    def cut(self, byte_range: ByteRange, data: bytes, key: str) -> bytes:
        if isinstance(byte_range, Range) and (byte_range.end <= byte_range.start or byte_range.start < 0):
            return data[byte_range.start : byte_range.end]
        return super().cut(byte_range, data, key)


@broken("empty-has-ranges", "B08")
class EmptyHasRanges(ReferenceStorage):
    """Returns no bytes for any range of an empty object."""

    def cut(self, byte_range: ByteRange, data: bytes, key: str) -> bytes:
        return super().cut(byte_range, data, key) if data else b""


@broken("size-of-the-part", "B05 B09 B13")
class SizeOfThePart(ReferenceStorage):
    """Reports the size of the part that was read as the object's."""

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        data, info = await super().get_range(key, byte_range, if_version)
        return data, evolve(info, size=len(data))


@broken("ignores-if-version", "B10")
class IgnoresIfVersion(ReferenceStorage):
    """Reads whatever version is there, also when asked for a certain one."""

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        return await super().get_range(key, byte_range, None)


@broken("range-before-existence", "B12")
class RangeBeforeExistence(ReferenceStorage):
    """Reports a range of a missing object as an invalid range."""

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        try:
            return await super().get_range(key, byte_range, if_version)
        except NotFound:
            if byte_range is None:
                raise
            raise InvalidRange("nothing there", key=key) from None


@broken("mixed-versions", "B13 F08 F09")
class MixedVersions(ReferenceStorage):
    """Reads the description first and the bytes in pieces later, from whatever version is there then."""

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        _, info = await super().get_range(key, byte_range, if_version)
        middle = info.size // 2
        first = self.find(key)
        second = self.find(key)
        data = first.data[:middle] + second.data[middle:]
        return self.cut(byte_range, data, key), info


@broken("wrong-block", "A06 B11 E10")
class WrongBlock(ReferenceStorage):
    """Loses the last byte before a 64 KiB border."""

    def find(self, key: str) -> Entry:
        entry = super().find(key)
        if len(entry.data) > (1 << 20):
            return Entry(entry.data[:65535] + b"\0" + entry.data[65536:], entry.info)
        return entry
