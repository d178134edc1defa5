"""What a session holds, to look at: the tree of nodes, and where the chunks of an array are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import field, frozen

from icechunk_core.format.chunk_refs import ChunkRefs, RefKind
from icechunk_core.format.snapshot import NodeSnapshot
from icechunk_core.session import drawing
from icechunk_core.session.plotting import new_axes
from icechunk_core.transaction.tree import render_tree

__all__ = ["ChunkMap", "NodeTree", "map_chunks"]

_TEXT_WIDTH, _TEXT_HEIGHT = 72, 24
_DRAWN_WIDTH, _DRAWN_HEIGHT = 120, 60
_KINDS = (("native", RefKind.NATIVE), ("virtual", RefKind.VIRTUAL), ("inline", RefKind.INLINE))
# One letter for cells whose chunks are all there, one for those of which some are missing.
_LETTERS = {"native": "█▓", "virtual": "◆◇", "inline": "●○"}


@frozen(repr=False)
class NodeTree:
    """Groups, and arrays with shape and data type; prints as a drawing.

    In notebooks groups fold, and of very many nodes only the first are shown.

    Attributes
    ----------
    nodes
        The nodes, as the format has them.
    top
        Path of the first one.
    """

    nodes: Sequence[NodeSnapshot]
    top: str = "/"

    @property
    def text(self) -> str:
        """The drawing."""
        return render_tree(self.nodes, top=self.top)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return drawing.tree_html(self.nodes, self.top)


@frozen(repr=False, eq=False)
class ChunkMap:
    """Which chunks of an array exist, and where their bytes are.

    Attributes
    ----------
    path
        The array.
    num_chunks
        Chunks along each dimension.
    counts, sizes
        Chunks, and their bytes as stored, by kind: ``native`` (in the repository), ``virtual`` (in
        other files), ``inline`` (in the manifest).
    """

    path: str
    num_chunks: tuple[int, ...]
    counts: dict[str, int]
    sizes: dict[str, int]
    _cells: npt.NDArray[np.int64] = field(repr=False)
    """``int64[rows, columns, kinds]``: chunks that fall on each cell of the drawing."""
    _capacity: npt.NDArray[np.float64] = field(repr=False)
    """``float64[rows, columns]``: chunks that could."""

    @property
    def total(self) -> int:
        """Chunks in the grid."""
        return int(np.prod(self.num_chunks, dtype=np.int64))

    @property
    def missing(self) -> int:
        """Chunks in the grid that were never written: they read as the fill value."""
        return self.total - sum(self.counts.values())

    def _title(self) -> str:
        parts = [
            f"{self.counts[name]:,} {name} ({self.sizes[name]:,} bytes)"
            for name, _ in _KINDS
            if self.counts[name]
        ]
        parts.append(f"{self.missing:,} missing")
        return f"{self.path}: {self._grid()} chunks; {', '.join(parts)}"

    def _grid(self) -> str:
        return " × ".join(map(str, self.num_chunks)) or "1"

    def __repr__(self) -> str:
        cells, capacity = _shrunk(self._cells, self._capacity, _TEXT_HEIGHT, _TEXT_WIDTH)
        kinds, parts = _kinds_and_parts(cells, capacity)
        lines = [self._title()]
        for row_kinds, row_parts in zip(kinds.tolist(), parts.tolist(), strict=True):
            letters = [
                "·" if kind < 0 else _LETTERS[_KINDS[kind][0]][int(part < 1)]
                for kind, part in zip(row_kinds, row_parts, strict=True)
            ]
            lines.append("".join(letters))
        used = [name for name, _ in _KINDS if self.counts[name]]
        legend = [f"{_LETTERS[name][0]} {name}, {_LETTERS[name][1]} partly" for name in used]
        return "\n".join([*lines, "; ".join([*legend, "· missing"])])

    def _repr_html_(self) -> str:
        kinds, parts = _kinds_and_parts(self._cells, self._capacity)
        rows = [(name, self.counts[name], self.sizes[name]) for name, _ in _KINDS if self.counts[name]]
        return drawing.chunk_map_html(
            self.path, self._grid(), self._title(), [*rows, ("missing", self.missing, None)], kinds, parts
        )

    def plot(self, ax: Any = None) -> Any:
        """The map as a plot of matplotlib: colours tell the kind, pale cells are partly there.

        Parameters
        ----------
        ax
            Axes to draw on; new ones without them.

        Returns
        -------
        matplotlib.axes.Axes
            With the plot.

        Raises
        ------
        InvalidInputError
            If matplotlib is not installed.
        """
        axes = new_axes() if ax is None else ax
        kinds, parts = _kinds_and_parts(self._cells, self._capacity)
        height, width = _plane(self.num_chunks)
        axes.imshow(
            drawing.pixels(kinds, parts),
            extent=(0, width, height, 0),
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_title(f"{self.path} ({self._grid()} chunks)")
        axes.set_xlabel("chunk, last dimension")
        axes.set_ylabel("chunk, dimension before")
        return axes


def map_chunks(path: str, num_chunks: tuple[int, ...], blocks: Iterable[ChunkRefs]) -> ChunkMap:
    """Draw an array's chunks.

    The last two dimensions are rows and columns; what lies behind one another in the others,
    and neighbours in large arrays, share a cell.
    """
    height, width = _plane(num_chunks)
    rows, columns = min(height, _DRAWN_HEIGHT), min(width, _DRAWN_WIDTH)
    cells = np.zeros((rows, columns, len(_KINDS)), np.int64)
    counts = dict.fromkeys((name for name, _ in _KINDS), 0)
    sizes = dict(counts)
    for refs in blocks:
        y, x = _positions(refs.coords, num_chunks)
        for index, (name, kind) in enumerate(_KINDS):
            chosen = refs.kind == kind
            if chosen.any():
                counts[name] += int(chosen.sum())
                sizes[name] += int(refs.length[chosen].sum())
                np.add.at(cells[:, :, index], (y[chosen] * rows // height, x[chosen] * columns // width), 1)
    behind = max(1, int(np.prod(num_chunks, dtype=np.int64)) // max(1, height * width))
    capacity = np.outer(_members(height, rows), _members(width, columns)).astype(np.float64) * behind
    return ChunkMap(path, num_chunks, counts, sizes, cells, capacity)


def _kinds_and_parts(
    cells: npt.NDArray[np.int64], capacity: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Of each cell the kind that most of its chunks are of (-1 without any), and which part is there."""
    there = cells.sum(axis=2)
    kinds = np.where(there > 0, cells.argmax(axis=2), -1)
    return kinds, np.minimum(1.0, there / np.maximum(capacity, 1))


