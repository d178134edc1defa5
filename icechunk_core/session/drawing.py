"""Trees and chunk maps as HTML; bounded, however large the repository is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from icechunk_core.format.snapshot import NodeSnapshot
from icechunk_core.html import bytes_text, chip, code, fold, page, printable, shortened, text
from icechunk_core.transaction.paths import path_key
from icechunk_core.transaction.tree import Branch, branches, data_type

__all__ = ["chunk_map_html", "pixels", "tree_html"]

_SMALLEST, _LARGEST, _WIDEST, _HIGHEST = 8, 20, 640, 320
"""Sizes in pixels: of a cell, and of the map as long as its cells can be larger than the smallest."""
_COLORS = {"native": "#2a78b5", "virtual": "#e08a2e", "inline": "#4f9d4f", "missing": "#80808038"}
_LEVELS = 4
"""Shades of cells of which only a part is there."""

_MOST_NODES = 400
_MOST_MEMBERS = 100
_DEEPEST = 12
_OPEN_TO = 2


# --- trees -----------------------------------------------------------------------------


def tree_html(nodes: Sequence[NodeSnapshot], top: str) -> str:
    """Groups that fold, arrays with shape, data type and chunks."""
    arrays = sum(node.array is not None for node in nodes)
    groups = len(nodes) - arrays
    about = f"{groups:,} group{'' if groups == 1 else 's'}, {arrays:,} array{'' if arrays == 1 else 's'}"
    return page("NodeTree", _Tree().node(top, branches(nodes, top=top), 0), about=about)


class _Tree:
    def __init__(self) -> None:
        self._left = _MOST_NODES

    def node(self, name: str, branch: Branch, depth: int) -> str:
        self._left -= 1
        title = _title(name, branch)
        if not branch.below:
            return f"<div class='icck-row'>{title}</div>"
        if depth >= _DEEPEST:
            return (
                f"<div class='icck-row'>{title} <span class='icck-note'>… deeper ones not shown</span></div>"
            )
        title += f" <span class='icck-mute'>{len(branch.below):,}</span>"
        return fold(title, self._below(branch, depth), opened=depth < _OPEN_TO)

    def _below(self, branch: Branch, depth: int) -> str:
        parts: list[str] = []
        for name in sorted(branch.below, key=path_key):
            if self._left <= 0 or len(parts) >= _MOST_MEMBERS:
                rest = len(branch.below) - len(parts)
                parts.append(f"<div class='icck-note'>… {rest:,} more</div>")
                break
            parts.append(self.node(name, branch.below[name], depth + 1))
        return "".join(parts)


def _title(name: str, branch: Branch) -> str:
    shown = code(shortened(printable(name), 200))
    node = branch.node
    if node is None:
        return f"{shown} ?" if branch.below else shown
    if node.array is None:
        return f"<b>{shown}</b>"
    kind = data_type(node.user_data)
    shape = " × ".join(f"{length:,}" for length in node.array.shape) or "scalar"
    chunks = int(np.prod([max(1, count) for count in node.array.num_chunks], dtype=object))
    about = f"{chunks:,} chunk{'' if chunks == 1 else 's'}"
    return f"{shown} {chip(shape)}{chip(kind) if kind else ''} <span class='icck-mute'>{about}</span>"


# --- chunk maps ------------------------------------------------------------------------


def chunk_map_html(
    path: str,
    grid: str,
    title: str,
    rows: Sequence[tuple[str, int, int | None]],
    kinds: npt.NDArray[np.int64],
    parts: npt.NDArray[np.float64],
) -> str:
    """A map with its legend: kind, number of chunks and bytes of each."""
    cell = _cell_size(kinds.shape)
    height, width = (size * cell for size in kinds.shape)
    drawing = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
        f"viewBox='0 0 {width} {height}' role='img' style='max-width:100%;height:auto;margin:.4em 0'>"
        f"<title>{text(title)}</title>{''.join(_paths(kinds, parts, cell))}</svg>"
    )
    legend = "".join(_legend(*row) for row in rows)
    about = f"{path}, {grid} chunks"
    return page("ChunkMap", f"<div>{drawing}</div><div>{legend}</div>", about=about)


def _legend(name: str, count: int, size: int | None) -> str:
    box = f"display:inline-block;width:.8em;height:.8em;margin-right:.35em;background:{_COLORS[name]}"
    about = "" if size is None else f" <span class='icck-mute'>({bytes_text(size)})</span>"
    return f"<span style='margin-right:1.2em'><span style='{box}'></span>{count:,} {name}{about}</span>"


def _cell_size(shape: tuple[int, ...]) -> int:
    rows, columns = shape
    return max(_SMALLEST, min(_LARGEST, _HIGHEST // rows, _WIDEST // columns))


def _paths(kinds: npt.NDArray[np.int64], parts: npt.NDArray[np.float64], cell: int) -> list[str]:
    """One path for all cells that look the same: a hundredth of the text that a rectangle each would take."""
    levels = np.where(kinds < 0, 0, np.ceil(parts * _LEVELS)).astype(np.int64)
    made = []
    for kind, name in enumerate(("native", "virtual", "inline", "missing")):
        of_kind = kinds == (kind if name != "missing" else -1)
        for level in np.unique(levels[of_kind]).tolist():
            places = np.argwhere(of_kind & (levels == level)) * cell
            size = cell - 1
            steps = "".join(f"M{x} {y}h{size}v{size}h-{size}z" for y, x in places.tolist())
            opacity = "" if name == "missing" else f" fill-opacity='{0.3 + 0.7 * level / _LEVELS:.2f}'"
            made.append(f"<path fill='{_COLORS[name]}'{opacity} d='{steps}'/>")
    return made


def pixels(kinds: npt.NDArray[np.int64], parts: npt.NDArray[np.float64]) -> Any:
    """The map as ``float64[rows, columns, 4]``, red, green, blue and opacity."""
    image = np.zeros((*kinds.shape, 4))
    for kind, name in enumerate(("native", "virtual", "inline")):
        here = kinds == kind
        color = _COLORS[name]
        image[here, :3] = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        image[here, 3] = 0.3 + 0.7 * parts[here]
    image[kinds < 0] = (0.5, 0.5, 0.5, 0.22)
    return image
