"""Which manifests a commit writes, keeps and reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk_core.errors import ErrorKind, SessionStateError
from icechunk_core.format.configuration import ManifestSplitCondition, ManifestSplitDimCondition
from icechunk_core.format.manifest import ChunkRef, ChunkRefs
from icechunk_core.format.snapshot import ArrayData, ManifestRef, NodeTable
from icechunk_core.transaction.change_set import ChangeSet
from icechunk_core.transaction.column_changes import ColumnChanges
from icechunk_core.transaction.manifests_plan import (
    ArrayPlan,
    ArrayResult,
    GridOf,
    build_splits,
    plan_manifests,
    uncut_grid,
)
from icechunk_core.transaction.split_rules import split_grids
from icechunk_core.transaction.splitting import SplitGrid, bounded_grid
from tests.transaction.model import (
    applied,
    array,
    array_json,
    by_coord,
    group,
    inline,
    node_id,
    object_id,
    put,
)

Coord = tuple[int, ...]
Refs = dict[Coord, ChunkRef]
Store = dict[bytes, ChunkRefs]


def cut(*sizes: int) -> GridOf:
    """Boxes of that size, for every array."""
    return lambda path, array: SplitGrid(array.num_chunks, sizes)


def whole_box(shape: Coord) -> list[Coord]:
    return list(product(*map(range, shape)))


def stored(ndim: int, *parts: Mapping[Coord, ChunkRef]) -> tuple[tuple[ManifestRef, ...], Store]:
    """Manifests with tight extents, and their content by id."""
    refs: list[ManifestRef] = []
    store: Store = {}
    for number, part in enumerate(parts, start=1):
        columns = ChunkRefs.from_items(ndim, part)
        refs.append(ManifestRef(object_id(number), columns.extents()))
        store[object_id(number)] = columns
    return tuple(refs), store


def only(plans: list[ArrayPlan]) -> ArrayPlan:
    (plan,) = plans
    return plan


def content(result: ArrayResult, store: Store) -> Refs:
    """All refs of the array after the commit; no coordinate may be in two manifests."""
    parts = [by_coord(store[ref.id]) for ref in result.kept] + [by_coord(refs) for refs in result.new]
    merged = {coord: ref for part in parts for coord, ref in part.items()}
    assert len(merged) == sum(map(len, parts))
    return merged


def built(plan: ArrayPlan, store: Store) -> ArrayResult:
    """Build, with exactly the manifests that were asked for."""
    return build_splits(plan, {manifest_id: store[manifest_id] for manifest_id in plan.fetch})


def test_untouched_arrays_are_not_planned() -> None:
    """Arrays without changes keep their manifests and nothing is fetched for them."""
    manifests, _ = stored(1, {(0,): inline("old")})
    base = NodeTable.from_nodes([array(1, "/a", manifests=manifests), array(2, "/b"), group(3, "/")])
    changes = ChangeSet()
    changes.set_chunk(node_id(2), (0,), inline("x"))
    assert [plan.path for plan in plan_manifests(changes, base)] == ["/b"]


def test_new_array() -> None:
    """The refs of a new array go into one manifest; chunks outside its grid are dropped."""
    changes, base = ChangeSet(), NodeTable.from_nodes([])
    new = put(changes, base, "/n", array_json((2, 2)))
    for coord in [(1, 1), (0, 1), (2, 0), (0, 5)]:
        changes.set_chunk(new, coord, inline(str(coord)))
    changes.set_chunk(new, (0, 0), None)
    plan = only(plan_manifests(changes, base))
    assert plan.fetch == ()
    (refs,) = built(plan, {}).new
    assert by_coord(refs) == {(0, 1): inline("(0, 1)"), (1, 1): inline("(1, 1)")}


def test_new_array_without_chunks_has_no_manifest() -> None:
    """No refs, no manifest."""
    changes, base = ChangeSet(), NodeTable.from_nodes([])
    put(changes, base, "/n", array_json((2,)))
    assert built(only(plan_manifests(changes, base)), {}).new == []


def test_zero_dimensions() -> None:
    """A 0-d array has one chunk with an empty coordinate."""
    changes, base = ChangeSet(), NodeTable.from_nodes([])
    new = put(changes, base, "/n", array_json(()))
    changes.set_chunk(new, (), inline("x"))
    (refs,) = built(only(plan_manifests(changes, base)), {}).new
    assert by_coord(refs) == {(): inline("x")}


def test_metadata_update_keeps_manifests() -> None:
    """New attributes alone fetch and write nothing."""
    manifests, store = stored(1, {(0,): inline("a")}, {(2,): inline("b")})
    base = NodeTable.from_nodes([array(1, "/a", manifests=manifests)])
    changes = ChangeSet()
    put(changes, base, "/a", array_json((4,), note="x"))
    plan = only(plan_manifests(changes, base))
    assert (plan.fetch, plan.kept) == ((), manifests)
    assert built(plan, store) == ArrayResult(manifests, [])


def test_shrinking_drops_and_cuts() -> None:
    """Manifests outside the new grid go, those at its edge are cut, those inside stay untouched."""
    manifests, store = stored(
        1, {(0,): inline("a")}, {(1,): inline("b"), (2,): inline("c")}, {(3,): inline("d")}
    )
    base = NodeTable.from_nodes([array(1, "/a", manifests=manifests)])
    changes = ChangeSet()
    put(changes, base, "/a", array_json((2,)))
    plan = only(plan_manifests(changes, base))
    assert plan.fetch == (manifests[1].id,)
    result = built(plan, store)
    assert result.kept == manifests[:1]
    assert content(result, store) == {(0,): inline("a"), (1,): inline("b")}


def test_fully_overwritten_manifests_are_not_fetched() -> None:
    """Old refs that are all replaced need not be read."""
    manifests, store = stored(2, {coord: inline("old") for coord in whole_box((2, 2))})
    base = NodeTable.from_nodes([array(1, "/a", (3, 3), manifests)])
    changes = ChangeSet()
    for coord in whole_box((2, 2)):
        changes.set_chunk(node_id(1), coord, inline("new") if any(coord) else None)
    plan = only(plan_manifests(changes, base))
    assert plan.fetch == ()
    assert set(content(built(plan, store), store)) == {(0, 1), (1, 0), (1, 1)}


def test_splits_touched_and_untouched() -> None:
    """Only the manifests of splits with changes are rewritten."""
    manifests, store = stored(1, {(0,): inline("a"), (1,): inline("b")}, {(2,): inline("c")})
    base = NodeTable.from_nodes([array(1, "/a", (6,), manifests)])
    changes = ChangeSet()
    changes.set_chunk(node_id(1), (1,), inline("B"))
    changes.set_chunk(node_id(1), (5,), inline("F"))
    plan = only(plan_manifests(changes, base, cut(2)))
    assert plan.fetch == (manifests[0].id,)
    result = built(plan, store)
    assert result.kept == (manifests[1],)
    assert [by_coord(refs) for refs in result.new] == [
        {(0,): inline("a"), (1,): inline("B")},
        {(5,): inline("F")},
    ]


def test_rewrite_plans_every_array() -> None:
    """Rewriting cuts all arrays anew, changed or not."""
    manifests, store = stored(1, {(n,): inline(str(n)) for n in range(4)})
    base = NodeTable.from_nodes([group(9, "/"), array(1, "/a", (4,), manifests)])
    plan = only(plan_manifests(ChangeSet(), base, cut(2), rewrite=True))
    result = built(plan, store)
    assert result.kept == ()
    assert [refs.extents() for refs in result.new] == [((0, 2),), ((2, 4),)]


def test_rewrite_of_chosen_arrays() -> None:
    """Only those arrays are cut anew; changed ones are planned as always."""
    manifests, _ = stored(1, {(n,): inline(str(n)) for n in range(4)})
    arrays = [array(number, path, (4,), manifests) for number, path in ((1, "/a"), (2, "/b"), (3, "/c"))]
    base = NodeTable.from_nodes([group(9, "/"), *arrays])
    changes = ChangeSet()
    changes.set_chunk(node_id(3), (4,), inline("new"))
    plans = plan_manifests(changes, base, rewrite={node_id(2)})
    assert [(plan.node_id, plan.kept) for plan in plans] == [(node_id(2), ()), (node_id(3), manifests)]


def test_overlapping_manifests_keep_their_meaning() -> None:
    """Where extents overlap, only the first manifest that covers a coordinate counts, before and after."""
    first = ChunkRefs.from_items(1, {(0,): inline("first")})
    second = ChunkRefs.from_items(1, {(0,): inline("hidden"), (1,): inline("hidden"), (3,): inline("shown")})
    store = {object_id(1): first, object_id(2): second}
    manifests = (ManifestRef(object_id(1), ((0, 2),)), ManifestRef(object_id(2), ()))
    base = NodeTable.from_nodes([array(1, "/a", (5,), manifests)])
    changes = ChangeSet()
    changes.set_chunk(node_id(1), (4,), inline("new"))
    plan = only(plan_manifests(changes, base))
    expected = {(0,): inline("first"), (3,): inline("shown"), (4,): inline("new")}
    assert content(built(plan, store), store) == expected


def test_overlapping_manifests_keep_their_order() -> None:
    """Cutting the first of two overlapping manifests must not let the second one be asked first."""
    first = ChunkRefs.from_items(1, {(0,): inline("first"), (3,): inline("cut off")})
    second = ChunkRefs.from_items(1, {(0,): inline("hidden")})
    store = {object_id(1): first, object_id(2): second}
    manifests = (ManifestRef(object_id(1), ((0, 4),)), ManifestRef(object_id(2), ((0, 1),)))
    base = NodeTable.from_nodes([array(1, "/a", (4,), manifests)])
    changes = ChangeSet()
    put(changes, base, "/a", array_json((2,)))
    plan = only(plan_manifests(changes, base))
    assert content(built(plan, store), store) == {(0,): inline("first")}


def test_plans_do_not_follow_later_writes() -> None:
    """A plan stays what it was when the session goes on, so that plans of two tries can be compared."""
    changes, base = ChangeSet(), NodeTable.from_nodes([array(1, "/a")])
    changes.set_chunk(node_id(1), (0,), inline("x"))
    before = plan_manifests(changes, base)
    assert before == plan_manifests(changes, base)
    changes.set_chunk(node_id(1), (1,), inline("y"))
    assert before != plan_manifests(changes, base)


def test_chunks_of_an_unknown_array() -> None:
    """Chunks that would be lost are an error, not silence."""
    changes = ChangeSet()
    changes.set_chunk(node_id(8), (0,), inline("x"))
    with pytest.raises(SessionStateError) as raised:
        plan_manifests(changes, NodeTable.from_nodes([group(8, "/")]))
    assert raised.value.kind == ErrorKind.MERGE_FAILED


def test_split_rules() -> None:
    """Each axis takes the first rule that is for the array and for the axis; others are not cut."""
    name, any_array = ManifestSplitCondition.name_matches, ManifestSplitCondition.AnyArray()
    dim = ManifestSplitDimCondition
    grids = split_grids(
        (
            (name("^temp"), ((dim.DimensionName("time"), 10), (dim.Axis(1), 3))),
            (any_array, ((dim.Axis(1), 7), (dim.Axis(2), 5))),
        )
    )
    data = ArrayData((100, 100, 4, 9), (100, 100, 4, 9), ("time", None, "x", "y"), ())
    assert grids("/g/temperature", data).sizes == (10, 3, 4, 9)
    assert grids("/g/wind", data).sizes == (100, 7, 4, 9)
    assert split_grids(())("/g/wind", data) == SplitGrid.uncut(data.num_chunks)


@st.composite
def splits_of(draw: st.DrawFn, shape: Coord) -> list[Refs]:
    """Random refs cut into the manifests of some earlier configuration, the grid maybe larger than now."""
    coords = whole_box(tuple(count + draw(st.integers(0, 2)) for count in shape))
    chosen = draw(st.lists(st.sampled_from(coords), unique=True)) if coords else []
    sizes = [draw(st.integers(1, 4)) for _ in shape]
    parts: dict[Coord, Refs] = {}
    for coord in chosen:
        box = tuple(index // size for index, size in zip(coord, sizes, strict=True))
        parts.setdefault(box, {})[coord] = inline(f"old {coord}")
    return list(parts.values())


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_split_holds_the_same_refs(data: st.DataObject) -> None:
    """Whatever the splits, the refs are those of a dict with the changes applied, inside the grid.

    No new manifest reaches over the edge of its split, none is empty, and kept ones lie inside one split.
    """
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=3)))
    parts = data.draw(splits_of(shape))
    manifests, store = stored(len(shape), *parts)
    base = NodeTable.from_nodes([array(1, "/a", shape, manifests)])
    changes = ChangeSet()
    if data.draw(st.booleans()):
        put(changes, base, "/a", array_json(shape, note="updated"))
    else:
        changes.chunks[node_id(1)] = {}
    for coord in data.draw(st.lists(st.sampled_from(whole_box(tuple(n + 1 for n in shape))))):
        ref = data.draw(st.sampled_from([inline("new"), inline("newer"), None]))
        changes.set_chunk(node_id(1), coord, ref)
    sizes = tuple(data.draw(st.integers(1, 5)) for _ in shape)
    grid_of = data.draw(st.sampled_from([uncut_grid, cut(*sizes)]))
    plan = only(plan_manifests(changes, base, grid_of, rewrite=data.draw(st.booleans())))
    result = built(plan, store)

    old = {coord: ref for part in parts for coord, ref in part.items()}
    expected = applied(old, changes.chunk_changes(node_id(1)))
    inside = set(whole_box(shape))
    assert content(result, store) == {coord: ref for coord, ref in expected.items() if coord in inside}
    grid = grid_of("/a", ArrayData(shape, shape, None, ()))
    for box in [refs.extents() for refs in result.new] + [ref.extents for ref in result.kept]:
        assert len(list(grid.boxes_overlapping(box))) == 1
    assert all(len(refs) for refs in result.new)


@given(
    st.lists(st.integers(1, 3_000), min_size=1, max_size=4),
    st.integers(1, 10**8),
    st.integers(4, 5_000),
)
def test_automatic_splitting_bounds_manifests(counts: list[int], refs: int, limit: int) -> None:
    """Boxes of evenly spread refs hold no more than the limit, unless there would be very many boxes."""
    grid = bounded_grid(tuple(counts), refs, limit=limit)
    total = math.prod(counts)
    per_box = math.prod(grid.sizes) * min(refs, total) / total
    boxes = math.prod(-(-count // size) for count, size in zip(counts, grid.sizes, strict=True))
    assert per_box <= limit or boxes >= 1_000
    assert grid.is_single == (min(refs, total) <= limit)


def test_automatic_splitting_of_crowded_refs() -> None:
    """Refs that are close together in a large grid are split, too."""
    coords = np.stack(np.meshgrid(np.arange(40), np.arange(50)), axis=-1).reshape(-1, 2).astype(np.uint32)
    grid = bounded_grid((4_000, 50), 2_000, coords, limit=500)
    _, counts = np.unique(grid.boxes_of(coords), axis=0, return_counts=True)
    assert counts.max() <= 500
    assert bounded_grid((4_000, 50), 2_000, limit=500).sizes[0] > grid.sizes[0]


def test_boxes_stay_where_an_array_grows() -> None:
    """An array that is appended to keeps its boxes, so that full manifests are not touched again."""
    sizes = {bounded_grid((steps, 1_000), steps * 1_000).sizes for steps in range(300, 5_000, 100)}
    assert sizes == {(128, 1_000)}


def test_deleting_more_chunks_than_a_manifest_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Very many deletions, which are kept like columns, leave what was not deleted."""
    monkeypatch.setattr("icechunk_core.transaction.manifests_plan.MAX_REFS", 3)
    manifests, store = stored(2, {coord: inline("old") for coord in whole_box((3, 3))})
    base = NodeTable.from_nodes([array(1, "/a", (3, 3), manifests)])
    changes = ChangeSet()
    changes.chunks[node_id(1)] = ColumnChanges(dict.fromkeys(whole_box((2, 3))))
    plan = only(plan_manifests(changes, base, refs_of=lambda _: 9))
    assert set(content(built(plan, store), store)) == set(whole_box((3, 3))) - set(whole_box((2, 3)))
