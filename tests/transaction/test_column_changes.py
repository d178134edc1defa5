"""Changes kept as columns are what a dictionary of single changes would be, in everything that uses them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt
from icechunk_core.format._payloads import PAYLOAD
from icechunk_core.format.locations import LocationCompression
from icechunk_core.format.manifest import (
    ChunkRef,
    ChunkRefs,
    InlineRef,
    Manifest,
    NativeRef,
    VirtualRef,
    decode_manifest,
    encode_manifest,
)
from icechunk_core.format.snapshot import ArrayData, ManifestRef, NodeSnapshot, NodeTable
from icechunk_core.transaction.change_set import ChangeSet
from icechunk_core.transaction.column_changes import MANY, MIN_COLUMN, ColumnChanges, RefMapping
from icechunk_core.transaction.log_builder import build_transaction_log
from icechunk_core.transaction.manifests_plan import build_splits, plan_manifests
from icechunk_core.transaction.splitting import SplitGrid

NODE = b"a node.."
SHAPE = (6, 5)
PLACES = ("s3://bucket/one", "s3://bucket/two")
TAGS = [("tag", None)] * 2

cells = st.tuples(st.integers(0, 6), st.integers(0, 5))  # some of them outside the grid
natives = st.builds(NativeRef, st.binary(min_size=12, max_size=12), st.integers(0, 9), st.integers(1, 9))
blocks = st.dictionaries(cells, st.integers(0, 99), max_size=12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("together"), blocks),
        st.tuples(st.just("single"), st.tuples(cells, st.one_of(st.none(), natives))),
        st.tuples(st.just("removed"), cells),
        st.tuples(st.just("copied"), st.none()),
    ),
    max_size=12,
)


def mapping_of(block: dict[tuple[int, ...], int]) -> RefMapping:
    """Refs whose offset is the number given, at one of two places."""
    coords = np.array(sorted(block), dtype=np.uint32).reshape(len(block), 2)
    numbers = np.array([block[tuple(row)] for row in coords.tolist()], dtype=np.int64)
    refs = ChunkRefs.virtual(coords, PLACES, numbers % 2, numbers, np.full(len(block), 7), TAGS)
    return RefMapping(refs, PLACES)


def as_dict(block: dict[tuple[int, ...], int]) -> dict[tuple[int, ...], ChunkRef | None]:
    return {c: VirtualRef(PLACES[number % 2], number, 7, "tag") for c, number in block.items()}


def played(program: list[Any]) -> tuple[ColumnChanges, dict[tuple[int, ...], ChunkRef | None]]:
    """The same steps on columns and on a dictionary."""
    columns, plain = ColumnChanges({}), dict[tuple[int, ...], ChunkRef | None]()
    for name, argument in program:
        if name == "together":
            columns.update(mapping_of(argument))
            plain.update(as_dict(argument))
        elif name == "single":
            columns[argument[0]] = plain[argument[0]] = argument[1]
        elif name == "removed":
            assert columns.pop(argument, "none") == plain.pop(argument, "none")
        else:
            before, columns = columns, columns.copy()
            before[(0, 0)] = None  # not seen by the copy
    return columns, plain


@given(steps)
@settings(max_examples=80, deadline=None)
def test_columns_are_a_dictionary(program: list[Any]) -> None:
    """Lookup, length, iteration and coordinates agree after any steps."""
    columns, plain = played(program)
    assert dict(columns) == plain
    assert len(columns) == len(plain)
    assert sorted(map(tuple, columns.touched().tolist())) == sorted(plain)
    assert all(coords in columns for coords in plain)
    assert (99, 99) not in columns
    with pytest.raises(KeyError):
        columns[(99, 99)]


@given(steps, steps)
@settings(max_examples=40, deadline=None)
def test_updating_with_columns(first: list[Any], second: list[Any]) -> None:
    """Merging columns into columns is updating a dictionary with another."""
    (columns, plain), (others, more) = played(first), played(second)
    columns.update(others)
    assert dict(columns) == {**plain, **more}


def changes_with(refs: Any) -> ChangeSet:
    changes = ChangeSet()
    changes.chunks[NODE] = refs
    return changes


@given(steps, st.sampled_from([(6, 5), (2, 5), (4, 2), (1, 1)]), blocks)
@settings(max_examples=80, deadline=None)
def test_commits_of_columns(program: list[Any], sizes: tuple[int, int], stored: dict[Any, int]) -> None:
    """The manifests and the log that a commit makes of columns are those it makes of a dictionary."""
    columns, plain = played(program)
    old = ChunkRefs.from_items(2, {c: ref for c, ref in as_dict(stored).items() if ref is not None})
    manifests = (ManifestRef(b"m" * 12, old.extents()),) if stored else ()
    base = NodeTable.from_nodes([NodeSnapshot(NODE, "/a", b"{}", ArrayData(SHAPE, SHAPE, None, manifests))])
    results = []
    for refs in (columns, plain):
        changes = changes_with(refs)
        (plan,) = plan_manifests(changes, base, lambda path, array: SplitGrid(SHAPE, sizes))
        built = build_splits(plan, dict.fromkeys(plan.fetch, old))
        order = sorted(built.new, key=lambda part: part.coords.tolist())
        log = build_transaction_log(changes, b"s" * 12).updated_chunks[NODE].tolist()
        results.append((plan.kept, [dict(part.items()) for part in order], log))
        assert plan_manifests(changes, base, lambda path, array: SplitGrid(SHAPE, sizes)) == [plan]
    assert results[0] == results[1]


@given(steps)
@settings(max_examples=30, deadline=None)
def test_columns_travel(program: list[Any]) -> None:
    """Copies and the bytes of a change set have the same changes."""
    columns, plain = played(program)
    changes = changes_with(columns)
    assert dict(changes.copy().chunks[NODE]) == plain
    assert dict(ChangeSet.from_bytes(changes.to_bytes()).chunks[NODE]) == plain


def test_many_refs_are_kept_as_columns() -> None:
    """Many refs that are set together make no object each; few are like any others."""
    block: dict[tuple[int, ...], int] = {(0, number): number for number in range(MIN_COLUMN)}
    changes = ChangeSet()
    changes.set_chunks(NODE, mapping_of({(0, 1): 1}))
    assert isinstance(changes.chunks[NODE], dict)
    changes.set_chunks(NODE, mapping_of(block))
    kept = changes.chunks[NODE]
    assert isinstance(kept, ColumnChanges)
    assert not kept.single
    assert changes.chunk(NODE, (0, 5)) == VirtualRef(PLACES[1], 5, 7, "tag")


def test_refs_to_some_places_are_left_out() -> None:
    """The coordinates that point to a refused place come back in order; the rest stays."""
    kept, left_out = mapping_of({(0, n): n for n in range(5)}).partitioned({PLACES[1]})
    assert left_out == [(0, 1), (0, 3)]
    assert dict(kept) == as_dict({(0, n): n for n in (0, 2, 4)})


def _natives(first: int, count: int) -> dict[tuple[int, ...], ChunkRef | None]:
    return {(n // 7, n % 7): NativeRef(n.to_bytes(12, "big"), n, n + 1) for n in range(first, first + count)}


def test_many_native_refs_travel_as_columns() -> None:
    """Hundreds of refs and deletions arrive as columns, and equal changes have equal bytes on both sides."""
    plain = {**_natives(0, MIN_COLUMN + 40), (0, 3): None, (900, 1): None}
    changes = changes_with(plain)
    back = ChangeSet.from_bytes(changes.to_bytes())
    kept = back.chunks[NODE]
    assert isinstance(kept, ColumnChanges)
    assert dict(kept) == plain
    assert set(kept.single) == {(0, 3), (900, 1)}
    assert back.to_bytes() == changes.to_bytes() == changes_with(kept).to_bytes()


@pytest.mark.parametrize("other", [VirtualRef("s3://b/k", 0, 1), InlineRef(b"x")])
def test_other_refs_among_many_native_ones_travel(other: ChunkRef) -> None:
    """Refs of several kinds come back as they were."""
    plain = {**_natives(0, MIN_COLUMN + 1), (5, 5): other}
    assert dict(ChangeSet.from_bytes(changes_with(plain).to_bytes()).chunks[NODE]) == plain
    mixed = ColumnChanges({})
    mixed.add(ChunkRefs.from_items(2, {c: ref for c, ref in plain.items() if ref is not None}))
    assert dict(ChangeSet.from_bytes(changes_with(mixed).to_bytes()).chunks[NODE]) == plain


def damaged(changes: Any, position: int, change: Any) -> bytes:
    """The bytes of changes with one of their columns replaced."""
    tree = msgpack.unpackb(changes_with(changes).to_bytes())
    columns = tree["chunks"][0][1]
    columns[position] = change(columns[position])
    return bytes(msgpack.packb(tree))


def _mixed() -> dict[tuple[int, ...], ChunkRef | None]:
    return {
        **_natives(0, MIN_COLUMN),
        (900, 0): InlineRef(b"abc"),
        (900, 1): VirtualRef("s3://b/k", 3, 4, "tag", 7),
        (900, 2): None,
    }


def test_columns_with_a_chunk_twice_are_refused() -> None:
    """Bytes that list a chunk twice are no change set."""
    with pytest.raises(Corrupt, match="listed twice"):
        ChangeSet.from_bytes(damaged(_mixed(), 2, lambda coords: coords[:8] + coords[:8] + coords[16:]))


def _with_payload(name: str, value: int) -> Any:
    def change(payloads: bytes) -> bytes:
        table = np.frombuffer(payloads, PAYLOAD).copy()
        table[name][-1] = value
        return table.tobytes()

    return change


@pytest.mark.parametrize(
    ("position", "change"),
    [
        (0, lambda _: 1 << 41),
        (0, lambda rows: rows - 1),
        (1, lambda _: 3),
        (2, lambda coords: coords[:-1]),
        (3, lambda kinds: b"\x09" + kinds[1:]),
        (4, lambda offsets: b"\xff" * 8 + offsets[8:]),
        (5, lambda lengths: (2**63).to_bytes(8, "little") + lengths[8:]),
        (6, lambda ids: ids + b"x"),
        (7, lambda _: b""),
        (7, _with_payload("source", 9)),
        (7, _with_payload("source", -1)),
        (7, _with_payload("start", -1)),
        (7, _with_payload("start", 1 << 60)),
        (7, _with_payload("size", 99)),
        (7, _with_payload("etag_start", 99)),
        (7, _with_payload("etag_source", 3)),
        (7, _with_payload("compressed", 1)),
        (8, lambda _: []),
        (8, lambda buffers: [buffers[0][:-1]]),
        (8, lambda _: [3]),
        (8, lambda _: b"abc"),
    ],
)
def test_columns_that_point_elsewhere_are_refused(position: int, change: Any) -> None:
    """Numbers, ranges and buffers that do not fit each other are `Corrupt` before any ref is looked at."""
    with pytest.raises(Corrupt):
        ChangeSet.from_bytes(damaged(_mixed(), position, change))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_columns_never_crash(data: st.DataObject) -> None:
    """Any byte changed gives `Corrupt`, at once or when that ref is looked at, or other changes."""
    raw = bytearray(changes_with(_mixed()).to_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Corrupt):
        dict(ChangeSet.from_bytes(bytes(raw)).chunk_changes(NODE))


def test_compressed_locations_are_written_out() -> None:
    """Refs whose locations a manifest keeps compressed travel without that manifest's dictionary."""
    refs = ChunkRefs.virtual(
        np.arange(300).reshape(300, 1), [f"s3://b/{n:04}" for n in range(300)], np.arange(300),
        np.zeros(300), np.ones(300),
    )  # fmt: skip
    compression = LocationCompression(min_num_chunks=1)
    manifest = decode_manifest(
        encode_manifest(Manifest(bytes(12), {NODE: refs}), spec_version=2, location_compression=compression),
        name="m",
    )
    stored = manifest.arrays[NODE]
    assert stored.payloads is not None
    assert stored.payloads["compressed"].any()
    changes = ColumnChanges({})
    changes.add(stored)
    assert dict(ChangeSet.from_bytes(changes_with(changes).to_bytes()).chunks[NODE]) == dict(refs.items())


