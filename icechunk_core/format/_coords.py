"""Chunk coordinates as columns: ordering and lookup.

Coordinates are ``uint32[n, ndim]``. Where the bounding box has fewer than 2^63 cells, a row is turned
into one 64-bit key (its C-order position in the box); otherwise into its big-endian bytes. Both kinds of
keys sort like the coordinate tuples.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Box",
    "CoordIndex",
    "Coords",
    "bounding_box",
    "box_keys",
    "join_boxes",
    "sorted_order",
    "unique_coords",
]

Coords: TypeAlias = npt.NDArray[np.uint32]
Keys: TypeAlias = npt.NDArray[Any]
Box: TypeAlias = tuple[tuple[int, int], ...]
"""Per dimension the smallest and one more than the largest index."""

_MAX_CELLS: Final = (1 << 63) - 1
# A lookup table may be this many times longer than the list of rows.
_DIRECT_FACTOR: Final = 4


def bounding_box(coords: Coords) -> Box:
    """The tightest box around the rows; all (0, 0) when there are none.

    >>> bounding_box(np.array([[1, 5], [3, 2]], dtype=np.uint32))
    ((1, 4), (2, 6))
    """
    if not len(coords):
        return ((0, 0),) * int(coords.shape[1])
    # Column by column: reductions along the long axis of a row-major table are slow.
    columns: list[Coords] = [coords[:, dimension] for dimension in range(coords.shape[1])]
    lows: list[int] = [int(column.min()) for column in columns]
    highs: list[int] = [int(column.max()) + 1 for column in columns]
    return tuple(zip(lows, highs, strict=True))


def join_boxes(first: Box, second: Box) -> Box:
    """The tightest box around two non-empty boxes."""
    return tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(first, second, strict=True))


def cells(box: Box) -> int:
    """How many cells a box has."""
    count = 1
    for low, high in box:
        count *= high - low
    return count


def box_keys(coords: Coords, box: Box) -> Keys:
    """One sortable key per row; every row must lie in `box`."""
    rows, ndim = coords.shape
    if cells(box) <= _MAX_CELLS:
        keys = np.zeros(rows, dtype=np.int64)
        for dimension, (low, high) in enumerate(box):
            keys *= high - low
            keys += coords[:, dimension]
            keys -= low
        return keys
    # Fixed-width byte strings compare like unsigned bytes; equal width makes numpy's padding harmless.
    return np.ascontiguousarray(coords, dtype=">u4").view(f"S{4 * ndim}").reshape(rows)


def sorted_order(keys: Keys) -> npt.NDArray[np.intp] | None:
    """The stable order that sorts the keys; None if they are strictly ascending already."""
    if len(keys) < 2 or bool((keys[1:] > keys[:-1]).all()):
        return None
    return np.argsort(keys, kind="stable")


def unique_coords(coords: Coords) -> Coords:
    """The distinct rows, sorted.

    >>> unique_coords(np.array([[2, 0], [0, 1], [2, 0]], dtype=np.uint32)).tolist()
    [[0, 1], [2, 0]]
    """
    keys = box_keys(coords, bounding_box(coords))
    order = sorted_order(keys)
    if order is None:
        return coords
    keys = keys[order]
    first = np.concatenate([np.ones(1, dtype=bool), keys[1:] != keys[:-1]])
    distinct: Coords = coords[order[first]]
    return distinct


class CoordIndex:
    """Finds the row of a coordinate in sorted unique coordinates, in a few microseconds.

    >>> index = CoordIndex(np.array([[0, 1], [2, 0]], dtype=np.uint32))
    >>> index.find((2, 0)), index.find((1, 1)), index.find((9, 9))
    (1, -1, -1)
    """

    __slots__ = ("_keys", "_lows", "_ndim", "_rows", "_sizes", "_table")

    _keys: Any
    _table: Any

    def __init__(self, coords: Coords) -> None:
        rows, self._ndim = coords.shape
        self._rows = rows
        box = bounding_box(coords)
        total = cells(box)
        self._lows = tuple([low for low, _ in box])
        self._sizes = tuple([high - low for low, high in box])
        self._table = self._keys = None
        if not rows or total == rows:
            return
        if total > _MAX_CELLS:
            self._keys = _ByteRows(coords)
            return
        keys = box_keys(coords, box)
        if total <= _DIRECT_FACTOR * rows:
            table = np.full(total, -1, dtype=np.int32)
            table[keys] = np.arange(rows, dtype=np.int32)
            self._table = memoryview(table)
        else:
            self._keys = memoryview(keys)

    def find(self, coord: Sequence[int]) -> int:
        """The row of a coordinate, -1 if there is none."""
        if len(coord) != self._ndim or not self._rows:
            return -1
        key: Any = 0
        for index, low, size in zip(coord, self._lows, self._sizes):  # noqa: B905 - hot path
            step = index - low
            if 0 <= step < size:
                key = key * size + step
            else:
                return -1
        if self._table is not None:
            return int(self._table[key])
        keys = self._keys
        if keys is None:
            return int(key)
        if type(keys) is _ByteRows:
            key = b"".join([int(index).to_bytes(4, "big") for index in coord])
        row = bisect_left(keys, key)
        return row if row < self._rows and keys[row] == key else -1

    def find_many(self, coords: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        """The rows of many coordinates, ``[n, ndim]``, -1 where there is none.

        >>> index = CoordIndex(np.array([[0, 1], [2, 0]], dtype=np.uint32))
        >>> index.find_many(np.array([[2, 0], [1, 1], [9, 9]])).tolist()
        [1, -1, -1]
        """
        rows = np.full(len(coords), -1, dtype=np.intp)
        if coords.shape[1] != self._ndim or not self._rows:
            return rows
        if type(self._keys) is _ByteRows:
            rows[:] = [self.find(coord) for coord in coords.tolist()]
            return rows
        inside = np.ones(len(coords), dtype=np.bool_)
        keys = np.zeros(len(coords), dtype=np.int64)
        for axis, (low, size) in enumerate(zip(self._lows, self._sizes, strict=True)):
            step = coords[:, axis].astype(np.int64) - low
            inside &= (step >= 0) & (step < size)
            keys *= size
            keys += step
        keys = keys[inside]
        if self._table is not None:
            rows[inside] = np.asarray(self._table)[keys]
        elif self._keys is None:
            rows[inside] = keys
        else:
            known = np.asarray(self._keys)
            found = np.minimum(np.searchsorted(known, keys), self._rows - 1)
            rows[inside] = np.where(known[found] == keys, found, -1)
        return rows


class _ByteRows:
    """Rows as big-endian byte strings, made one at a time."""

    __slots__ = ("_data", "_rows", "_width")

    def __init__(self, coords: Coords) -> None:
        self._rows = len(coords)
        self._width = 4 * coords.shape[1]
        self._data = coords.astype(">u4").tobytes()

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> bytes:
        return self._data[row * self._width : (row + 1) * self._width]
