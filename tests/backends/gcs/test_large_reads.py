"""Ranges that are read in parts: exact, and of one version."""

from __future__ import annotations

import pytest

from icechunk_core.clock import datetime_from_us
from icechunk_core.contract import ObjectInfo, Range, Version, resolve_range
from icechunk_core.contract.errors import InvalidRange, NotFound, StorageError, VersionMismatch
from icechunk_gcs._large_reads import is_large, read_in_parts
from tests.servers.gcs import GcsServer

OLD, NEW = bytes(range(100)), bytes(reversed(range(90)))


class Object:
    """An object that is replaced, or removed, before a certain read."""

    def __init__(self, *, changes_before: int | None = None, gone: bool = False) -> None:
        self.reads: list[Range] = []
        self.changes_before = changes_before
        self.gone = gone

    async def read(self, part: Range, version: Version | None) -> tuple[bytes, ObjectInfo]:
        """One read."""
        changed = self.changes_before is not None and len(self.reads) >= self.changes_before
        self.reads.append(part)
        if changed and self.gone:
            raise NotFound("gone")
        body, token = (NEW, Version("2")) if changed else (OLD, Version("1"))
        if version is not None and version != token:
            raise VersionMismatch("another one")
        start, end = resolve_range(part, len(body))
        return body[start:end], ObjectInfo("k", len(body), token, datetime_from_us(0))


@pytest.mark.parametrize(
    "wanted", [Range(0, 100), Range(0, 31), Range(7, 58), Range(55, 1000), Range(95, 200)]
)
async def test_parts_make_the_whole(wanted: Range) -> None:
    """Also where the range ends inside a part, or past the object's end."""
    each = Object()
    data, info = await read_in_parts(each.read, wanted, None, size=10, parallel=2)
    assert bytes(data) == OLD[wanted.start : wanted.end]
    assert (info.size, info.version) == (100, Version("1"))
    assert all(part.end - part.start <= 10 for part in each.reads)


async def test_a_replaced_object_is_read_again_in_one_request() -> None:
    """So that all bytes are of one version."""
    each = Object(changes_before=3)
    data, info = await read_in_parts(each.read, Range(0, 100), None, size=10, parallel=2)
    assert (bytes(data), info.version) == (NEW, Version("2"))
    assert each.reads[-1] == Range(0, 100)


@pytest.mark.parametrize(
    ("each", "version", "error"),
    [
        (Object(changes_before=3), Version("1"), VersionMismatch),
        (Object(changes_before=0), Version("1"), VersionMismatch),
        (Object(changes_before=3, gone=True), None, NotFound),
    ],
)
async def test_other_failures_are_reported(
    each: Object, version: Version | None, error: type[StorageError]
) -> None:
    """A version that was insisted on and is gone, an object that is gone."""
    with pytest.raises(error):
        await read_in_parts(each.read, Range(0, 100), version, size=10, parallel=2)


async def test_a_range_past_the_end_is_one() -> None:
    """The first part tells."""
    with pytest.raises(InvalidRange):
        await read_in_parts(Object().read, Range(100, 200), None, size=10, parallel=2)


def test_small_ranges_take_one_request() -> None:
    """They would only become slower."""
    assert not is_large(Range(5, 45), 10)
    assert is_large(Range(5, 46), 10)


async def test_on_a_server(fake_gcs: GcsServer, lean: bool) -> None:
    """Parts of a real object are put together."""
    storage = fake_gcs.storage(fake_gcs.new_bucket(), lean=lean, read_part_size=10)
    version = await storage.put("k", OLD)
    data, info = await storage.get_range("k", Range(1, 99))
    assert (bytes(data), info.version, info.size) == (OLD[1:99], version, 100)
    with pytest.raises(VersionMismatch):
        await storage.get_range("k", Range(1, 99), Version("5"))
    await storage.close()
