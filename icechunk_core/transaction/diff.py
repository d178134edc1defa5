"""What changed between two snapshots, or in a session, by path (FORMAT.md, section 17.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from attrs import field, frozen

from icechunk_core.format.snapshot import NodeTable
from icechunk_core.format.transaction_log import TransactionLog
from icechunk_core.html import fold, page, shortened, text
from icechunk_core.html import table as table_html
from icechunk_core.transaction.change_set import ChangeSet
from icechunk_core.transaction.log_builder import build_transaction_log, sorted_coords

__all__ = ["Diff", "build_diff", "status_diff"]

_SHOWN_CHUNKS = 10
_NO_SNAPSHOT = bytes(12)


def _comparable(chunks: Mapping[str, npt.NDArray[np.uint32]]) -> dict[str, tuple[tuple[int, ...], bytes]]:
    return {path: (table.shape, table.tobytes()) for path, table in chunks.items()}


@frozen(repr=False)
class Diff:
    """Changes by path.

    Attributes
    ----------
    new_groups, new_arrays, deleted_groups, deleted_arrays
        Paths of nodes that were made or deleted. A node that was replaced is in both.
    updated_groups, updated_arrays
        Paths of nodes whose ``zarr.json`` changed.
    moved_nodes
        Pairs (old path, new path), commit by commit, the newest commit first.
    """

    new_groups: set[str] = field(factory=set)
    new_arrays: set[str] = field(factory=set)
    deleted_groups: set[str] = field(factory=set)
    deleted_arrays: set[str] = field(factory=set)
    updated_groups: set[str] = field(factory=set)
    updated_arrays: set[str] = field(factory=set)
    moved_nodes: list[tuple[str, str]] = field(factory=list)
    # Coordinate tables; they may have millions of rows.
    _chunks: Mapping[str, npt.NDArray[np.uint32]] = field(factory=dict, eq=_comparable)

    @property
    def updated_chunks(self) -> dict[str, list[list[int]]]:
        """Path of an array to the coordinates of its chunks that were written or deleted, sorted."""
        return {path: table.tolist() for path, table in self._chunks.items()}

    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not any(paths for _, paths in self._sections()) and not self._chunks and not self.moved_nodes

    def _sections(self) -> Iterator[tuple[str, set[str]]]:
        yield "Groups created", self.new_groups
        yield "Arrays created", self.new_arrays
        yield "Group definitions updated", self.updated_groups
        yield "Array definitions updated", self.updated_arrays
        yield "Groups deleted", self.deleted_groups
        yield "Arrays deleted", self.deleted_arrays

    def _parts(self) -> Iterator[tuple[str, list[str]]]:
        for title, paths in self._sections():
            if paths:
                yield title, sorted(paths)
        if self._chunks:
            lines = []
            for path, table in sorted(self._chunks.items()):
                lines.append(f"{path}:")
                lines += [f"    {coord}" for coord in table[:_SHOWN_CHUNKS].tolist()]
                if len(table) > _SHOWN_CHUNKS:
                    lines.append(f"    ... {len(table) - _SHOWN_CHUNKS} more")
            yield "Chunks updated", lines
        if self.moved_nodes:
            yield "Nodes moved/renamed", [f"{source} -> {target}" for source, target in self.moved_nodes]

    def __repr__(self) -> str:
        return "\n".join(
            f"{title}:\n" + "".join(f"    {line}\n" for line in lines) for title, lines in self._parts()
        )

    def _repr_html_(self) -> str:
        parts = [
            _fold(title, len(paths), _lines(sorted(paths))) for title, paths in self._sections() if paths
        ]
        if self._chunks:
            shown = sorted(self._chunks.items())[:_SHOWN_PATHS]
            rows = [[path, f"{len(coords):,}", _extent(coords)] for path, coords in shown]
            body = table_html(["array", "chunks", "between"], rows) + _more(len(self._chunks) - len(shown))
            parts.append(_fold("Chunks updated", sum(map(len, self._chunks.values())), body))
        if self.moved_nodes:
            moves = [f"{source} → {target}" for source, target in self.moved_nodes]
            parts.append(_fold("Nodes moved/renamed", len(moves), _lines(moves)))
        return page("Diff", *(parts or ["<div class='icck-note'>No changes</div>"]))


_SHOWN_PATHS = 100
_SIGNS = {"created": ("+", "#2e9e44"), "deleted": ("−", "#cc4b4b")}


def _fold(title: str, count: int, body: str) -> str:
    sign, color = next((both for word, both in _SIGNS.items() if word in title), ("~", "#c08020"))
    mark = f"<b style='color:{color}'>{sign}</b>"
    return fold(f"{mark} {text(title)} <span class='icck-mute'>{count:,}</span>", body, opened=True)


def _lines(paths: Sequence[str]) -> str:
    shown = [f"<div class='icck-code'>{text(shortened(path, 300))}</div>" for path in paths[:_SHOWN_PATHS]]
    return "".join(shown) + _more(len(paths) - _SHOWN_PATHS)


def _more(count: int) -> str:
    return f"<div class='icck-note'>… {count:,} more</div>" if count > 0 else ""


def _extent(coords: npt.NDArray[np.uint32]) -> str:
    """The smallest box around coordinates, as ranges of chunks along each dimension."""
    if not len(coords) or not coords.shape[1]:
        return ""
    ends = zip(coords.min(axis=0).tolist(), coords.max(axis=0).tolist(), strict=True)
    return ", ".join(str(low) if low == high else f"{low}–{high}" for low, high in ends)


def build_diff(logs: Sequence[TransactionLog], older: NodeTable, newer: NodeTable) -> Diff:
    """The union of transaction logs, translated from node ids to paths.

    Parameters
    ----------
    logs
        The logs of all snapshots from the newer one back to, but without, the older one: newest first.
        Logs of pruned ancestors belong in it too.
    older, newer
        The nodes of both snapshots. Where a node has a path in both, the newer one counts; nodes that
        are in neither (made and deleted in between) are left out.
    """

    def paths(node_ids: Iterable[bytes]) -> set[str]:
        nodes = (newer.by_id(node_id) or older.by_id(node_id) for node_id in node_ids)
        return {node.path for node in nodes if node is not None}

    def every(part: str) -> set[str]:
        return paths(set().union(*(getattr(log, part) for log in logs)))

    return Diff(
        new_groups=every("new_groups"),
        new_arrays=every("new_arrays"),
        deleted_groups=every("deleted_groups"),
        deleted_arrays=every("deleted_arrays"),
        updated_groups=every("updated_groups"),
        updated_arrays=every("updated_arrays"),
        moved_nodes=[(move.source, move.target) for log in logs for move in log.moves or ()],
        chunks=dict(sorted(_updated_chunks(logs, older, newer))),
    )


def _updated_chunks(
    logs: Sequence[TransactionLog], older: NodeTable, newer: NodeTable
) -> Iterator[tuple[str, npt.NDArray[np.uint32]]]:
    tables: dict[bytes, list[npt.NDArray[np.uint32]]] = {}
    for log in logs:
        for node_id, table in log.updated_chunks.items():
            tables.setdefault(node_id, []).append(table)
    for node_id, parts in tables.items():
        node = newer.by_id(node_id) or older.by_id(node_id)
        if node is None:
            continue
        filled = [part for part in parts if len(part)]
        if len(filled) > 1 and filled[0].shape[1]:
            yield node.path, np.unique(np.concatenate(filled), axis=0)
        elif filled:
            yield node.path, filled[0]
        else:
            yield node.path, sorted_coords(())


def status_diff(changes: ChangeSet, base: NodeTable) -> Diff:
    """What a session changed and has not committed."""
    log = build_transaction_log(changes, _NO_SNAPSHOT)
    touched = [
        *changes.created.values(),
        *changes.updated.values(),
        *(m.target for m in changes.moved.values()),
    ]
    nodes = (changes.node(path, base) for path in touched)
    return build_diff([log], base, NodeTable.from_nodes(node for node in nodes if node is not None))
