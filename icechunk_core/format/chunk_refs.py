"""The chunk refs of one array, as columns (FORMAT.md, 6.2 and 9)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from icechunk_core.errors import InvalidInputError
from icechunk_core.format._coords import (
    Box,
    CoordIndex,
    Coords,
    bounding_box,
    box_keys,
    join_boxes,
    sorted_order,
    unique_coords,
)
from icechunk_core.format._payloads import Payloads, Source
from icechunk_core.format._ref_columns import (
    RefColumns,
    columns_from_items,
    concat_columns,
    coords_from_keys,
    merged_columns,
    virtual_columns,
)
from icechunk_core.format.refs import (
    ChunkRef,
    InlineRef,
    NativeRef,
    RefKind,
    VirtualRef,
    new_native_ref,
)

__all__ = [
    "ChunkRef",
    "ChunkRefs",
    "InlineRef",
    "NativeRef",
    "RefKind",
    "VirtualRef",
    "coords_from_keys",
    "coords_with_keys",
]

_INLINE: Final = int(RefKind.INLINE)
_NATIVE: Final = int(RefKind.NATIVE)
_VIRTUAL: Final = int(RefKind.VIRTUAL)
_FEW: Final = 1 << 16
# 12 id bytes as two big-endian numbers that sort like the bytes.
_ID_WORDS: Final = np.dtype([("high", ">u8"), ("low", ">u4")])


def coords_with_keys(coords: Coords, keys: Collection[tuple[int, ...]]) -> Coords:
    """Sorted coordinates together with further ones, sorted, each once.

    >>> coords_with_keys(np.array([[1, 0], [3, 0]], np.uint32), {(2, 5): None, (1, 0): None}).tolist()
    [[1, 0], [2, 5], [3, 0]]
    """
    if not keys:
        return coords
    table = coords_from_keys(len(next(iter(keys))), keys, len(keys))
    return unique_coords(np.concatenate([coords, table]) if len(coords) else table)


class ChunkRefs:
    """Immutable columns of chunk refs, sorted by coordinates, each coordinate once.

    Memory: 29 bytes plus 4 bytes per dimension for a native ref, 37 more in arrays that also hold
    inline or virtual refs; never a Python object per ref. Inline data, locations and ETags are
    looked at when a ref is asked for; damaged ones raise `Corrupt` then.

    >>> refs = ChunkRefs.from_items(1, {(3,): InlineRef(b"abc"), (1,): NativeRef(bytes(12), 0, 9)})
    >>> refs.find((3,)), refs.get((3,)), refs.get((2,))
    (1, InlineRef(data=b'abc'), None)
    >>> len(refs.updated({(1,): None, (7,): InlineRef(b"x")})), refs.extents()
    (2, ((1, 4),))

    Attributes
    ----------
    coords : uint32[n, ndim]
        Kept column by column in memory (Fortran order), which is how it is mostly used.
    kind : uint8[n]
        `RefKind` codes.
    offset, length : uint64[n]
        Bytes inside the object; inline: 0 and the number of bytes.
    chunk_ids : uint8[n, 12]
        Zero for inline and virtual refs.
    payloads : Payloads or None
        Where inline data, locations and ETags are (see `_payloads`); None if all refs are native.
    sources
        The buffers that ``payloads`` points into.
    """

    __slots__ = (
        "_index", "_views", "chunk_ids", "coords", "kind", "length", "offset", "payloads", "sources",
    )  # fmt: skip

    coords: Coords
    kind: npt.NDArray[np.uint8]
    offset: npt.NDArray[np.uint64]
    length: npt.NDArray[np.uint64]
    chunk_ids: npt.NDArray[np.uint8]
    payloads: Payloads | None
    sources: tuple[Source, ...]

    def __init__(self, columns: RefColumns) -> None:
        """From columns that are sorted and unique already; use the constructors below otherwise."""
        self.coords, self.kind, self.offset, self.length, self.chunk_ids, self.payloads, self.sources = (
            columns
        )
        for column in columns[:6]:
            if isinstance(column, np.ndarray):
                column.flags.writeable = False
        self._index: CoordIndex | None = None
        # Kind, offset, length and id bytes as memoryviews: single items of numpy arrays are slow to get.
        self._views: tuple[memoryview, memoryview, memoryview, memoryview | bytes] | None = None

    def __reduce__(self) -> tuple[type[ChunkRefs], tuple[RefColumns]]:
        return ChunkRefs, (self.columns,)

    # --- making them ---

    @classmethod
    def empty(cls, ndim: int) -> ChunkRefs:
        """No refs."""
        return cls.native(np.zeros((0, ndim), np.uint32), np.zeros((0, 12), np.uint8), [], [])

    @classmethod
    def from_items(cls, ndim: int, items: Mapping[tuple[int, ...], ChunkRef]) -> ChunkRefs:
        """From refs given as values.

        Raises
        ------
        InvalidInputError
            A coordinate with another number of dimensions, or a number out of range.
        """
        return cls._sorted(columns_from_items(ndim, items))

    @classmethod
    def native(
        cls,
        coords: npt.ArrayLike,
        chunk_ids: npt.NDArray[np.uint8],
        offset: npt.ArrayLike,
        length: npt.ArrayLike,
    ) -> ChunkRefs:
        """From columns of native refs, in any order; the first of equal coordinates counts."""
        table = np.array(coords, dtype=np.uint32, order="F")
        return cls._sorted(
            RefColumns(
                table,
                np.full(len(table), _NATIVE, dtype=np.uint8),
                np.array(offset, dtype=np.uint64),
                np.array(length, dtype=np.uint64),
                np.array(chunk_ids, dtype=np.uint8),
            )
        )

    @classmethod
    def virtual(
        cls,
        coords: npt.ArrayLike,
        locations: Sequence[str],
        which: npt.NDArray[np.integer[Any]],
        offset: npt.ArrayLike,
        length: npt.ArrayLike,
        checksums: Sequence[tuple[str | None, int | None]] = (),
        *,
        is_sorted: bool = False,
    ) -> ChunkRefs:
        """From columns of virtual refs, in any order; the first of equal coordinates counts.

        Parameters
        ----------
        locations, which
            Locations, and for each row the number of its own. They become the payload entries, in order.
        checksums
            For each location the ETag and the time of modification that its object must have; none if empty.
        is_sorted
            The coordinates are sorted, each there once, in Fortran order, and of no further use to the
            caller.

        Raises
        ------
        InvalidInputError
            A number is out of range.
        """
        columns = virtual_columns(
            np.asarray(coords, np.uint32, "F") if is_sorted else np.array(coords, np.uint32, order="F"),
            locations,
            which,
            np.array(offset, dtype=np.uint64),
            np.array(length, dtype=np.uint64),
            checksums or [(None, None)] * len(locations),
        )
        return cls(columns) if is_sorted else cls._sorted(columns)

    @classmethod
    def concat(cls, parts: Sequence[ChunkRefs]) -> ChunkRefs:
        """All refs of several; where coordinates meet, the earlier part counts.

        Raises
        ------
        InvalidInputError
            Nothing to concatenate, or different numbers of dimensions.
        """
        # An empty list that was read from a file does not know its number of dimensions.
        filled = [part for part in parts if len(part)]
        if not parts or len({part.ndim for part in filled}) > 1:
            raise InvalidInputError("chunk refs of one array have one number of dimensions")
        if len(filled) <= 1:
            return filled[0] if filled else parts[0]
        ascending = sorted(filled, key=lambda part: part.coords[0].tolist())
        if all(a.coords[-1].tolist() < b.coords[0].tolist() for a, b in pairwise(ascending)):
            return cls(concat_columns([part.columns for part in ascending]))  # nothing to sort
        return cls._sorted(concat_columns([part.columns for part in filled]))

    @classmethod
    def _sorted(cls, columns: RefColumns) -> ChunkRefs:
        """Sort; the first of rows with equal coordinates stays."""
        coords = columns.coords
        keys = box_keys(coords, bounding_box(coords))
        order = sorted_order(keys)
        if order is None:
            return cls(columns)
        ordered = keys[order]
        first = np.concatenate([np.ones(1, dtype=bool), ordered[1:] != ordered[:-1]])
        chosen = order if first.all() else order[first]
        # One at a time, so that of millions of rows no second copy of all columns is in memory.
        parts: list[Any] = list(columns)
        del columns, coords, keys, ordered, order, first
        for number, part in enumerate(parts[:-1]):
            parts[number] = None if part is None else part[chosen]
        return cls(RefColumns(*parts))

    # --- looking at them ---

    @property
    def columns(self) -> RefColumns:
        """All columns together."""
        return RefColumns(
            self.coords, self.kind, self.offset, self.length, self.chunk_ids, self.payloads, self.sources
        )

    @property
    def ndim(self) -> int:
        """Number of dimensions of the array."""
        return int(self.coords.shape[1])

    def __len__(self) -> int:
        return len(self.kind)

    def __repr__(self) -> str:
        return f"<ChunkRefs: {len(self)} refs, {self.ndim} dimensions>"

    def find(self, coord: Sequence[int]) -> int:
        """The row of a coordinate, -1 if there is no ref for it."""
        index = self._index
        if index is None:
            index = self._index = CoordIndex(self.coords)
        return index.find(coord)

    def find_many(self, coords: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        """The rows of many coordinates, ``[n, ndim]``, -1 where there is no ref."""
        index = self._index
        if index is None:
            index = self._index = CoordIndex(self.coords)
        return index.find_many(coords)

    def ref(self, row: int) -> ChunkRef:
        """One ref as a value.

        Raises
        ------
        Corrupt
            Its location or ETag is damaged.
        """
        kinds, offset, length, id_bytes = self._views or self._viewed()
        kind = kinds[row]
        if kind == _NATIVE:
            start = 12 * row
            return new_native_ref((bytes(id_bytes[start : start + 12]), offset[row], length[row]))
        assert self.payloads is not None
        source, start, size, etag_source, etag_start, etag_size, modified, compressed = self.payloads.row(row)
        if kind == _INLINE:
            return InlineRef(self.sources[source].take(start, size))
        etag = self.sources[etag_source].text(etag_start, etag_size, "ETag") if etag_start >= 0 else None
        location = self.sources[source].location(start, size, compressed)
        return VirtualRef(location, offset[row], length[row], etag, modified or None)

    def _viewed(self) -> tuple[memoryview, memoryview, memoryview, memoryview | bytes]:
        ids: memoryview | bytes
        if len(self) <= _FEW:  # a part of bytes is had in half the time
            ids = self.chunk_ids.tobytes()
        else:
            ids = memoryview(np.ascontiguousarray(self.chunk_ids).reshape(-1))
        views = memoryview(self.kind), memoryview(self.offset), memoryview(self.length), ids
        self._views = views
        return views

    def get(self, coord: Sequence[int]) -> ChunkRef | None:
        """The ref of a coordinate as a value, None if there is none."""
        index = self._index
        row = self.find(coord) if index is None else index.find(coord)
        if row < 0:
            return None
        kinds, offset, length, ids = self._views or self._viewed()
        if kinds[row] != _NATIVE:
            return self.ref(row)
        # The hot path, as `ref` has it.
        start = 12 * row
        return new_native_ref((bytes(ids[start : start + 12]), offset[row], length[row]))

    def items(self) -> Iterator[tuple[tuple[int, ...], ChunkRef]]:
        """Coordinates and refs, in order."""
        for row in range(len(self)):
            yield tuple(self.coords[row].tolist()), self.ref(row)

    def extents(self) -> Box:
        """Tight bounds of the coordinates: per dimension the smallest and one more than the largest."""
        return bounding_box(self.coords)

    def native_ids(self) -> npt.NDArray[np.uint8]:
        """The distinct chunk ids of the native refs, sorted: ``uint8[k, 12]``."""
        native = self.kind == _NATIVE
        ids = self.chunk_ids if native.all() else self.chunk_ids[native]
        words = np.ascontiguousarray(ids).view(_ID_WORDS).reshape(len(ids))
        high, low = words["high"].astype(np.uint64), words["low"].astype(np.uint32)
        order = np.argsort(high)
        same_high = high[order[1:]] == high[order[:-1]]
        if (same_high & (low[order[1:]] != low[order[:-1]])).any():
            order = np.lexsort((low, high))
        high, low = high[order], low[order]
        first = np.ones(len(ids), dtype=bool)
        first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        return ids[order[first]]

    def virtual_locations(self) -> list[str]:
        """The location of each virtual ref, in order; `Corrupt` if one is damaged."""
        rows = np.flatnonzero(self.kind == _VIRTUAL)
        if not len(rows):
            return []
        assert self.payloads is not None
        chosen = self.payloads[rows].packed()
        columns = (chosen.entries[name].tolist() for name in ("source", "start", "size", "compressed"))
        known = [
            self.sources[n].location(at, size, packed) for n, at, size, packed in zip(*columns, strict=True)
        ]
        return known if chosen.which is None else [known[number] for number in chosen.which.tolist()]

    def __eq__(self, other: object) -> bool:
        """Same coordinates and the same refs, wherever their bytes are kept."""
        if not isinstance(other, ChunkRefs):
            return NotImplemented
        if not len(self) and not len(other):
            return True
        same = (
            np.array_equal(self.coords, other.coords)
            and np.array_equal(self.kind, other.kind)
            and np.array_equal(self.offset, other.offset)
            and np.array_equal(self.length, other.length)
            and np.array_equal(self.chunk_ids, other.chunk_ids)
        )
        rows = np.flatnonzero(self.kind != _NATIVE).tolist() if same else []
        return same and all(self.ref(row) == other.ref(row) for row in rows)

    __hash__ = None  # type: ignore[assignment]

    # --- deriving others ---

    def restricted(self, extents: Sequence[tuple[int, int]]) -> ChunkRefs:
        """The refs inside a box (exclusive ends); dimensions beyond the given ones are not restricted."""
        inside = np.ones(len(self), dtype=bool)
        for dimension, (low, high) in enumerate(extents[: self.ndim]):
            column = self.coords[:, dimension]
            inside &= (column >= max(low, 0)) & (column < min(max(high, 0), 1 << 32))
        return self if inside.all() else ChunkRefs(self.columns.rows(inside))

    def updated(self, changes: Mapping[tuple[int, ...], ChunkRef | None]) -> ChunkRefs:
        """With some refs set, or removed (None). What does not change is copied in one piece.

        Raises
        ------
        InvalidInputError
            A coordinate with another number of dimensions, or a number out of range.
        """
        if not changes:
            return self
        ndim = self.ndim if len(self) else len(next(iter(changes)))
        added = ChunkRefs.from_items(ndim, {c: ref for c, ref in changes.items() if ref is not None})
        return self.replaced(added, coords_from_keys(ndim, changes.keys(), len(changes)))

    def replaced(self, added: ChunkRefs, touched: Coords) -> ChunkRefs:
        """Without the refs at some coordinates, and with others, which are at such coordinates."""
        if not len(self):
            return added
        box = join_boxes(bounding_box(self.coords), bounding_box(touched))
        keys = box_keys(self.coords, box)
        touched_keys = np.sort(box_keys(touched, box))
        dropped = np.searchsorted(keys, touched_keys)
        dropped = np.unique(dropped[dropped < len(keys)])
        dropped = dropped[np.isin(keys[dropped], touched_keys)]
        before = np.searchsorted(keys, box_keys(added.coords, box))
        return ChunkRefs(merged_columns(self.columns, dropped, added.columns, before))

    def rows(self, rows: Any) -> ChunkRefs:
        """The refs in some rows: a slice, which copies nothing, a mask, or ascending numbers."""
        if isinstance(rows, slice) and rows == slice(None):
            return self
        return ChunkRefs(self.columns.rows(rows))
