"""The history of several branches as an SVG drawing, newest snapshot on top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from icechunk_core.format.base32 import encode
from icechunk_core.transaction.graph import Entry, GraphNode, layout_graph, printable, short_message

__all__ = ["draw_graph"]

_ROW, _COLUMN, _MARGIN, _RADIUS = 28, 20, 15, 5
_LETTER = 8
_COLORS = ("#2e9e44", "#9b4dca", "#1b8fb5", "#d08700", "#3a6fd8", "#cc3d3d")
_ONE_COLOR = "currentColor"
_TAG = "tag: "


def draw_graph(
    entries: Iterable[Entry],
    refs: Mapping[bytes, Sequence[str]],
    *,
    color: bool = True,
    trunk: str = "main",
    most: int | None = None,
) -> str:
    """Draw snapshots and their descent as an ``<svg>`` element.

    Parameters
    ----------
    entries, refs, trunk
        As for `icechunk_core.transaction.graph.render_graph`.
    color
        One colour per line of descent; else all in the colour of the text around.
    most
        Draw so many of the newest only, and say how many are left out.
    """
    every = layout_graph(entries, refs, trunk=trunk)
    nodes = every[:most]
    places = {node.info.id: node for node in every}
    columns = 1 + max((node.column for node in nodes), default=0)
    left = 2 * _MARGIN + columns * _COLUMN
    parts: list[str] = []
    for node in nodes:
        parent = places.get(node.info.parent_id) if node.info.parent_id is not None else None
        if parent is not None and parent.row < len(nodes):
            parts.append(_line(node, parent, color))
        elif parent is not None:
            parts.append(_open_line(node, len(nodes), color))
    longest = 0
    for node in nodes:
        labels = refs.get(node.info.id, ())
        parts.append(
            f'<circle cx="{_x(node)}" cy="{_y(node)}" r="{_RADIUS}" fill="{_tint(node.column, color)}"/>'
        )
        parts.append(_text(node, labels, left, color))
        letters = sum(len(label) + 2 for label in labels)
        longest = max(longest, letters + len(short_message(node.info.message)) + 12)
    rows = len(nodes)
    if rows < len(every):
        parts.append(_left_out(len(every) - rows, left, rows))
        rows += 1
    width, height = left + longest * _LETTER, 2 * _MARGIN + max(0, rows - 1) * _ROW
    size = f'width="{width}" height="{height}"'
    body = "".join(f"  {part}\n" for part in parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="font-family: monospace; font-size: 13px">\n'
        f"{body}</svg>"
    )


def _x(node: GraphNode) -> int:
    return _MARGIN + node.column * _COLUMN


def _y(node: GraphNode) -> int:
    return _MARGIN + node.row * _ROW


def _tint(column: int, color: bool) -> str:
    return _COLORS[column % len(_COLORS)] if color else _ONE_COLOR


def _line(child: GraphNode, parent: GraphNode, color: bool) -> str:
    """Down the child's column; into the parent's one on the last row."""
    x, y, end_x, end_y = _x(child), _y(child), _x(parent), _y(parent)
    path = f"M {x} {y} V {end_y}"
    if x != end_x:
        bend, middle = end_y - _ROW, end_y - _ROW // 2
        path = f"M {x} {y} V {bend} C {x} {middle}, {end_x} {middle}, {end_x} {end_y}"
    return f'<path d="{path}" fill="none" stroke="{_tint(child.column, color)}" stroke-width="2"/>'


def _open_line(child: GraphNode, rows: int, color: bool) -> str:
    """Down the child's column to the end of a drawing that does not show its parent."""
    x, y = _x(child), _y(child)
    end = _MARGIN + rows * _ROW - _ROW // 3
    tint = _tint(child.column, color)
    return f'<path d="M {x} {y} V {end}" fill="none" stroke="{tint}" stroke-width="2" opacity="0.5"/>'


def _left_out(count: int, left: int, rows: int) -> str:
    y = _MARGIN + rows * _ROW + 4
    return f'<text x="{left}" y="{y}" fill="currentColor" opacity="0.6">… {count:,} older ones</text>'


def _text(node: GraphNode, labels: Sequence[str], left: int, color: bool) -> str:
    shown = []
    for label in labels:
        italic = ' font-style="italic"' if label.startswith(_TAG) else ""
        shown.append(
            f'<tspan font-weight="bold"{italic} fill="{_tint(node.column, color)}">'
            f"{escape(printable(label))}</tspan>"
        )
    refs = f" ({', '.join(shown)})" if shown else ""
    name, message = encode(node.info.id)[:8], escape(short_message(node.info.message))
    return (
        f'<text x="{left}" y="{_y(node) + 4}" fill="currentColor">'
        f'<tspan opacity="0.6">{name}</tspan>{refs} {message}</text>'
    )
