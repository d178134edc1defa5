"""Writing virtual references."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from icechunk_core.errors import ErrorKind, InvalidInputError, NodeNotFoundError, SessionStateError
from icechunk_core.format.refs import VirtualRef
from icechunk_core.store import IcechunkStore, VirtualChunkSpec
from tests.store.fake_session import FakeSession


@pytest.fixture
def arrays(filled: IcechunkStore, session: FakeSession) -> IcechunkStore:
    session.containers.append("s3://known/")
    return filled


def stored(session: FakeSession, *coords: int) -> bytes | None:
    return session.chunks["/g/a"].get(coords)


async def test_one_ref(arrays: IcechunkStore, session: FakeSession) -> None:
    """Location, bytes and either kind of checksum reach the session as given; the twin blocks."""
    await arrays.set_virtual_ref_async("g/a/c/1/0", "s3://known/x", offset=3, length=7, checksum="etag")
    assert stored(session, 1, 0) == repr(VirtualRef("s3://known/x", 3, 7, etag="etag")).encode()
    when = datetime(2020, 1, 1, tzinfo=UTC)
    arrays.set_virtual_ref("g/a/c/1/1", "s3://known/x", offset=0, length=1, checksum=when)
    expected = VirtualRef("s3://known/x", 0, 1, last_modified=1_577_836_800)
    assert stored(session, 1, 1) == repr(expected).encode()


def test_refused_refs(arrays: IcechunkStore) -> None:
    """Metadata keys, missing arrays, uncovered locations, empty and negative ranges are refused."""
    for key, location, offset, length, kind in [
        ("g/zarr.json", "s3://known/x", 0, 1, ErrorKind.NOT_ALLOWED),
        ("g/a", "s3://known/x", 0, 1, ErrorKind.INVALID_KEY),
        ("g/a/c/9/9", "s3://known/x", 0, 1, ErrorKind.INVALID_CHUNK_INDEX),
        ("g/a/c/0/0", "s3://other/x", 0, 1, ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK),
        ("g/a/c/0/0", "nonsense", 0, 1, ErrorKind.INVALID_VIRTUAL_REF),
        ("g/a/c/0/0", "s3:///", 0, 1, ErrorKind.INVALID_VIRTUAL_REF),
        ("g/a/c/0/0", "s3://known/x", -1, 1, ErrorKind.INVALID_VIRTUAL_REF),
        ("g/a/c/0/0", "s3://known/x", 2**64 - 1, 1, ErrorKind.INVALID_VIRTUAL_REF),
        ("g/a/c/0/0", "s3://known/x", 0, 0, ErrorKind.ZERO_LENGTH_CHUNK),
    ]:
        with pytest.raises((InvalidInputError, SessionStateError)) as caught:
            arrays.set_virtual_ref(key, location, offset=offset, length=length)
        assert caught.value.kind == kind
    with pytest.raises(NodeNotFoundError):
        arrays.set_virtual_ref("missing/c/0", "s3://known/x", offset=0, length=1)
    arrays.set_virtual_ref("g/a/c/0/0", "s3://other/x", offset=0, length=1, validate_container=False)


def test_many_refs(arrays: IcechunkStore, session: FakeSession) -> None:
    """Refs that no container covers are left out and named, the others are stored."""
    specs = [
        VirtualChunkSpec([1, 0], "s3://known/x", 0, 5, etag_checksum="e"),
        VirtualChunkSpec([1, 1], "s3://other/x", 0, 5),
        VirtualChunkSpec(
            [2, 0], "s3://known/x", 5, 5, last_updated_at_checksum=datetime.fromtimestamp(9, tz=UTC)
        ),
    ]
    assert arrays.set_virtual_refs("/g/a", specs) == [(1, 1)]
    assert stored(session, 1, 0) == repr(VirtualRef("s3://known/x", 0, 5, etag="e")).encode()
    assert stored(session, 2, 0) == repr(VirtualRef("s3://known/x", 5, 5, last_modified=9)).encode()
    assert stored(session, 1, 1) is None
    assert arrays.set_virtual_refs("g/a", specs, validate_containers=False) is None
    assert stored(session, 1, 1) is not None
    with pytest.raises(InvalidInputError):
        arrays.set_virtual_refs("g/a", [VirtualChunkSpec([9, 9], "s3://known/x", 0, 5)])


def test_refs_from_columns(arrays: IcechunkStore, session: FakeSession) -> None:
    """Columns fill a block of the grid in C order from its offset on; empty locations are skipped."""
    locations = ["s3://known/0", "", "s3://other/2", "s3://known/3"]
    offsets, lengths = np.arange(4, dtype="u8"), np.full(4, 9, dtype="u8")
    session.chunks["/g/a"].clear()
    failed = arrays.set_virtual_refs_arr("g/a", (2, 2), locations, offsets, lengths, arr_offset=(1, 0))
    assert failed == [(2, 0)]
    assert session.chunks["/g/a"] == {
        (1, 0): repr(VirtualRef("s3://known/0", 0, 9)).encode(),
        (2, 1): repr(VirtualRef("s3://known/3", 3, 9)).encode(),
    }


@pytest.mark.parametrize("arguments", [((3, 2), None), ((2, 2), (0,)), ((2, 2), (0, -1))])
def test_columns_that_do_not_fit(
    arrays: IcechunkStore, arguments: tuple[tuple[int, ...], tuple[int, ...] | None]
) -> None:
    """Columns of the wrong length and offsets of the wrong shape are refused."""
    shape, offset = arguments
    ones = np.ones(4, dtype="u8")
    with pytest.raises(InvalidInputError):
        arrays.set_virtual_refs_arr("g/a", shape, ["s3://known/x"] * 4, ones, ones, arr_offset=offset)
