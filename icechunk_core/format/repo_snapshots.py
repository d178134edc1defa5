"""The snapshots that a repository knows (FORMAT.md, section 6.5, table SnapshotInfo)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from attrs import frozen

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import Corrupt, FormatError
from icechunk_core.format import _flat_builder as flat
from icechunk_core.format import base32, flexbuffers
from icechunk_core.format._flat_columns import MIN_COPIED, JoinedTables, TableVector, join_tables
from icechunk_core.format._flat_reader import FlatBuffer
from icechunk_core.format._snapshot_columns import (
    ID_SIZE,
    ID_TYPE,
    NO_PARENT,
    SnapshotColumns,
    SnapshotInfo,
    SnapshotOutline,
    SnapshotOutlines,
    decode_metadata,
)
from icechunk_core.format.layout import REPO_KEY

__all__ = [
    "EncodedSnapshots",
    "SnapshotBlock",
    "SnapshotInfo",
    "SnapshotOutline",
    "SnapshotOutlines",
    "SnapshotTable",
    "decode_metadata",
    "metadata_tables",
]

_PARENT_SLOT = 1
# Lineages are decoded in blocks that grow, so that the first entries come at once and many come cheaply.
_FIRST_BLOCK = 4
_LARGEST_BLOCK = 1024
_FEW = 8


def metadata_tables(metadata: dict[str, Any]) -> list[flat.Table]:
    """The vector of MetadataItem for some values, in name order."""
    items = sorted(metadata.items(), key=lambda item: item[0].encode("utf-8"))
    return [flat.Table(key, flexbuffers.encode(value)) for key, value in items]


class SnapshotBlock(Sequence[SnapshotInfo]):
    """Some entries of a history, the encoded ones of which are decoded together when one is looked at."""

    __slots__ = ("_columns", "_entries", "_infos")

    def __init__(self, columns: SnapshotColumns | None, entries: list[int | SnapshotInfo]) -> None:
        self._columns = columns
        self._entries = entries  # rows of the columns, or what is decoded already
        self._infos: list[SnapshotInfo] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, place: int) -> SnapshotInfo: ...

    @overload
    def __getitem__(self, place: slice) -> SnapshotBlock: ...

    def __getitem__(self, place: int | slice) -> SnapshotInfo | SnapshotBlock:
        """An entry; `Corrupt` if it is damaged, whatever the others are."""
        if isinstance(place, slice):
            return SnapshotBlock(self._columns, self._entries[place])
        if self._infos is None:
            try:
                self._infos = self._decoded()
            except Corrupt:
                entry = self._entries[place]
                assert self._columns is not None
                return self._columns.info(entry) if isinstance(entry, int) else entry
        return self._infos[place]

    def _decoded(self) -> list[SnapshotInfo]:
        rows = [entry for entry in self._entries if isinstance(entry, int)]
        decoded = [] if self._columns is None else self._columns.infos(rows)
        if len(decoded) == len(self._entries):
            return decoded
        each = iter(decoded)
        return [next(each) if isinstance(entry, int) else entry for entry in self._entries]


class SnapshotTable:
    """All snapshots of a repository, by id. Immutable; decoded only where looked at.

    >>> root = SnapshotInfo(bytes(12), None, 0, "root")
    >>> table = SnapshotTable.from_infos([root]).added(SnapshotInfo(b"b" * 12, root.id, 1, "next"))
    >>> len(table), table.parent_of(b"b" * 12) == root.id
    (2, True)
    """

    __slots__ = ("_columns", "_fresh")

    def __init__(self, columns: SnapshotColumns | None, fresh: dict[bytes, SnapshotInfo]) -> None:
        # Use `from_infos`; `fresh` is what is not in `columns`, or replaces a row of it.
        self._columns = columns
        self._fresh = fresh

    @classmethod
    def from_infos(cls, infos: Iterable[SnapshotInfo]) -> SnapshotTable:
        """A table of these snapshots, in any order; of equal ids the last counts."""
        return cls(None, {info.id: info for info in infos})

    @classmethod
    def from_tables(
        cls, data: bytes | bytearray, positions: npt.NDArray[np.int64], *, name: str
    ) -> SnapshotTable:
        """A table over the SnapshotInfo tables at these positions of a buffer; raises `Corrupt`."""
        return cls(SnapshotColumns.read(data, positions, name), {})

    def get(self, snapshot_id: bytes) -> SnapshotInfo | None:
        """What is known about a snapshot, None if it is not in the table."""
        info = self._fresh.get(snapshot_id)
        if info is None and self._columns is not None:
            row = self._columns.row(snapshot_id)
            return None if row < 0 else self._columns.info(row)
        return info

    def parent_of(self, snapshot_id: bytes) -> bytes | None:
        """The parent of a snapshot; None for the root, and for what is not in the table."""
        info = self._fresh.get(snapshot_id)
        if info is not None:
            return info.parent_id
        row = -1 if self._columns is None else self._columns.row(snapshot_id)
        return None if self._columns is None or row < 0 else self._columns.parent_id(row)

    def lineage(self, snapshot_id: bytes) -> Iterator[SnapshotBlock]:
        """A snapshot and its ancestors, in blocks that are decoded when one of their entries is looked at.

        Nothing if the snapshot is not in the table.

        Raises
        ------
        Corrupt
            When it comes to a parent that is not in the table, or to one for the second time.
        """
        waiting: list[int | SnapshotInfo] = []
        size = _FIRST_BLOCK
        for entry in self._walk(snapshot_id):
            waiting.append(entry)
            if len(waiting) >= size:
                yield SnapshotBlock(self._columns, waiting)
                waiting = []
                size = min(4 * size, _LARGEST_BLOCK)
        if waiting:
            yield SnapshotBlock(self._columns, waiting)

    def outlines(self, snapshot_id: bytes | None = None) -> SnapshotOutlines:
        """Of a snapshot and its ancestors, or of all snapshots in id order; raises as `lineage`."""
        columns = self._columns
        if columns is None or self._fresh:
            infos = self if snapshot_id is None else chain.from_iterable(self.lineage(snapshot_id))
            return SnapshotOutlines.of(infos)
        if snapshot_id is not None:
            return columns.outlines([row for row in self._walk(snapshot_id) if isinstance(row, int)])
        return columns.outlines(columns.rows())

    def metadata(self) -> list[dict[str, Any]]:
        """The metadata of all snapshots, in id order."""
        columns = self._columns
        if columns is None or self._fresh:
            return [dict(info.metadata) for info in self]
        return columns.metadata(columns.rows())

    def _walk(self, snapshot_id: bytes) -> Iterator[int | SnapshotInfo]:
        """A snapshot and its ancestors: rows of the encoded ones, others as they are."""
        columns, fresh = self._columns, self._fresh
        parents = [] if columns is None else columns.parents.tolist()
        replaced = set() if columns is None else {columns.row(key) for key in fresh}
        current: bytes | None = snapshot_id
        row, child = -1, None
        for _ in range(len(self)):
            if row < 0:
                # By id until an encoded row is met, whose ancestors are found by row.
                assert current is not None
                info = fresh.get(current)
                if info is not None:
                    yield info
                    child, current = current, info.parent_id
                    if current is None:
                        return
                    continue
                row = -1 if columns is None else columns.row(current)
                if row < 0:
                    break
            assert columns is not None
            yield row
            above = parents[row]
            if above < 0:
                return
            if above in replaced:
                child, current, row = columns.id(row), columns.id(above), -1
            else:
                row = above
        if child is not None and current is not None:
            problem = "is in a cycle" if current in self else "is missing"
            raise Corrupt(
                f"parent {base32.encode(current)} of snapshot {base32.encode(child)} {problem}",
                object_name=REPO_KEY,
            )

    def added(self, info: SnapshotInfo) -> SnapshotTable:
        """A table with one more snapshot, which replaces one with the same id."""
        return SnapshotTable(self._columns, {**self._fresh, info.id: info})

    def ids(self) -> list[bytes]:
        """All ids, in order."""
        old = [] if self._columns is None else self._columns.all_ids()
        return sorted({*old, *self._fresh})

    def at_row(self, row: int) -> bytes:
        """The id in a row of the file that the table was read from; raises `Corrupt` if there is none."""
        columns = self._columns
        if columns is None or not 0 <= row < len(columns.ids):
            name = "" if columns is None else columns.name
            raise Corrupt(
                f"a ref points to row {row} of the snapshots, which does not exist", object_name=name
            )
        return columns.id(row)

    def __contains__(self, snapshot_id: object) -> bool:
        if not isinstance(snapshot_id, bytes):
            return False
        return snapshot_id in self._fresh or (
            self._columns is not None and self._columns.row(snapshot_id) >= 0
        )

    def __len__(self) -> int:
        if self._columns is None:
            return len(self._fresh)
        return len(self._columns.ids) + sum(self._columns.row(id) < 0 for id in self._fresh)

    def __iter__(self) -> Iterator[SnapshotInfo]:
        columns, found = self._columns, self._fresh
        if columns is not None:
            found = {info.id: info for info in columns.infos(range(len(columns)))} | found
        for snapshot_id in sorted(found):
            yield found[snapshot_id]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SnapshotTable):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<SnapshotTable of {len(self)} snapshots>"

    def __reduce__(self) -> Any:
        return SnapshotTable.from_infos, (list(self),)

    def encode(self) -> EncodedSnapshots:
        """The table as a FlatBuffers vector.

        Raises
        ------
        FormatError
            A parent is not in the table.
        """
        return _encode(self._columns, self._fresh)


@frozen
class EncodedSnapshots:
    """A SnapshotTable as a FlatBuffers vector, which is complete once `table` was called.

    Attributes
    ----------
    joined
        For the field ``Repo.snapshots``.
    ids, parents
        The ids in order, and the rows of the parents.
    parent_slots
        Where the rows of the parents are from the vector's first byte; -1 where absent, which means row 0.
    parents_are_open
        Whether those rows have yet to be written, in all of these places.
    """

    joined: JoinedTables
    ids: npt.NDArray[np.bytes_]
    parents: npt.NDArray[np.int64]
    parent_slots: npt.NDArray[np.int64]
    parents_are_open: bool = False

    def row(self, snapshot_id: bytes) -> int:
        """The row of a snapshot.

        Raises
        ------
        FormatError
            It is not in the table.
        """
        return _row(self.ids, snapshot_id)

    def table(self, payload: bytearray, at: int) -> SnapshotTable:
        """The table, backed by the payload with the vector at ``at``: to encode it again costs little."""
        slots = self.parent_slots + at
        if self.parents_are_open:
            np.frombuffer(payload, "<i4", len(payload) >> 2)[slots >> 2] = self.parents
        else:
            slots[self.parent_slots < 0] = -1
        joined = self.joined
        columns = SnapshotColumns(
            payload, REPO_KEY, joined.positions + at, slots, self.ids, self.parents, None,
            joined.extent.moved(at), True if self.parents_are_open else None,
        )  # fmt: skip
        return SnapshotTable(columns, {})


def _row(ids: npt.NDArray[np.bytes_], snapshot_id: bytes) -> int:
    wanted = np.array(snapshot_id, ID_TYPE)
    at = int(ids.searchsorted(wanted))
    if len(snapshot_id) != ID_SIZE or at == len(ids) or ids[at] != wanted:
        raise FormatError(
            f"snapshot {base32.encode(snapshot_id)} is not in the repository",
            kind=ErrorKind.SERIALIZATION,
        )
    return at


def _info_table(info: SnapshotInfo, parent: int) -> flat.Table:
    logs = info.pruned_ancestor_tx_logs
    return flat.Table(
        flat.struct(info.id),
        flat.i32(parent),
        flat.u64(info.flushed_at),
        info.message,
        metadata_tables(info.metadata),
        flat.Vector(b"".join(logs), len(logs)) if logs else None,
    )


def _encode(columns: SnapshotColumns | None, fresh: dict[bytes, SnapshotInfo]) -> EncodedSnapshots:
    """Copy the encoded rows as one block, with new parent rows, and write the others."""
    if columns is None or len(columns) < MIN_COPIED or not columns.is_worth_copying():
        if columns is not None:
            fresh = {info.id: info for info in columns.infos(range(len(columns)))} | fresh
        ids = np.array(sorted(fresh), ID_TYPE)
        tables, parents = _fresh_tables(fresh, ids)
        joined = join_tables(b"", np.full(len(ids), -1, np.int64), tables)
        return EncodedSnapshots(joined, ids, parents, _parent_slots(joined, joined.positions))
    if len(fresh) == 1 and columns.has_plain_parents():
        (info,) = fresh.values()
        if columns.row(info.id) < 0:
            return _with_one_more(columns, info)
    return _spliced(columns, fresh)


def _with_one_more(columns: SnapshotColumns, info: SnapshotInfo) -> EncodedSnapshots:
    """As `_spliced`, for what a commit does: the rows from one on move up by one, nothing else changes."""
    extent = columns.stretch()
    start = extent.aligned_start
    at = int(columns.ids.searchsorted(np.array(info.id, ID_TYPE)))
    ids = _with_item(columns.ids, at, np.array(info.id, ID_TYPE))
    parent = NO_PARENT if info.parent_id is None else _row(ids, info.parent_id)
    parents = _with_item(columns.parents + (columns.parents >= at), at, parent)
    inside = _with_item(columns.positions - start, at, -1)
    block = memoryview(columns.data)[start : extent.stop]
    joined = join_tables(block, inside, [_info_table(info, parent)], extent.used)
    slot = _parent_slots(joined, joined.positions[at : at + 1])[0]
    slots = _with_item(columns.parent_slots + (joined.extent.start - start), at, slot)
    return EncodedSnapshots(joined, ids, parents, slots, parents_are_open=True)


def _with_item(array: npt.NDArray[Any], at: int, item: Any) -> npt.NDArray[Any]:
    """An array with one more item; much faster than ``np.insert``, which is general."""
    result = np.empty(len(array) + 1, array.dtype)
    result[:at] = array[:at]
    result[at] = item
    result[at + 1 :] = array[at:]
    return result


def _spliced(columns: SnapshotColumns, fresh: dict[bytes, SnapshotInfo]) -> EncodedSnapshots:
    extent = columns.stretch()
    start = extent.aligned_start
    block = bytearray(memoryview(columns.data)[start : extent.stop])
    ids, new_rows, kept = _merge_ids(columns, fresh)
    moved = np.where(columns.parents < 0, NO_PARENT, new_rows[columns.parents])
    # An absent parent reads as row 0; any other row needs a new table.
    rewritten = kept & (columns.parent_slots < 0) & (moved != 0)
    if rewritten.any():
        fresh = fresh | {info.id: info for info in columns.infos(np.flatnonzero(rewritten).tolist())}
        kept &= ~rewritten
    # Nearly always all rows are kept, and all say where their parents are.
    rows: Any = slice(None) if kept.all() else kept
    patched: Any = rows if columns.parent_slots.min() >= 0 else kept & (columns.parent_slots >= 0)
    _store_i32(block, columns.parent_slots[patched] - start, moved[patched])
    tables, new_parents = _fresh_tables(fresh, ids)
    inside = np.full(len(ids), -1, np.int64)
    inside[new_rows[rows]] = columns.positions[rows] - start
    joined = join_tables(block, inside, tables, extent.used)
    is_new = np.flatnonzero(inside < 0)
    parents, slots = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
    parents[new_rows[rows]] = moved[rows]
    parents[is_new] = new_parents
    old_slots = columns.parent_slots[rows]
    slots[new_rows[rows]] = np.where(old_slots < 0, -1, old_slots + (joined.extent.start - start))
    slots[is_new] = _parent_slots(joined, joined.positions[is_new])
    return EncodedSnapshots(joined, ids, parents, slots)


def _parent_slots(joined: JoinedTables, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where the fresh tables at these positions keep their parents' rows; they all have them."""
    inside = positions - joined.fresh_at
    if len(inside) < MIN_COPIED:
        buffer = FlatBuffer(joined.fresh, name=REPO_KEY)
        found = [buffer.table_at(position).place_of(_PARENT_SLOT) for position in inside.tolist()]
        return np.array(found, np.int64) + joined.fresh_at
    tables = TableVector(joined.fresh, inside, REPO_KEY)
    return tables.field_positions(_PARENT_SLOT, 4) + joined.fresh_at


