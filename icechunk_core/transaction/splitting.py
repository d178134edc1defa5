"""Into which manifests the refs of one array are cut (FORMAT.md, section 15)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from attrs import frozen

__all__ = [
    "MAX_REFS",
    "Extents",
    "SplitGrid",
    "bounded_grid",
    "contains",
    "intersection",
    "overlapping_before",
    "volume",
]

MAX_REFS = 131_072
"""How many refs automatic splitting wants in a manifest at most: a few megabytes."""
_MAX_BOXES = 8192
_TALLIED = 1 << 20  # boxes, of which each gets a counter

Extents: TypeAlias = tuple[tuple[int, int], ...]
"""Box of chunk coordinates: per dimension the first index and the one after the last."""


@frozen
class SplitGrid:
    """An array's chunk grid cut into boxes of equal size (the last one of an axis may be smaller).

    Attributes
    ----------
    num_chunks
        Chunks per dimension.
    sizes
        Chunks per box and dimension, each at least 1.

    >>> grid = SplitGrid((5, 3), (2, 3))
    >>> list(grid.boxes_overlapping(((1, 3), (0, 9))))
    [(0, 0), (1, 0)]
    >>> grid.extents((2, 0))
    ((4, 5), (0, 3))
    """

    num_chunks: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def uncut(cls, num_chunks: tuple[int, ...]) -> SplitGrid:
        """The whole array in one box."""
        return cls(num_chunks, tuple(max(count, 1) for count in num_chunks))

    @property
    def is_single(self) -> bool:
        """Whether one box holds everything."""
        return all(size >= count for size, count in zip(self.sizes, self.num_chunks, strict=True))

    def whole(self) -> Extents:
        """The grid as a box."""
        return tuple((0, count) for count in self.num_chunks)

    def extents(self, box: tuple[int, ...]) -> Extents:
        """The coordinates that a box covers."""
        return tuple(
            (index * size, min((index + 1) * size, count))
            for index, size, count in zip(box, self.sizes, self.num_chunks, strict=True)
        )

    def boxes_overlapping(self, extents: Extents) -> Iterator[tuple[int, ...]]:
        """Indices of the boxes that share coordinates with ``extents``; none if that is outside the grid."""
        inside = intersection(extents, self.whole())
        if inside is None:
            return iter(())
        return product(
            *(
                range(low // size, (high - 1) // size + 1)
                for (low, high), size in zip(inside, self.sizes, strict=True)
            )
        )

    def boxes_of(self, coords: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """Box indices of coordinates, one row each."""
        return coords.astype(np.int64) // np.array(self.sizes, dtype=np.int64)

    def box_numbers(self, coords: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """The position, in C order, of the box of each row; rows outside the grid get that of some box."""
        numbers = np.zeros(len(coords), dtype=np.int64)
        for axis, (count, size) in enumerate(zip(self.num_chunks, self.sizes, strict=True)):
            boxes = max(-(-count // size), 1)
            numbers *= boxes
            if boxes > 1:
                numbers += np.minimum(coords[:, axis] // np.uint32(size), boxes - 1)
        return numbers


def bounded_grid(
    num_chunks: tuple[int, ...],
    refs: int,
    coords: npt.NDArray[np.uint32] | None = None,
    stored: Sequence[tuple[Extents, int]] = (),
    limit: int = MAX_REFS,
) -> SplitGrid:
    """The grid of automatic splitting: boxes with about ``limit`` refs at most if these are spread evenly.

    Where they are not, such as in a large array that is filled from its beginning, a box has up to twice as
    many: were it cut at once, every commit to a full box would cut all others, too.

    Boxes are whole along the last axes, and a power of two along the first one that is cut, so that an array
    that grows along its first axis keeps its boxes.

    Parameters
    ----------
    refs
        How many refs the array has, or somewhat more.
    coords
        Coordinates that no box should have more than ``limit`` of.
    stored
        The extents of the manifests that there are, and how many refs are in each; taken as spread evenly
        within.

    >>> bounded_grid((1000, 1000), 1_000_000).sizes, bounded_grid((1000, 1000), 100_000).is_single
    ((128, 1000), True)
    >>> bounded_grid((1000, 1000), 300_000, stored=[(((0, 300), (0, 1000)), 300_000)]).sizes
    (256, 1000)
    """
    whole = SplitGrid.uncut(num_chunks)
    total = volume(whole.whole())
    refs = min(refs, total)
    if refs <= limit:
        return whole
    room = max(limit * total // refs, total // _MAX_BOXES)
    while True:
        grid = SplitGrid(num_chunks, _box_sizes(num_chunks, room))
        if room < 2 or room // 2 < total // _MAX_BOXES:
            return grid
        if (coords is None or _fullest(grid, coords) <= limit) and _heaviest(grid, stored) <= 2 * limit:
            return grid
        room //= 2


def _box_sizes(num_chunks: tuple[int, ...], room: int) -> tuple[int, ...]:
    sizes: list[int] = []
    for count in reversed(num_chunks):
        size = count if count <= room else 1 << (room.bit_length() - 1)
        sizes.append(max(size, 1))
        room = max(room // sizes[-1], 1)
    return tuple(reversed(sizes))


def _fullest(grid: SplitGrid, coords: npt.NDArray[np.uint32]) -> int:
    """How many coordinates the box with the most of them has."""
    inside = contains(grid.whole(), coords)
    numbers = grid.box_numbers(coords if inside.all() else coords[inside])
    if (
        math.prod(-(-count // size) for count, size in zip(grid.num_chunks, grid.sizes, strict=True))
        > _TALLIED
    ):
        _, counts = np.unique(numbers, return_counts=True)
    else:
        counts = np.bincount(numbers)
    return int(counts.max(initial=0))


def _heaviest(grid: SplitGrid, stored: Sequence[tuple[Extents, int]]) -> float:
    """How many refs the box has that most of them fall into."""
    found: dict[tuple[int, ...], float] = {}
    for extents, count in stored:
        of_all = volume(extents)
        for box in grid.boxes_overlapping(extents):
            inside = intersection(extents, grid.extents(box))
            if inside is not None:
                found[box] = found.get(box, 0) + min(count, of_all) * volume(inside) / of_all
    # Chunks that are written over are counted twice; there is no room for more than one ref of each.
    return max((min(count, volume(grid.extents(box))) for box, count in found.items()), default=0)


def intersection(one: Extents, two: Extents) -> Extents | None:
    """The common part of two boxes, None if there is none.

    >>> intersection(((0, 4), (1, 2)), ((2, 9), (0, 5)))
    ((2, 4), (1, 2))
    >>> intersection(((0, 2),), ((2, 4),)) is None
    True
    """
    found = []
    for (low, high), (other_low, other_high) in zip(one, two, strict=True):
        low, high = max(low, other_low), min(high, other_high)  # noqa: PLW2901
        if low >= high:
            return None
        found.append((low, high))
    return tuple(found)


def overlapping_before(boxes: Sequence[Extents]) -> list[list[int]]:
    """For each box the positions of the earlier ones that share a coordinate with it.

    >>> overlapping_before([((0, 2),), ((2, 4),), ((1, 3),)])
    [[], [], [0, 1]]
    """
    if len(boxes) < 2:
        return [[] for _ in boxes]
    bounds = np.array(boxes, dtype=np.int64).reshape(len(boxes), -1, 2)
    low, high = bounds[:, :, 0], bounds[:, :, 1]
    return [
        np.flatnonzero(((low[:at] < high[at]) & (low[at] < high[:at])).all(axis=1)).tolist()
        for at in range(len(boxes))
    ]


def contains(extents: Extents, coords: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """For each row of ``coords`` whether it lies in the box."""
    inside = np.ones(len(coords), dtype=np.bool_)
    for axis, (low, high) in enumerate(extents):
        # One axis after the other: coordinates are kept in columns.
        if low > 0:
            inside &= coords[:, axis] >= low
        inside &= coords[:, axis] < high
    return inside


def volume(extents: Extents) -> int:
    """How many coordinates a box has.

    >>> volume(((0, 4), (1, 3))), volume(())
    (8, 1)
    """
    total = 1
    for low, high in extents:
        total *= high - low
    return total
