"""The history of several branches as a drawing in text, newest snapshot first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import TypeAlias

from attrs import frozen

from icechunk_core.format.base32 import encode, encode_many
from icechunk_core.format.repo_info import SnapshotInfo, SnapshotOutline, SnapshotOutlines

__all__ = ["Entry", "GraphNode", "layout_graph", "newest_first", "printable", "render_graph", "short_message"]

Entry: TypeAlias = SnapshotInfo | SnapshotOutline

_COLORS = (32, 35, 36, 33, 34, 31)
_ID_LENGTH = 8
_MESSAGE_LENGTH = 72


def render_graph(
    entries: Iterable[Entry],
    refs: Mapping[bytes, Sequence[str]],
    *,
    color: bool = False,
    trunk: str = "main",
) -> str:
    """Draw snapshots and their descent.

    Parameters
    ----------
    entries
        The snapshots to draw, in any order. A parent that is not among them ends its line.
    refs
        Snapshot id to the labels (names of branches and tags) shown beside it.
    color
        Use ANSI colours, one per line of descent.
    trunk
        The label whose line of descent is drawn leftmost.
    """
    outlines = entries if isinstance(entries, SnapshotOutlines) else SnapshotOutlines.of(entries)
    if _is_line(outlines, refs, trunk):
        return _line_text(outlines, refs, color)
    infos: dict[bytes, Entry] = {info.id: info for info in outlines}
    lanes = _lanes_for(infos, refs, trunk)
    lines: list[str] = []
    for info in newest_first(infos.values()):
        column, joined = lanes.arrive(info.id)
        lines.append(f"{lanes.node_row(column, joined, color)}{_label(info, refs.get(info.id, ()), color)}")
        lanes.leave(column, joined, info.parent_id if info.parent_id in infos else None)
        lines.append(lanes.line_row(color))
    return "\n".join(line.rstrip() for line in lines[:-1])


def _is_line(entries: SnapshotOutlines, refs: Mapping[bytes, Sequence[str]], trunk: str) -> bool:
    """Whether each entry is the parent of the one before it, and all of them are drawn leftmost."""
    ids, parents = entries.ids, entries.parent_ids
    every = set(ids)
    if not ids or len(every) < len(ids) or parents[-1] in every:
        return False
    # What the trunk's label is beside may be further down, with the leftmost column kept free above it.
    tip = next((one for one, labels in refs.items() if trunk in labels and one in every), ids[0])
    return tip == ids[0] and parents[:-1] == ids[1:]


def _line_text(entries: SnapshotOutlines, refs: Mapping[bytes, Sequence[str]], color: bool) -> str:
    """`render_graph` of one line of descent: what most histories are, and long ones."""
    node, bar = _tinted("●", 0, color), _tinted("│", 0, color)
    before, after = (f"{node} \x1b[2m", "\x1b[0m") if color else (f"{node} ", "")
    names = encode_many(b"".join(entries.ids), _ID_LENGTH)
    lines = [
        f"{before}{name}{after} {short_message(message)}".rstrip()
        for name, message in zip(names, entries.messages, strict=True)
    ]
    for row, one in enumerate(entries.ids):
        if one in refs:
            lines[row] = f"{node} {_label(entries[row], refs[one], color)}".rstrip()
    return f"\n{bar}\n".join(lines)


@frozen
class GraphNode:
    """A snapshot's place in a drawing: its row from the top and its column from the left."""

    info: Entry
    row: int
    column: int


def layout_graph(
    entries: Iterable[Entry], refs: Mapping[bytes, Sequence[str]], *, trunk: str = "main"
) -> list[GraphNode]:
    """Where `render_graph` draws each snapshot, from the top down."""
    infos = {info.id: info for info in entries}
    lanes = _lanes_for(infos, refs, trunk)
    nodes: list[GraphNode] = []
    for row, info in enumerate(newest_first(infos.values())):
        column, joined = lanes.arrive(info.id)
        nodes.append(GraphNode(info, row, column))
        lanes.leave(column, joined, info.parent_id if info.parent_id in infos else None)
    return nodes


