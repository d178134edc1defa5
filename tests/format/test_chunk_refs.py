"""Columns of chunk refs behave like a sorted dict from coordinates to refs."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk_core.errors import InvalidInputError
from icechunk_core.format._payloads import Source
from icechunk_core.format.manifest import ChunkRef, ChunkRefs, InlineRef, NativeRef, RefKind, VirtualRef
from tests.format.strategies import chunk_refs, coordinates, ref_mappings

DIMENSIONS = (0, 1, 2, 3, 20)
Items = dict[tuple[int, ...], ChunkRef]


def check(refs: ChunkRefs, expected: Items) -> None:
    """The refs hold exactly these items, in order, and find each of them."""
    assert list(refs.items()) == sorted(expected.items())
    assert len(refs) == len(expected)
    for row, coord in enumerate(sorted(expected)):
        assert refs.find(coord) == row
        assert refs.get(coord) == expected[coord]


@pytest.mark.parametrize("ndim", DIMENSIONS)
@settings(max_examples=40)
@given(data=st.data())
def test_from_items(ndim: int, data: st.DataObject) -> None:
    """Whatever goes in comes out, sorted; coordinates that are not there are not found."""
    items = data.draw(ref_mappings(ndim))
    refs = ChunkRefs.from_items(ndim, items)
    assert refs.ndim == ndim
    check(refs, items)
    for coord in data.draw(st.lists(coordinates(ndim), max_size=10)):
        assert refs.get(coord) == items.get(coord)
    assert refs.find((1,) * (ndim + 1)) == -1
    assert refs.kind.tolist() == [
        {InlineRef: RefKind.INLINE, NativeRef: RefKind.NATIVE, VirtualRef: RefKind.VIRTUAL}[type(items[c])]
        for c in sorted(items)
    ]


@pytest.mark.parametrize("ndim", DIMENSIONS)
@settings(max_examples=40)
@given(data=st.data())
def test_updates_are_those_of_a_dict(ndim: int, data: st.DataObject) -> None:
    """A chain of updates and removals gives the same as on a dict, and leaves the original as it was."""
    items = data.draw(ref_mappings(ndim))
    first = refs = ChunkRefs.from_items(ndim, items)
    expected = dict(items)
    for _ in range(3):
        changes: dict[tuple[int, ...], ChunkRef | None] = data.draw(
            st.dictionaries(coordinates(ndim), st.none() | chunk_refs, max_size=8)
        )
        refs = refs.updated(changes)
        for coord, ref in changes.items():
            if ref is None:
                expected.pop(coord, None)
            else:
                expected[coord] = ref
        check(refs, expected)
    check(first, items)


def test_many_updates_do_not_pile_up_buffers() -> None:
    """Refs that come from hundreds of updates are kept in a bounded number of buffers."""
    refs = ChunkRefs.empty(1)
    expected: Items = {}
    for index in range(300):
        ref: ChunkRef = InlineRef(b"%d" % index)
        if index % 2:
            ref = VirtualRef(f"s3://b/{index}", index, 1, etag=f"e{index}" if index % 3 else None)
        expected[(index * 7 % 300,)] = ref
        refs = refs.updated({(index * 7 % 300,): ref})
    check(refs, expected)
    assert len(refs.sources) <= 17


@pytest.mark.parametrize("ndim", DIMENSIONS)
@settings(max_examples=40)
@given(data=st.data())
def test_concat_and_restricted(ndim: int, data: st.DataObject) -> None:
    """Joining parts gives the union, the earlier part winning; restricting gives what lies in the box."""
    parts = data.draw(st.lists(ref_mappings(ndim, 8), min_size=1, max_size=4))
    expected: Items = {}
    for part in reversed(parts):
        expected |= part
    refs = ChunkRefs.concat([ChunkRefs.from_items(ndim, part) for part in parts])
    check(refs, expected)
    box = data.draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2**33)), max_size=ndim))
    inside = {
        coord: ref
        for coord, ref in expected.items()
        if all(low <= index < high for index, (low, high) in zip(coord, box, strict=False))
    }
    check(refs.restricted(box), inside)


@given(data=st.data())
def test_summaries(data: st.DataObject) -> None:
    """Extents are tight; ids are distinct and sorted; locations come in order."""
    items = data.draw(ref_mappings(2))
    refs = ChunkRefs.from_items(2, items)
    if items:
        assert refs.extents() == tuple(
            (min(c[d] for c in items), max(c[d] for c in items) + 1) for d in (0, 1)
        )
    else:
        assert refs.extents() == ((0, 0), (0, 0))
    ids = {ref.chunk_id for ref in items.values() if isinstance(ref, NativeRef)}
    assert [row.tobytes() for row in refs.native_ids()] == sorted(ids)
    virtual = [items[c] for c in sorted(items) if isinstance(items[c], VirtualRef)]
    assert refs.virtual_locations() == [ref.location for ref in virtual if isinstance(ref, VirtualRef)]


@pytest.mark.parametrize(
    "coords",
    [
        np.indices((4, 5, 6)).reshape(3, -1).T,
        np.indices((4, 5, 6)).reshape(3, -1).T[::3] + 7,
        np.array([[0, 0, 0], [2**32 - 1, 2**32 - 1, 2**32 - 1]]),
        np.array([[0, 5, 0], [0, 2**31, 9], [1000, 0, 1]]),
    ],
    ids=["dense", "half full", "huge box", "sparse"],
)
def test_every_kind_of_index_finds_the_rows(coords: Any) -> None:
    """Dense, nearly dense, sparse and enormous grids all find what is there and nothing else."""
    rows = len(coords)
    refs = ChunkRefs.native(coords, np.zeros((rows, 12), np.uint8), np.arange(rows), np.ones(rows))
    listed = [tuple(coord) for coord in coords.tolist()]
    for row, coord in enumerate(listed):
        assert refs.find(coord) == row
    for coord in ((0, 0, 1), (3, 4, 99), (1, 1, 1), (2**32, 0, 0), (-1, 0, 0), (5,), (1, 2, 3, 4)):
        if coord not in listed:
            assert refs.find(coord) == -1


def test_native_columns_are_sorted_and_the_first_of_equals_stays() -> None:
    """Columns may come in any order; the caller's arrays are neither changed nor kept."""
    coords = np.array([[3], [1], [3], [2]], dtype=np.uint32)
    ids = np.arange(48, dtype=np.uint8).reshape(4, 12)
    refs = ChunkRefs.native(coords, ids, [10, 11, 12, 13], [1, 1, 1, 1])
    coords[:] = 0
    ids[:] = 0
    assert refs.coords.tolist() == [[1], [2], [3]]
    assert refs.offset.tolist() == [11, 13, 10]
    assert refs.get((3,)) == NativeRef(bytes(range(12)), 10, 1)