def _fresh_tables(
    fresh: dict[bytes, SnapshotInfo], ids: npt.NDArray[np.bytes_]
) -> tuple[list[flat.Table], npt.NDArray[np.int64]]:
    """Tables of the infos that are written anew, in id order, and the rows of their parents."""
    infos = [info for _, info in sorted(fresh.items())]
    parents = [NO_PARENT if info.parent_id is None else _row(ids, info.parent_id) for info in infos]
    return list(map(_info_table, infos, parents)), np.array(parents, np.int64)


def _merge_ids(
    columns: SnapshotColumns, fresh: dict[bytes, SnapshotInfo]
) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """All ids in order; the new row of each old row; and which old rows are not replaced."""
    old = columns.ids if columns.order is None else columns.ids[columns.order]
    kept = np.ones(len(old), np.bool_)
    added = []
    for snapshot_id in sorted(fresh):
        row = columns.row(snapshot_id)
        if row < 0:
            added.append(snapshot_id)
        else:
            kept[row] = False
    at = np.searchsorted(old, np.array(added, ID_TYPE))
    ids = np.insert(old, at, np.array(added, ID_TYPE))
    new_ranks = np.arange(len(old))
    for place in at.tolist() if len(at) < _FEW else ():
        new_ranks[place:] += 1
    if len(at) >= _FEW:
        new_ranks += np.searchsorted(at, new_ranks, side="right")
    if columns.order is None:
        return ids, new_ranks, kept
    new_rows = np.empty_like(new_ranks)
    new_rows[columns.order] = new_ranks
    return ids, new_rows, kept


def _store_i32(block: bytearray, positions: npt.NDArray[np.int64], values: npt.NDArray[np.int64]) -> None:
    if not (positions & 3).any():
        words = np.frombuffer(block, "<i4", len(block) >> 2)
        words[positions >> 2] = values
        return
    octets = np.frombuffer(block, np.uint8)
    octets[positions[:, None] + np.arange(4)] = values.astype("<i4")[:, None].view(np.uint8)
