"""Writing virtual references."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.errors import ErrorKind, InvalidInputError, NodeNotFoundError, SessionStateError
from icechunk_core.format.refs import VirtualRef
from icechunk_core.store import IcechunkStore, VirtualChunkSpec
from icechunk_core.store.virtual import make_virtual_ref, refs_from_specs
from icechunk_core.transaction.column_changes import RefMapping
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


def many_specs() -> list[VirtualChunkSpec]:
    """In no order, with both kinds of checksums, and places that repeat."""
    when = datetime(2020, 1, 1, tzinfo=UTC)
    return [
        VirtualChunkSpec(
            [7 * row % 300, row % 3], f"s3://{'known' if row % 5 else 'other'}/{row % 4}", row, row + 1,
            "etag" if row % 2 else None, when if row % 3 else None,
        )
        for row in range(300)
    ]  # fmt: skip


def one_by_one(specs: list[VirtualChunkSpec]) -> dict[tuple[int, ...], VirtualRef]:
    return {
        tuple(one.index): make_virtual_ref(
            one.location, one.offset, one.length, one.etag_checksum or one.last_updated_at_checksum
        )
        for one in specs
    }


def test_many_specs_become_columns() -> None:
    """Columns of many specs are the refs of each; of a chunk that is given twice, the last ref counts."""
    specs = many_specs()
    refs = refs_from_specs(specs)
    assert isinstance(refs, RefMapping)
    assert dict(refs) == one_by_one(specs)
    again = VirtualChunkSpec(specs[0].index, "s3://known/again", 1, 2)
    assert dict(refs_from_specs([*specs, again])) == one_by_one([*specs, again])
    for offset, length, kind in [
        (2**64 - 1, 1, ErrorKind.INVALID_VIRTUAL_REF),
        (-1, 1, ErrorKind.INVALID_VIRTUAL_REF),
        (0, 0, ErrorKind.ZERO_LENGTH_CHUNK),
    ]:
        with pytest.raises(InvalidInputError) as caught:
            refs_from_specs([*specs, VirtualChunkSpec([0, 9], "s3://known/x", offset, length)])
        assert caught.value.kind == kind
    with pytest.raises(InvalidInputError, match="not a URL"):
        refs_from_specs([*specs, VirtualChunkSpec([0, 9], "", 0, 1)])


def test_many_specs_that_no_container_covers() -> None:
    """Those left out are told in the order in which they were given; the others are there."""
    config = ic.RepositoryConfig.default()
    config.set_virtual_chunk_container(ic.VirtualChunkContainer("s3://known/", ic.s3_store("us-east-1")))
    session = ic.Repository.create("memory:", config).writable_session("main")
    zarr.create_array(session.store, name="a", shape=(300, 3), chunks=(1, 1), dtype="i4")
    specs = many_specs()
    uncovered = [tuple(one.index) for one in specs if "other" in one.location]
    assert session.store.set_virtual_refs("a", specs) == uncovered
    kept = [one.location for one in specs if "known" in one.location]
    assert sorted(session.all_virtual_chunk_locations()) == sorted(kept)
    offsets, lengths = np.arange(3, dtype="u8"), np.ones(3, dtype="u8")
    places = ["s3://known/x", "", "s3://other/x"]
    assert session.store.set_virtual_refs_arr("a", (1, 3), places, offsets, lengths) == [(0, 2)]
