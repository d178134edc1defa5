"""Changes of very many chunks of one array, kept as columns instead of an object per chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from icechunk_core.errors import InvalidInputError
from icechunk_core.format.chunk_refs import ChunkRef, ChunkRefs, VirtualRef, coords_with_keys

__all__ = ["MANY", "MIN_COLUMN", "ColumnChanges", "ColumnPart", "RefMapping", "in_columns"]

Coords: TypeAlias = tuple[int, ...]
Table: TypeAlias = npt.NDArray[np.uint32]
MIN_COLUMN: Final = 256
"""Fewer refs than this are kept one by one."""
_NOT_THERE: Final = object()
_STEP: Final = 4096
MANY: Final = 1 << 14
"""More refs that were set one by one or in small groups become columns."""


def _tuples(refs: ChunkRefs) -> Iterator[Coords]:
    """The coordinates, some at a time: who takes only the first should not pay for all."""
    for start in range(0, len(refs), _STEP):
        yield from map(tuple, refs.coords[start : start + _STEP].tolist())


class RefMapping(Mapping[Coords, Any]):
    """Columns of virtual refs as a mapping from coordinates; a ref becomes an object when it is looked at.

    Attributes
    ----------
    refs
        The columns, made by `ChunkRefs.virtual`.
    locations
        The locations that they were made of.

    >>> refs = ChunkRefs.virtual(np.array([[0], [4]]), ["s3://b/k"], np.array([0, 0]), [0, 8], [8, 8])
    >>> mapping = RefMapping(refs, ["s3://b/k"])
    >>> list(mapping), mapping[(4,)].offset
    ([(0,), (4,)], 8)
    """

    __slots__ = ("locations", "refs")

    def __init__(self, refs: ChunkRefs, locations: Sequence[str]) -> None:
        self.refs = refs
        self.locations = locations

    def __getitem__(self, coords: Coords) -> VirtualRef:
        row = self.refs.find(coords)
        if row < 0:
            raise KeyError(coords)
        ref = self.refs.ref(row)
        assert isinstance(ref, VirtualRef)
        return ref

    def __iter__(self) -> Iterator[Coords]:
        return _tuples(self.refs)

    def __len__(self) -> int:
        return len(self.refs)

    def partitioned(self, bad: set[str]) -> tuple[RefMapping, list[Coords]]:
        """Without the refs to some locations, and the coordinates of those, in order."""
        assert self.refs.payloads is not None
        is_bad = self.refs.payloads.spread(np.array([place in bad for place in self.locations], np.bool_))
        left_out = [tuple(row) for row in self.refs.coords[is_bad].tolist()]
        kept = RefMapping(self.refs.rows(~is_bad), self.locations)
        return kept, left_out


class ColumnChanges(MutableMapping[Coords, ChunkRef | None]):
    """What `dict` is for few changes: coordinates to refs, None for deleted chunks.

    Refs that were set together are in blocks of columns; what was changed one by one lies on top. Readers in
    other threads see the state before or after a change.

    >>> changes = ColumnChanges({(1,): None})
    >>> changes.add(ChunkRefs.virtual(np.array([[0], [1]]), ["s3://b/k"], np.array([0, 0]), [0, 8], [8, 8]))
    >>> changes[(0,)] = None
    >>> len(changes), changes[(0,)], changes[(1,)].offset, changes.touched().tolist()
    (2, None, 8, [[0], [1]])
    """

    __slots__ = ("_blocks", "_joined", "_limit", "_single")

    def __init__(self, single: Mapping[Coords, ChunkRef | None]) -> None:
        self._single = dict(single)
        self._limit = MANY  # more of them become columns
        # Oldest first; each at least twice as long as the next, so that there are few.
        # The list is never changed in place.
        self._blocks: list[ChunkRefs] = []
        self._joined: tuple[list[ChunkRefs], ChunkRefs] = (self._blocks, ChunkRefs.empty(0))

    def copy(self) -> ColumnChanges:
        """An independent copy; the columns are shared."""
        twin = ColumnChanges(self._single)
        twin._blocks, twin._joined, twin._limit = self._blocks, self._joined, self._limit
        return twin

    def add(self, refs: ChunkRefs) -> None:
        """Set refs together."""
        self._push(refs)
        if self._single:
            self._single = {c: ref for c, ref in self._single.items() if refs.find(c) < 0}

    def update(self, other: Any = (), /, **_: Any) -> None:
        """Set what another mapping has."""
        if isinstance(other, RefMapping):
            self.add(other.refs)
        elif isinstance(other, ColumnChanges):
            self.add(other.columns)
            self._single.update(other.single)
        else:
            self._single.update(other)
        if len(self._single) > self._limit:
            self._settle()

    def _push(self, refs: ChunkRefs) -> None:
        blocks = [*self._blocks, refs]
        while len(blocks) > 1 and len(blocks[-2]) < 2 * len(blocks[-1]):
            newest = blocks.pop()
            blocks[-1] = ChunkRefs.concat([newest, blocks[-1]])
        self._blocks = blocks

    def _settle(self) -> None:
        """Make columns of single refs: an object for each would cost several times the memory.

        Readers look at the single ones first, so these go last.
        """
        single = self._single
        refs = {coords: ref for coords, ref in single.items() if ref is not None}
        if len(refs) > MANY // 2:
            with suppress(InvalidInputError):  # the commit will say so, if that ref is still there
                self._push(ChunkRefs.from_items(len(next(iter(refs))), refs))
                self._single = {coords: ref for coords, ref in single.items() if ref is None}
        self._limit = len(self._single) + MANY

    @property
    def columns(self) -> ChunkRefs:
        """All that was set together; `single` counts where both have a chunk."""
        blocks, joined = self._joined
        if blocks is not self._blocks:
            blocks = self._blocks
            joined = ChunkRefs.concat(blocks[::-1]) if blocks else ChunkRefs.empty(0)
            self._joined = blocks, joined
        return joined

    @property
    def blocks(self) -> Sequence[ChunkRefs]:
        """What was set together, oldest first; `single` counts before them, and is to be looked at before."""
        return self._blocks

    @property
    def single(self) -> Mapping[Coords, ChunkRef | None]:
        """What was set one by one."""
        return self._single

    def compact(self) -> None:
        """Join the blocks for good, so that what is in them is in memory once. For writers."""
        self._blocks = [self.columns]
        self._joined = self._blocks, self._blocks[0]

    def touched(self) -> Table:
        """The coordinates of all changes, sorted: ``uint32[n, ndim]``."""
        return coords_with_keys(self.columns.coords, self._single)

    def part(self, rows: Any, single: Mapping[Coords, ChunkRef | None]) -> ColumnPart:
        """Some rows of the columns and some single changes."""
        return ColumnPart(self.columns, rows, dict(single))

    def __getitem__(self, coords: Coords) -> ChunkRef | None:
        found: Any = self._single.get(coords, _NOT_THERE)
        if found is not _NOT_THERE:
            ref: ChunkRef | None = found
            return ref
        for block in reversed(self._blocks):
            row = block.find(coords)
            if row >= 0:
                return block.ref(row)
        raise KeyError(coords)

    def __setitem__(self, coords: Coords, ref: ChunkRef | None) -> None:
        self._single[coords] = ref
        if len(self._single) > self._limit:
            self._settle()

    def __delitem__(self, coords: Coords) -> None:
        found = coords in self
        self._blocks = [
            block.updated({coords: None}) if block.find(coords) >= 0 else block for block in self._blocks
        ]
        if self._single.pop(coords, _NOT_THERE) is _NOT_THERE and not found:
            raise KeyError(coords)

    def __contains__(self, coords: object) -> bool:
        return coords in self._single or (
            isinstance(coords, tuple) and any(block.find(coords) >= 0 for block in self._blocks)
        )

    def __iter__(self) -> Iterator[Coords]:
        single = self._single
        yield from (coords for coords in _tuples(self.columns) if coords not in single)
        yield from single

    def __len__(self) -> int:
        return len(self.touched())


class ColumnPart:
    """The changes in one box of the chunk grid: rows of columns, and single changes on top.

    Equal to another one if it has the same rows of the very same columns, and equal single changes.
    """

    __slots__ = ("_columns", "_rows", "_single")

    def __init__(self, columns: ChunkRefs, rows: Any, single: dict[Coords, ChunkRef | None]) -> None:
        self._columns = columns
        self._rows = rows
        self._single = single

    def _taken(self) -> ChunkRefs:
        return self._columns.rows(self._rows)

    def refs(self) -> ChunkRefs:
        """The refs that are set."""
        taken = self._taken()
        return taken.updated(self._single) if self._single else taken

    def touched(self) -> Table:
        """The coordinates of all changes, sorted, each once."""
        return coords_with_keys(self._columns.coords[self._rows], self._single)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ColumnPart):
            return NotImplemented
        return (
            self._columns is other._columns
            and type(self._rows) is type(other._rows)
            and bool(np.all(self._rows == other._rows))
            and self._single == other._single
        )

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.touched())


def in_columns(
    changes: Mapping[Coords, ChunkRef | None],
) -> tuple[ChunkRefs | None, Mapping[Coords, ChunkRef | None]]:
    """Changes as columns, if there are many, and those on top of them."""
    if isinstance(changes, ColumnChanges):
        columns = changes.columns
        return (columns if len(columns) else None), changes.single
    if len(changes) >= MIN_COLUMN:
        refs = {coords: ref for coords, ref in changes.items() if ref is not None}
        with suppress(InvalidInputError):  # a number that no manifest can hold
            if refs:
                columns = ChunkRefs.from_items(len(next(iter(refs))), refs)
                return columns, {coords: ref for coords, ref in changes.items() if ref is None}
    return None, changes