def _plane(num_chunks: tuple[int, ...]) -> tuple[int, int]:
    height, width = (1, 1, *num_chunks)[-2:]
    return max(1, height), max(1, width)


def _positions(
    coords: npt.NDArray[np.uint32], num_chunks: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    nothing = np.zeros(len(coords), np.int64)
    columns = [coords[:, axis].astype(np.int64) for axis in range(len(num_chunks))]
    y, x = [nothing, nothing, *columns][-2:]
    return y, x


def _members(length: int, cells: int) -> npt.NDArray[np.int64]:
    """How many of ``length`` rows fall on each cell."""
    return np.bincount(np.arange(length, dtype=np.int64) * cells // length, minlength=cells)


def _shrunk(
    cells: npt.NDArray[np.int64], capacity: npt.NDArray[np.float64], height: int, width: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Fewer cells, for text."""
    rows, columns = min(height, cells.shape[0]), min(width, cells.shape[1])
    y = np.arange(cells.shape[0]) * rows // cells.shape[0]
    x = np.arange(cells.shape[1]) * columns // cells.shape[1]
    small = np.zeros((rows, columns, cells.shape[2]), np.int64)
    room = np.zeros((rows, columns), np.float64)
    np.add.at(small, (y[:, None], x[None, :]), cells)
    np.add.at(room, (y[:, None], x[None, :]), capacity)
    return small, room