def test_columns_cannot_be_written_to() -> None:
    """The columns are read-only: refs are shared by caches and sessions."""
    refs = ChunkRefs.from_items(1, {(1,): NativeRef(bytes(12), 0, 1)})
    for column in (refs.coords, refs.kind, refs.offset, refs.length, refs.chunk_ids):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1


@pytest.mark.parametrize(
    "items",
    [
        {(1, 2): InlineRef(b"x")},
        {(-1,): InlineRef(b"x")},
        {(2**32,): InlineRef(b"x")},
        {(2**70,): InlineRef(b"x")},
        {(1,): NativeRef(b"short", 0, 1)},
        {(1,): NativeRef(bytes(12), -1, 1)},
        {(1,): NativeRef(bytes(12), 2**63, 1)},
        {(1,): VirtualRef("s3://b/k", 0, 1, last_modified=-5)},
        {(1,): VirtualRef("s3://b/k", 0, 1, last_modified=2**32)},
    ],
)
def test_impossible_refs_are_refused(items: Items) -> None:
    """Coordinates, ids, ranges and times that the format cannot hold are InvalidInputError."""
    with pytest.raises(InvalidInputError):
        ChunkRefs.from_items(1, items)


def test_parts_must_have_one_number_of_dimensions() -> None:
    """Refs of arrays with different numbers of dimensions cannot be joined."""
    with pytest.raises(InvalidInputError):
        ChunkRefs.concat([ChunkRefs.from_items(n, {(1,) * n: NativeRef(bytes(12), 0, 1)}) for n in (1, 2)])


def test_nothing_has_any_number_of_dimensions() -> None:
    """An empty list from a file does not know its number of dimensions, and joins with any other."""
    item: Items = {(1, 2): InlineRef(b"x")}
    empty = ChunkRefs.empty(0)
    assert empty == ChunkRefs.empty(2)
    check(empty.updated(item), item)
    check(ChunkRefs.concat([empty, ChunkRefs.from_items(2, item)]), item)


def test_equality_is_about_content() -> None:
    """Refs are equal when they say the same, wherever their bytes lie, and different otherwise."""
    items: Items = {(0,): InlineRef(b"abc"), (1,): VirtualRef("s3://b/k", 1, 2, "e", 3)}
    refs = ChunkRefs.from_items(1, items)
    assert refs == ChunkRefs.from_items(1, dict(reversed(items.items())))
    assert refs == ChunkRefs.empty(1).updated(items)
    assert refs != ChunkRefs.from_items(1, items | {(0,): InlineRef(b"abd")})
    assert refs != ChunkRefs.from_items(1, items | {(1,): VirtualRef("s3://b/k", 1, 2, "e", 4)})
    assert refs != ChunkRefs.empty(1)
    assert refs != items


def test_refs_pickle() -> None:
    """Sessions that travel to other processes take their refs along."""
    refs = ChunkRefs.from_items(1, {(0,): InlineRef(b"abc"), (99,): VirtualRef("s3://b/k", 1, 2, "e", 3)})
    assert pickle.loads(pickle.dumps(refs)) == refs
    assert refs.find((99,)) == 1
    assert pickle.loads(pickle.dumps(refs)).find((99,)) == 1


def test_sources_keep_only_what_is_used() -> None:
    """Joining many parts copies what the refs use out of their buffers, so that those can be freed."""
    big = [ChunkRefs.from_items(1, {(index,): InlineRef(b"x" * 10)}) for index in range(40)]
    joined = ChunkRefs.concat(big)
    assert len(joined.sources) == 1
    assert isinstance(joined.sources[0], Source)
    assert all(joined.get((index,)) == InlineRef(b"x" * 10) for index in range(40))
