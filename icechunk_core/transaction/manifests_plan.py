"""Which manifests a commit writes, keeps and has to read first (FORMAT.md, section 15).

Two steps around the caller's fetching: `plan_manifests` says per changed array which
old manifests are needed, `build_splits` turns them and the session's refs into the
columns of the new manifests. Arrays that are not in the plan keep their manifests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from attrs import field, frozen

from icechunk_core.errors import ErrorKind, SessionStateError
from icechunk_core.format.manifest import ChunkRef, ChunkRefs
from icechunk_core.format.snapshot import ArrayData, ManifestRef, NodeSnapshot, NodeTable
from icechunk_core.transaction.change_set import ChangeSet, Coords
from icechunk_core.transaction.column_changes import ColumnChanges, ColumnPart
from icechunk_core.transaction.log_builder import coords_table
from icechunk_core.transaction.splitting import (
    MAX_REFS,
    Extents,
    SplitGrid,
    bounded_grid,
    contains,
    intersection,
    overlapping_before,
    volume,
)

__all__ = ["ArrayPlan", "ArrayResult", "GridOf", "NewManifest", "Source", "build_splits", "plan_manifests"]


BoxChanges: TypeAlias = Mapping[Coords, ChunkRef | None] | ColumnPart
"""Changes that fall into one box."""


@frozen
class Source:
    """Refs of an old manifest that go into a new one: those in ``extents`` and in none of ``hidden_by``."""

    manifest_id: bytes
    extents: Extents
    hidden_by: tuple[Extents, ...] = ()


@frozen
class NewManifest:
    """A manifest to be written: what the sources hold, with the changes on top."""

    sources: tuple[Source, ...]
    changes: BoxChanges = field(factory=dict)


@frozen
class ArrayPlan:
    """What becomes of one array's manifests.

    Attributes
    ----------
    kept
        Manifests that stay as they are.
    new
        Manifests to be written, unless they turn out empty.
    """

    node_id: bytes
    path: str
    ndim: int
    kept: tuple[ManifestRef, ...]
    new: tuple[NewManifest, ...]

    @property
    def fetch(self) -> tuple[bytes, ...]:
        """Ids of the old manifests that `build_splits` needs, each once."""
        return tuple(dict.fromkeys(source.manifest_id for part in self.new for source in part.sources))


@frozen
class ArrayResult:
    """The manifests of one array after the commit: kept ones, and the columns of new ones (none empty)."""

    kept: tuple[ManifestRef, ...]
    new: list[ChunkRefs]


GridOf: TypeAlias = Callable[[str, ArrayData], SplitGrid]
"""How an array is cut into manifests, from its path and dimensions (see `split_rules`)."""


def uncut_grid(path: str, array: ArrayData) -> SplitGrid:
    """One manifest per array, whatever its path: the default."""
    return SplitGrid.uncut(array.num_chunks)


# --- planning ----------------------------------------------------------------------


def plan_manifests(
    changes: ChangeSet,
    base: NodeTable,
    grid_of: GridOf = uncut_grid,
    *,
    rewrite: bool | AbstractSet[bytes] = False,
    refs_of: Callable[[bytes], int] | None = None,
) -> list[ArrayPlan]:
    """Plans for all arrays that were made or whose metadata or chunks changed, in the order of their ids.

    Parameters
    ----------
    grid_of
        How each array is cut into manifests.
    rewrite
        Plan every array, or those with these ids, as if all of it had changed.
    refs_of
        How many refs an old manifest has. With it, arrays that the grid leaves in one piece are split where
        that piece would get too large (`bounded_grid`).

    Raises
    ------
    SessionStateError
        If chunks of an array were changed that neither the base nor the session has.
    """
    if isinstance(rewrite, bool):
        chosen: AbstractSet[bytes] = frozenset()
        arrays = {n.id: n for n in (changes.nodes("/", base) if rewrite else _changed_arrays(changes, base))}
    else:
        chosen = rewrite
        arrays = {node.id: node for node in _changed_arrays(changes, base)}
        arrays |= {node.id: node for node in changes.nodes("/", base) if node.id in rewrite}
    return [
        _plan_array(
            node,
            node.array,
            changes.chunk_changes(node.id),
            _grid(node, node.array, changes, grid_of, refs_of),
            rewrite is True or node.id in chosen,
        )
        for _, node in sorted(arrays.items())
        if node.array is not None
    ]


def _grid(
    node: NodeSnapshot,
    array: ArrayData,
    changes: ChangeSet,
    grid_of: GridOf,
    refs_of: Callable[[bytes], int] | None,
) -> SplitGrid:
    grid = grid_of(node.path, array)
    if refs_of is None or not grid.is_single:
        return grid
    own = changes.chunk_changes(node.id)
    stored = [(_full_extents(ref, array), refs_of(ref.id)) for ref in array.manifests]
    refs = len(own) + sum(count for _, count in stored)
    if refs <= MAX_REFS or not own:
        return bounded_grid(array.num_chunks, refs, None, stored)
    ndim = len(array.num_chunks)
    coords = own.columns.coords if isinstance(own, ColumnChanges) else coords_table(own, ndim)
    if len(coords) > MAX_REFS:
        return bounded_grid(array.num_chunks, refs, coords, stored)
    if len(coords):
        ends = zip(coords.min(axis=0).tolist(), coords.max(axis=0).tolist(), strict=True)
        stored.append((tuple((low, high + 1) for low, high in ends), len(own)))
    return bounded_grid(array.num_chunks, refs, None, stored)


def _changed_arrays(changes: ChangeSet, base: NodeTable) -> Iterator[NodeSnapshot]:
    for path in (*changes.created.values(), *changes.updated.values()):
        node = changes.node(path, base)
        assert node is not None
        yield node
    for node_id in changes.chunks.keys() - changes.created.keys() - changes.updated.keys():
        node = base.by_id(node_id)
        if node is None or node.array is None:
            raise SessionStateError(
                "the session changed chunks of an array that does not exist in the snapshot it is based on; "
                "were its changes merged from a session on another snapshot?",
                kind=ErrorKind.MERGE_FAILED,
            )
        yield node


def _plan_array(
    node: NodeSnapshot,
    array: ArrayData,
    changes: Mapping[Coords, ChunkRef | None],
    grid: SplitGrid,
    rewrite: bool,
) -> ArrayPlan:
    changed = _changes_by_box(changes, grid)
    old = [(ref, _full_extents(ref, array)) for ref in array.manifests]
    # A coordinate is looked up in the first manifest whose extents contain it. Should extents
    # overlap, keeping some manifests and rewriting others could change which one is first.
    earlier = overlapping_before([extents for _, extents in old])
    rewrite = rewrite or any(earlier)
    kept: list[ManifestRef] = []
    sources: dict[tuple[int, ...], list[Source]] = {box: [] for box in changed}
    alone: list[NewManifest] = []
    for position, (ref, extents) in enumerate(old):
        hidden_by = tuple(old[index][1] for index in earlier[position])
        for box in grid.boxes_overlapping(extents):
            inside = intersection(extents, grid.extents(box))
            assert inside is not None
            if box in changed or rewrite:
                if not _all_replaced(inside, changed.get(box)):
                    sources.setdefault(box, []).append(Source(ref.id, inside, hidden_by))
            elif inside == extents:
                kept.append(ref)
            else:
                alone.append(NewManifest((Source(ref.id, inside),)))
    new = [
        NewManifest(tuple(found), changed[box][0] if box in changed else {}) for box, found in sources.items()
    ]
    return ArrayPlan(node.id, node.path, len(array.shape), tuple(kept), (*new, *alone))


_BoxChanges = tuple[BoxChanges, npt.NDArray[np.uint32]]


def _changes_by_box(
    changes: Mapping[Coords, ChunkRef | None], grid: SplitGrid
) -> dict[tuple[int, ...], _BoxChanges]:
    """The changes inside the grid, grouped by the box they fall into; those outside are dropped."""
    if isinstance(changes, ColumnChanges):
        return _columns_by_box(changes, grid)
    if not changes:
        return {}
    coords = coords_table(changes, len(grid.num_chunks))
    inside = contains(grid.whole(), coords)
    if inside.all() and grid.is_single:
        # A copy: plans are compared with those of an earlier try, which must not change under the caller.
        return {(0,) * len(grid.num_chunks): (dict(changes), coords)}
    boxes = map(tuple, grid.boxes_of(coords).tolist())
    grouped: dict[tuple[int, ...], dict[Coords, ChunkRef | None]] = {}
    for valid, box, (coord, ref) in zip(inside.tolist(), boxes, changes.items(), strict=True):
        if valid:
            grouped.setdefault(box, {})[coord] = ref
    return {box: (found, coords_table(found, len(grid.num_chunks))) for box, found in grouped.items()}


def _columns_by_box(changes: ColumnChanges, grid: SplitGrid) -> dict[tuple[int, ...], _BoxChanges]:
    """The same for columns, of which each box gets some rows."""
    coords = changes.columns.coords
    rows_of = {} if not len(coords) else _rows_by_box(coords, grid)
    single = _changes_by_box(changes.single, grid)
    found: dict[tuple[int, ...], _BoxChanges] = {}
    for box in rows_of.keys() | single.keys():
        on_top = single[box][0] if box in single else {}
        assert isinstance(on_top, Mapping)
        part = changes.part(rows_of.get(box, slice(0)), on_top)
        found[box] = (part, part.touched())
    return {box: found[box] for box in sorted(found)}


def _rows_by_box(
    coords: npt.NDArray[np.uint32], grid: SplitGrid
) -> dict[tuple[int, ...], slice | npt.NDArray[np.intp]]:
    """Rows of sorted coordinates by box; slices where they are neighbours."""
    inside = contains(grid.whole(), coords)
    numbers = grid.box_numbers(coords)
    if not inside.all():
        numbers = np.where(inside, numbers, -1)
    order = None if (numbers[1:] >= numbers[:-1]).all() else np.argsort(numbers, kind="stable")
    ordered = numbers if order is None else numbers[order]
    edges = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist(), len(ordered)]
    found: dict[tuple[int, ...], slice | npt.NDArray[np.intp]] = {}
    for start, stop in pairwise(edges):
        if ordered[start] < 0:
            continue
        first = start if order is None else int(order[start])
        box = tuple(grid.boxes_of(coords[first : first + 1])[0].tolist())
        found[box] = slice(start, stop) if order is None else order[start:stop]
    return found


def _full_extents(ref: ManifestRef, array: ArrayData) -> Extents:
    """Extents with one range per dimension: missing ones match every index (FORMAT.md, section 9)."""
    ndim = len(array.num_chunks)
    given = tuple(ref.extents[:ndim])
    return given + tuple((0, max(count, 1)) for count in array.num_chunks[len(given) :])


def _all_replaced(extents: Extents, changed: _BoxChanges | None) -> bool:
    """Whether the session replaces every chunk that lies in these extents, so that old refs do not matter."""
    if changed is None or len(changed[0]) < volume(extents):
        return False
    return int(contains(extents, changed[1]).sum()) == volume(extents)


# --- building ----------------------------------------------------------------------


def build_splits(plan: ArrayPlan, old_refs: Mapping[bytes, ChunkRefs]) -> ArrayResult:
    """The new manifests' columns.

    Parameters
    ----------
    old_refs
        For each manifest of ``plan.fetch``, by id, the refs of this array in it (empty if it has none).
    """
    built = (_build(part, plan.ndim, old_refs) for part in plan.new)
    return ArrayResult(plan.kept, [refs for refs in built if len(refs)])


def _build(part: NewManifest, ndim: int, old_refs: Mapping[bytes, ChunkRefs]) -> ChunkRefs:
    old = [_taken(source, old_refs[source.manifest_id]) for source in part.sources]
    if isinstance(part.changes, ColumnPart):
        added = part.changes.refs()
        return ChunkRefs.concat(old).replaced(added, part.changes.touched()) if old else added
    if not old:
        return ChunkRefs.from_items(ndim, {key: ref for key, ref in part.changes.items() if ref is not None})
    refs = old[0] if len(old) == 1 else ChunkRefs.concat(old)
    return refs.updated(part.changes) if part.changes else refs


def _taken(source: Source, refs: ChunkRefs) -> ChunkRefs:
    refs = refs.restricted(source.extents)
    if not source.hidden_by:
        return refs
    hidden = np.zeros(len(refs), dtype=np.bool_)
    for extents in source.hidden_by:
        hidden |= contains(extents, refs.coords)
    return refs.updated({tuple(coord): None for coord in refs.coords[hidden].tolist()})
