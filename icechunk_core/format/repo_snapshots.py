"""The snapshots that a repository knows (FORMAT.md, section 6.5, table SnapshotInfo)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import define, field, frozen

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import Corrupt, FormatError
from icechunk_core.format import _flat_builder as flat
from icechunk_core.format import base32, flexbuffers
from icechunk_core.format._flat_columns import (
    BYTES,
    MIN_COPIED,
    STRING,
    InlineField,
    Shape,
    SubTables,
    TableVector,
    VectorField,
    join_tables,
)
from icechunk_core.format._flat_reader import FlatBuffer, FlatTable

__all__ = ["SnapshotInfo", "SnapshotTable", "decode_metadata", "metadata_tables"]

_ID_SIZE = 12
_ID_TYPE = "S12"
_NO_PARENT = -1
_DEPTH = 2

METADATA_SHAPE: Shape = {0: STRING, 1: BYTES}
_INFO_SHAPE: Shape = {
    0: InlineField(_ID_SIZE),
    1: InlineField(4),
    2: InlineField(8),
    3: STRING,
    4: SubTables(METADATA_SHAPE),
    5: VectorField(_ID_SIZE),
}
_PARENT_SLOT = 1


@frozen
class SnapshotInfo:
    """What the repo info says about one snapshot.

    Attributes
    ----------
    id, parent_id
        Raw ids; the root has no parent.
    flushed_at
        Commit time in µs since 1970.
    message
        Commit message.
    metadata
        JSON values by name.
    pruned_ancestor_tx_logs
        Ids of the transaction logs of ancestors that were removed, oldest first.
    """

    id: bytes
    parent_id: bytes | None
    flushed_at: int
    message: str
    metadata: dict[str, Any] = field(factory=dict)
    pruned_ancestor_tx_logs: tuple[bytes, ...] = ()


def decode_metadata(tables: list[FlatTable] | None, *, name: str) -> dict[str, Any]:
    """The values of a vector of MetadataItem in FlexBuffers encoding."""
    return {table.string(0): flexbuffers.decode(table.byte_vector(1), name=name) for table in tables or ()}


def metadata_tables(metadata: dict[str, Any]) -> list[flat.Table]:
    """The vector of MetadataItem for some values, in name order."""
    items = sorted(metadata.items(), key=lambda item: item[0].encode("utf-8"))
    return [flat.Table(key, flexbuffers.encode(value)) for key, value in items]


@define(eq=False)
class _Columns:
    """Snapshot infos in the encoded form, rows in file order."""

    data: bytes
    tables: TableVector
    ids: npt.NDArray[np.bytes_]
    parents: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64] | None
    """Rows in id order; None if they are already."""

    @classmethod
    def read(cls, data: bytes, positions: npt.NDArray[np.int64], name: str) -> _Columns:
        tables = TableVector(data, positions, name)
        ids = np.ascontiguousarray(tables.structs(0, _ID_SIZE)).view(_ID_TYPE)[:, 0]
        parents = tables.scalars(1, "<i4").astype(np.int64)
        if np.any((parents < _NO_PARENT) | (parents >= len(ids))):
            tables.fail("parent of a snapshot outside the list")
        _refuse_cycles(parents, tables)
        order = None
        if np.any(ids[1:] <= ids[:-1]):
            order = np.argsort(ids, kind="stable")
            ordered = ids[order]
            if np.any(ordered[1:] == ordered[:-1]):
                tables.fail("a snapshot is listed twice")
        return cls(data, tables, ids, parents, order)

    def row(self, snapshot_id: bytes) -> int:
        """The row of a snapshot, -1 if it is not there."""
        wanted = np.array(snapshot_id, _ID_TYPE)
        at = int(np.searchsorted(self.ids, wanted, sorter=self.order))
        if at == len(self.ids):
            return -1
        row = at if self.order is None else int(self.order[at])
        return row if self.id(row) == snapshot_id else -1

    def id(self, row: int) -> bytes:
        """The id in a row. numpy strips trailing NULs of bytes, which ids may have."""
        return bytes(self.ids[row]).ljust(_ID_SIZE, b"\0")

    def parent_id(self, row: int) -> bytes | None:
        parent = int(self.parents[row])
        return None if parent < 0 else self.id(parent)

    def info(self, row: int) -> SnapshotInfo:
        name = self.tables.name
        table = FlatBuffer(self.data, name=name).table_at(int(self.tables.positions[row]), _DEPTH)
        return SnapshotInfo(
            id=self.id(row),
            parent_id=self.parent_id(row),
            flushed_at=table.timestamp(2),
            message=table.string(3),
            metadata=decode_metadata(table.optional_tables(4), name=name),
            pruned_ancestor_tx_logs=tuple(table.optional_structs(5, _ID_SIZE) or ()),
        )


def _same(info: SnapshotInfo) -> SnapshotInfo:
    return info


def _refuse_cycles(parents: npt.NDArray[np.int64], tables: TableVector) -> None:
    """Follow all parents at once, doubling the distance each time."""
    ahead = parents
    for _ in range(len(parents).bit_length() + 1):
        alive = ahead >= 0
        if not alive.any():
            return
        ahead = np.where(alive, ahead[ahead], _NO_PARENT)
    tables.fail("a snapshot is its own ancestor")


class SnapshotTable:
    """All snapshots of a repository, by id. Immutable; decoded only where looked at.

    >>> root = SnapshotInfo(bytes(12), None, 0, "root")
    >>> table = SnapshotTable.from_infos([root]).added(SnapshotInfo(b"b" * 12, root.id, 1, "next"))
    >>> len(table), table.parent_of(b"b" * 12) == root.id
    (2, True)
    """

    __slots__ = ("_columns", "_fresh")

    def __init__(self, columns: _Columns | None, fresh: dict[bytes, SnapshotInfo]) -> None:
        # Use `from_infos`; `fresh` is what is not in `columns`, or replaces a row of it.
        self._columns = columns
        self._fresh = fresh

    @classmethod
    def from_infos(cls, infos: Iterable[SnapshotInfo]) -> SnapshotTable:
        """A table of these snapshots, in any order; of equal ids the last counts."""
        return cls(None, {info.id: info for info in infos})

    @classmethod
    def from_tables(cls, data: bytes, positions: npt.NDArray[np.int64], *, name: str) -> SnapshotTable:
        """A table over the SnapshotInfo tables at these positions of a buffer; raises `Corrupt`."""
        return cls(_Columns.read(data, positions, name), {})

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

    def lineage(self, snapshot_id: bytes) -> Iterator[Callable[[], SnapshotInfo]]:
        """A snapshot and its ancestors, each decoded when it is called.

        Ends at the root, and at a parent that is not in the table.
        """
        columns, fresh = self._columns, self._fresh
        parents = [] if columns is None else columns.parents.tolist()
        replaced = set() if columns is None else {columns.row(key) for key in fresh}
        current: bytes | None = snapshot_id
        row = -1
        for _ in range(len(self)):
            if row < 0:
                # By id until an encoded row is met, whose ancestors are found by row.
                info = None if current is None else fresh.get(current)
                if info is not None:
                    yield partial(_same, info)
                    current = info.parent_id
                    continue
                row = -1 if columns is None or current is None else columns.row(current)
                if row < 0:
                    return
            assert columns is not None
            yield partial(columns.info, row)
            row = parents[row]
            if row < 0:
                return
            if row in replaced:
                current, row = columns.id(row), -1

    def added(self, info: SnapshotInfo) -> SnapshotTable:
        """A table with one more snapshot, which replaces one with the same id."""
        return SnapshotTable(self._columns, {**self._fresh, info.id: info})

    def ids(self) -> list[bytes]:
        """All ids, in order."""
        old = (
            [] if self._columns is None else [self._columns.id(row) for row in range(len(self._columns.ids))]
        )
        return sorted({*old, *self._fresh})

    def at_row(self, row: int) -> bytes:
        """The id in a row of the file that the table was read from; raises `Corrupt` if there is none."""
        columns = self._columns
        if columns is None or not 0 <= row < len(columns.ids):
            name = "" if columns is None else columns.tables.name
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
        for snapshot_id in self.ids():
            info = self.get(snapshot_id)
            assert info is not None
            yield info

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
    """A SnapshotTable as a FlatBuffers vector.

    Attributes
    ----------
    vector
        For the field ``Repo.snapshots``.
    ids
        Ids by row.
    """

    vector: flat.Prebuilt
    ids: npt.NDArray[np.bytes_]

    def row(self, snapshot_id: bytes) -> int:
        """The row of a snapshot.

        Raises
        ------
        FormatError
            It is not in the table.
        """
        wanted = np.array(snapshot_id, _ID_TYPE)
        at = int(np.searchsorted(self.ids, wanted))
        if len(snapshot_id) != _ID_SIZE or at == len(self.ids) or self.ids[at] != wanted:
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


def _encode(columns: _Columns | None, fresh: dict[bytes, SnapshotInfo]) -> EncodedSnapshots:
    """Copy the encoded rows as one block, with new parent rows, and write the others."""
    start, block = _copyable(columns)
    if columns is None or not block:
        if columns is not None:
            fresh = {info.id: info for info in map(columns.info, range(len(columns.ids)))} | fresh
        ids = np.array(sorted(fresh), _ID_TYPE)
        return EncodedSnapshots(join_tables(b"", np.full(len(ids), -1), _fresh_tables(fresh, ids)), ids)
    ids, new_rows, kept = _merge_ids(columns, fresh)
    parents = np.where(columns.parents < 0, _NO_PARENT, new_rows[columns.parents])
    slots = columns.tables.field_positions(_PARENT_SLOT, 4)
    # An absent parent reads as row 0; any other row needs a new table.
    rewritten = kept & (slots < 0) & (parents != 0)
    fresh = fresh | {info.id: info for info in map(columns.info, np.flatnonzero(rewritten).tolist())}
    kept &= ~rewritten
    inside = np.full(len(ids), -1, np.int64)
    inside[new_rows[kept]] = columns.tables.positions[kept] - start
    patched = kept & (slots >= 0)
    _store_i32(block, slots[patched] - start, parents[patched])
    return EncodedSnapshots(join_tables(block, inside, _fresh_tables(fresh, ids)), ids)


def _fresh_tables(fresh: dict[bytes, SnapshotInfo], ids: npt.NDArray[np.bytes_]) -> list[flat.Table]:
    """Tables of the infos that are written anew, in id order."""
    rows = EncodedSnapshots(flat.Prebuilt(b"", 0), ids)
    return [
        _info_table(info, _NO_PARENT if info.parent_id is None else rows.row(info.parent_id))
        for _, info in sorted(fresh.items())
    ]


def _merge_ids(
    columns: _Columns, fresh: dict[bytes, SnapshotInfo]
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
    at = np.searchsorted(old, np.array(added, _ID_TYPE))
    ids = np.insert(old, at, np.array(added, _ID_TYPE))
    ranks = np.arange(len(old))
    new_ranks = ranks + np.searchsorted(at, ranks, side="right")
    if columns.order is None:
        return ids, new_ranks, kept
    new_rows = np.empty_like(new_ranks)
    new_rows[columns.order] = new_ranks
    return ids, new_rows, kept


def _copyable(columns: _Columns | None) -> tuple[int, bytearray]:
    """A copy of the stretch that has the encoded rows, and where it starts; empty: none."""
    if columns is None or len(columns.ids) < MIN_COPIED:
        return 0, bytearray()
    extent = columns.tables.extent(_INFO_SHAPE)
    if not extent.worth_copying():
        return 0, bytearray()
    return extent.aligned_start, bytearray(columns.data[extent.aligned_start : extent.stop])


def _store_i32(block: bytearray, positions: npt.NDArray[np.int64], values: npt.NDArray[np.int64]) -> None:
    octets = np.frombuffer(block, np.uint8)
    octets[positions[:, None] + np.arange(4)] = values.astype("<i4")[:, None].view(np.uint8)