def test_refs_that_are_set_one_by_one_become_columns() -> None:
    """Very many single refs make no object each, the last one of each chunk counts, and deletions stay."""
    changes, plain = ChangeSet(), dict[tuple[int, ...], ChunkRef | None]()
    for number in range(3 * MANY):
        coords = (number * 7 % (2 * MANY), 0)
        ref = None if number % 5 == 0 else NativeRef(number.to_bytes(12, "big"), number, 1)
        changes.set_chunk(NODE, coords, ref)
        plain[coords] = ref
    kept = changes.chunk_changes(NODE)
    assert isinstance(kept, ColumnChanges)
    assert sum(ref is not None for ref in kept.single.values()) <= MANY
    assert dict(kept) == plain
    assert len(kept) == len(plain)
    changes.compact()
    assert dict(kept) == plain
    assert kept.touched().tolist() == sorted(map(list, plain))


def test_a_ref_that_no_manifest_can_hold_waits_for_the_commit() -> None:
    """Where one of very many refs cannot become a column, all stay as they are, and it can be replaced."""
    changes = ChangeSet()
    changes.set_chunk(NODE, (0,), NativeRef(bytes(12), 1 << 63, 1))
    for number in range(1, MANY + 10):
        changes.set_chunk(NODE, (number,), NativeRef(bytes(12), number, 1))
    assert changes.chunk(NODE, (0,)) == NativeRef(bytes(12), 1 << 63, 1)
    changes.set_chunk(NODE, (0,), NativeRef(bytes(12), 5, 1))
    for number in range(MANY + 10, 2 * MANY + 30):
        changes.set_chunk(NODE, (number,), NativeRef(bytes(12), number, 1))
    assert changes.chunk(NODE, (0,)) == NativeRef(bytes(12), 5, 1)
    kept = changes.chunk_changes(NODE)
    assert isinstance(kept, ColumnChanges)
    assert len(kept.single) < MANY


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 900), st.booleans()), max_size=60))
@settings(max_examples=30, deadline=None)
def test_merging_many_writers(writers: list[tuple[int, int, bool]]) -> None:
    """Whoever merges later wins, however many refs there are, and deletions are kept."""
    ours, plain = ChangeSet(), {}
    for number, (first, count, deletes) in enumerate(writers):
        refs = {c: NativeRef(number.to_bytes(12, "big"), 0, 1) for c in _natives(first, count)}
        theirs = dict.fromkeys(refs) if deletes else refs
        ours.merge(changes_with(theirs))
        plain.update(theirs)
    assert dict(ours.chunk_changes(NODE)) == plain


def test_many_small_writers_become_columns() -> None:
    """A hundred thousand chunks of writers with few chunks each make no object each."""
    ours = ChangeSet()
    for first in range(0, 100_000, 100):
        ours.merge(changes_with(_natives(first, 100)))
    kept = ours.chunks[NODE]
    assert isinstance(kept, ColumnChanges)
    assert len(kept.single) <= MANY
    assert len(kept) == 100_000
