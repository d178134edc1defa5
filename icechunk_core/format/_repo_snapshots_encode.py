"""Writing the snapshots of a repo info file: what is encoded already is copied (FORMAT.md, section 6.5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import frozen

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import FormatError
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
)
from icechunk_core.format.layout import REPO_KEY

__all__ = ["EncodedSnapshots", "encode_snapshots", "metadata_tables"]

_PARENT_SLOT = 1
_FEW = 8


def metadata_tables(metadata: dict[str, Any]) -> list[flat.Table]:
    """The vector of MetadataItem for some values, in name order."""
    items = sorted(metadata.items(), key=lambda item: item[0].encode("utf-8"))
    return [flat.Table(key, flexbuffers.encode(value)) for key, value in items]


@frozen
class EncodedSnapshots:
    """A SnapshotTable as a FlatBuffers vector, which is complete once `columns` was called.

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

    def columns(self, payload: bytearray, at: int) -> SnapshotColumns:
        """The rows in the payload with the vector at ``at``: to encode them again costs little."""
        slots = self.parent_slots + at
        if self.parents_are_open:
            np.frombuffer(payload, "<i4", len(payload) >> 2)[slots >> 2] = self.parents
        else:
            slots[self.parent_slots < 0] = -1
        joined = self.joined
        return SnapshotColumns(
            payload, REPO_KEY, joined.positions + at, slots, self.ids, self.parents, None,
            joined.extent.moved(at), True if self.parents_are_open else None,
        )  # fmt: skip


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


def encode_snapshots(columns: SnapshotColumns | None, fresh: dict[bytes, SnapshotInfo]) -> EncodedSnapshots:
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