def newest_first(infos: Iterable[Entry]) -> Iterator[Entry]:
    """Snapshots by time, newest first, but never a parent before its children."""
    table = {info.id: info for info in infos}
    children = dict.fromkeys(table, 0)
    for info in table.values():
        if info.parent_id in children:
            children[info.parent_id] += 1
    ready: list[tuple[int, bytes]] = []
    for info in table.values():
        if not children[info.id]:
            heappush(ready, (-info.flushed_at, info.id))
    while ready:
        info = table[heappop(ready)[1]]
        yield info
        parent = info.parent_id
        if parent in children:
            children[parent] -= 1
            if not children[parent]:
                heappush(ready, (-table[parent].flushed_at, parent))


def _lanes_for(infos: Mapping[bytes, Entry], refs: Mapping[bytes, Sequence[str]], trunk: str) -> _Lanes:
    return _Lanes(next((id for id, labels in refs.items() if trunk in labels and id in infos), None))


class _Lanes:
    """Columns of the drawing: each waits for the next snapshot of its line of descent."""

    def __init__(self, first: bytes | None) -> None:
        self._waiting: list[bytes | None] = [] if first is None else [first]
        self._reserved = first is not None

    def arrive(self, snapshot_id: bytes) -> tuple[int, list[int]]:
        """The column of a snapshot, and the other columns that end in it."""
        columns = [index for index, waiting in enumerate(self._waiting) if waiting == snapshot_id]
        if not columns:
            columns = [index for index, waiting in enumerate(self._waiting) if waiting is None][:1]
        if not columns:
            columns = [len(self._waiting)]
            self._waiting.append(None)
        self._waiting[columns[0]] = snapshot_id
        if columns[0] == 0:
            self._reserved = False
        return columns[0], columns[1:]

    def leave(self, column: int, joined: list[int], parent: bytes | None) -> None:
        """Go on to the parent, if it is drawn."""
        for index in joined:
            self._waiting[index] = None
        self._waiting[column] = parent
        while self._waiting and self._waiting[-1] is None:
            self._waiting.pop()

    def _cell(self, index: int) -> str:
        busy = self._waiting[index] is not None and not (index == 0 and self._reserved)
        return "│" if busy else " "

    def node_row(self, column: int, joined: list[int], color: bool) -> str:
        end = joined[-1] if joined else column
        cells = []
        for index in range(len(self._waiting)):
            cell, tint = self._cell(index), index
            if index == column:
                cell = "●"
            elif index in joined:
                cell = "╯" if index == end else "┴"
            elif column < index < end:
                cell = "┼" if cell == "│" else "─"
            cells.append(
                _tinted(cell, tint, color) + (_tinted("─", end, color) if column <= index < end else " ")
            )
        return "".join(cells)

    def line_row(self, color: bool) -> str:
        return " ".join(_tinted(self._cell(index), index, color) for index in range(len(self._waiting)))


def _tinted(text: str, column: int, color: bool) -> str:
    return f"\x1b[{_COLORS[column % len(_COLORS)]}m{text}\x1b[0m" if color and text.strip() else text


def printable(text: str) -> str:
    """Text from storage made safe to show: it must not be able to drive the terminal or break a document."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " for letter in text)


def short_message(message: str) -> str:
    """The first line of a commit message, cut where it gets long."""
    if len(message) <= _MESSAGE_LENGTH and message.isprintable():
        return message
    message = next(iter(message.splitlines()), "")
    if len(message) > _MESSAGE_LENGTH:
        message = message[: _MESSAGE_LENGTH - 1] + "…"
    return printable(message)


def _label(info: Entry, labels: Sequence[str], color: bool) -> str:
    name, message = encode(info.id)[:_ID_LENGTH], short_message(info.message)
    shown = ", ".join(printable(label) for label in labels)
    if color:
        name, shown = f"\x1b[2m{name}\x1b[0m", f"\x1b[1m{shown}\x1b[0m"
    return f"{name} ({shown}) {message}" if labels else f"{name} {message}"
