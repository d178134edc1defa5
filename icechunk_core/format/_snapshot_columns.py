"""The encoded snapshots of a repo info file, as columns (FORMAT.md, section 6.5, table SnapshotInfo)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
from attrs import define, field, frozen

from icechunk_core.format import flexbuffers
from icechunk_core.format._flat_columns import (
    BYTES,
    STRING,
    Extent,
    InlineField,
    Shape,
    SubTables,
    TableVector,
    VectorField,
)
from icechunk_core.format._flat_reader import FlatBuffer, FlatTable

__all__ = [
    "ID_SIZE",
    "ID_TYPE",
    "NO_PARENT",
    "SnapshotColumns",
    "SnapshotInfo",
    "SnapshotOutline",
    "SnapshotOutlines",
    "decode_metadata",
]

ID_SIZE = 12
ID_TYPE = "S12"
NO_PARENT = -1
_DEPTH = 2
# Fewer rows than this are decoded faster one by one.
_MIN_BATCH = 16

METADATA_SHAPE: Shape = {0: STRING, 1: BYTES}
INFO_SHAPE: Shape = {
    0: InlineField(ID_SIZE),
    1: InlineField(4),
    2: InlineField(8),
    3: STRING,
    4: SubTables(METADATA_SHAPE),
    5: VectorField(ID_SIZE),
}
_PARENT_SLOT = 1
_SHORTEST_NUMBER = 3
_UNREAD = object()


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


class SnapshotOutline(NamedTuple):
    """What a drawing of the history needs of a snapshot; as in `SnapshotInfo`."""

    id: bytes
    parent_id: bytes | None
    flushed_at: int
    message: str


@frozen
class SnapshotOutlines(Sequence[SnapshotOutline]):
    """Outlines as columns: those of a long history take longer to make than to use."""

    ids: list[bytes]
    parent_ids: list[bytes | None]
    times: list[int]
    messages: list[str]

    @classmethod
    def of(cls, infos: Iterable[SnapshotInfo | SnapshotOutline]) -> SnapshotOutlines:
        """The outlines of these snapshots."""
        kept = list(infos)
        return cls(
            [info.id for info in kept],
            [info.parent_id for info in kept],
            [info.flushed_at for info in kept],
            [info.message for info in kept],
        )

    def chosen(self, places: Iterable[int]) -> SnapshotOutlines:
        """Those in some places, in the order of the places."""
        rows = list(places)
        columns = (self.ids, self.parent_ids, self.times, self.messages)
        return SnapshotOutlines(*([column[row] for row in rows] for column in columns))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> SnapshotOutline: ...

    @overload
    def __getitem__(self, place: slice) -> SnapshotOutlines: ...

    def __getitem__(self, place: int | slice) -> SnapshotOutline | SnapshotOutlines:
        found = (self.ids[place], self.parent_ids[place], self.times[place], self.messages[place])
        return SnapshotOutlines(*found) if isinstance(place, slice) else SnapshotOutline(*found)  # type: ignore[arg-type]


def decode_metadata(tables: list[FlatTable] | None, *, name: str) -> dict[str, Any]:
    """The values of a vector of MetadataItem in FlexBuffers encoding."""
    return {table.string(0): flexbuffers.decode(table.byte_vector(1), name=name) for table in tables or ()}


@define(eq=False)
class SnapshotColumns:
    """Snapshot infos in the encoded form, rows in file order.

    Attributes
    ----------
    data, name
        The buffer with the tables, and what errors call it.
    positions
        Where each row's table starts.
    parent_slots
        Where each row keeps the row of its parent; -1 where that field is absent, which means row 0.
    ids, parents
        The ids, and the rows of the parents; `NO_PARENT` for roots.
    order
        Rows in id order; None if they are already.
    extent
        The stretch of the buffer with all tables, if it is known.
    """

    data: bytes | bytearray
    name: str
    positions: npt.NDArray[np.int64]
    parent_slots: npt.NDArray[np.int64]
    ids: npt.NDArray[np.bytes_]
    parents: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64] | None = None
    extent: Extent | None = None
    _has_plain_parents: bool | None = None

    @classmethod
    def read(cls, data: bytes | bytearray, positions: npt.NDArray[np.int64], name: str) -> SnapshotColumns:
        """Look at the tables at these positions of an untrusted buffer; raises `Corrupt`."""
        tables = TableVector(data, positions, name)
        ids = np.ascontiguousarray(tables.structs(0, ID_SIZE)).view(ID_TYPE)[:, 0]
        slots = tables.field_positions(_PARENT_SLOT, 4)
        parents = tables.scalars(_PARENT_SLOT, "<i4").astype(np.int64)
        if np.any((parents < NO_PARENT) | (parents >= len(ids))):
            tables.fail("parent of a snapshot outside the list")
        _refuse_cycles(parents, tables)
        order = None
        if np.any(ids[1:] <= ids[:-1]):
            order = np.argsort(ids, kind="stable")
            ordered = ids[order]
            if np.any(ordered[1:] == ordered[:-1]):
                tables.fail("a snapshot is listed twice")
        return cls(data, name, positions, slots, ids, parents, order)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self) -> npt.NDArray[np.int64]:
        """All rows, in id order."""
        return np.arange(len(self.ids)) if self.order is None else self.order

    def row(self, snapshot_id: bytes) -> int:
        """The row of a snapshot, -1 if it is not there."""
        wanted = np.array(snapshot_id, ID_TYPE)
        at = int(self.ids.searchsorted(wanted, sorter=self.order))
        if at == len(self.ids):
            return -1
        row = at if self.order is None else int(self.order[at])
        return row if self.id(row) == snapshot_id else -1

    def id(self, row: int) -> bytes:
        """The id in a row. numpy strips trailing NULs of bytes, which ids may have."""
        return bytes(self.ids[row]).ljust(ID_SIZE, b"\0")

    def all_ids(self) -> list[bytes]:
        """The ids of all rows."""
        return _split_ids(self.ids)

    def parent_id(self, row: int) -> bytes | None:
        """The id of a row's parent."""
        parent = int(self.parents[row])
        return None if parent < 0 else self.id(parent)

    def info(self, row: int) -> SnapshotInfo:
        """One row as a value; `Corrupt` if it is damaged."""
        table = FlatBuffer(self.data, name=self.name).table_at(int(self.positions[row]), _DEPTH)
        return SnapshotInfo(
            id=self.id(row),
            parent_id=self.parent_id(row),
            flushed_at=table.timestamp(2),
            message=table.string(3),
            metadata=decode_metadata(table.optional_tables(4), name=self.name),
            pruned_ancestor_tx_logs=tuple(table.optional_structs(5, ID_SIZE) or ()),
        )

    def infos(self, rows: Sequence[int]) -> list[SnapshotInfo]:
        """Some rows as values, decoded together; `Corrupt` if one is damaged."""
        if len(rows) < _MIN_BATCH:
            return [self.info(row) for row in rows]
        chosen = np.asarray(rows, dtype=np.int64)
        tables = TableVector(self.data, self.positions[chosen], self.name)
        return list(
            map(SnapshotInfo, *self._outlined(chosen, tables), _metadata_of(tables), _pruned_logs_of(tables))
        )

    def outlines(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> SnapshotOutlines:
        """As `infos`, without the metadata, whose decoding takes longest."""
        chosen = np.asarray(rows, dtype=np.int64)
        return SnapshotOutlines(
            *self._outlined(chosen, TableVector(self.data, self.positions[chosen], self.name))
        )

    def metadata(self, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        """The metadata of some rows, decoded together; `Corrupt` if one is damaged."""
        return _metadata_of(TableVector(self.data, self.positions[rows], self.name))

    def _outlined(
        self, chosen: npt.NDArray[np.int64], tables: TableVector
    ) -> tuple[list[bytes], list[bytes | None], list[int], list[str]]:
        ids: list[bytes | None] = [*_split_ids(self.ids), None]
        parent_ids = [ids[row] for row in self.parents[chosen].tolist()]  # the row of no parent is -1
        own = [ids[row] for row in chosen.tolist()]
        return own, parent_ids, tables.timestamps(2), tables.required_strings(3)

    def stretch(self) -> Extent:
        """The stretch of the buffer that all tables occupy; remembered."""
        if self.extent is None:
            self.extent = TableVector(self.data, self.positions, self.name).extent(INFO_SHAPE)
        return self.extent

    def has_plain_parents(self) -> bool:
        """Whether rows are in id order, and every one says, in an aligned place, where its parent is."""
        if self._has_plain_parents is None:
            slots = self.parent_slots
            self._has_plain_parents = self.order is None and not bool(((slots < 0) | (slots & 3 != 0)).any())
        return self._has_plain_parents

    def is_worth_copying(self) -> bool:
        """Whether that stretch has little else in it."""
        if not self.stretch().is_up_to_date():
            self.extent = None
        return self.stretch().worth_copying()


def _split_ids(ids: npt.NDArray[np.bytes_]) -> list[bytes]:
    packed = ids.tobytes()
    return [packed[at : at + ID_SIZE] for at in range(0, len(packed), ID_SIZE)]


def _metadata_of(tables: TableVector) -> list[dict[str, Any]]:
    items, counts = tables.subtables(4)
    if not len(items):
        return [{} for _ in counts]
    pairs = zip(items.required_strings(0), _values_of(items), strict=True)
    if counts.count(1) == len(counts):
        return [{key: value} for key, value in pairs]
    return [dict(islice(pairs, count)) for count in counts]


def _values_of(items: TableVector) -> list[Any]:
    """The value of each MetadataItem: whole numbers, which are common, as columns, others one by one."""
    starts, counts = items.spans(1)
    if len(starts) and int(starts.min()) < 0:
        items.fail("required field 1 is absent")
    stops = starts + counts
    # Of a number, the last two bytes are the kind, above two bits for references, and the width in bytes.
    likely = np.flatnonzero(counts >= _SHORTEST_NUMBER)
    ends = items.numbers_at(stops[likely] - 2, "<u2")
    values: list[Any] = [_UNREAD] * len(starts)
    for kind, sign in ((flexbuffers.INT, "i"), (flexbuffers.UINT, "u")):
        for width in (1, 2, 4, 8):
            found = (ends & 0xFC == kind << 2) & (ends >> 8 == width) & (counts[likely] == width + 2)
            rows = likely[found]
            numbers = items.numbers_at(starts[rows], f"<{sign}{width}")
            for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
                values[row] = number
    for row in [row for row, value in enumerate(values) if value is _UNREAD]:
        values[row] = flexbuffers.decode(bytes(items.data[starts[row] : stops[row]]), name=items.name)
    return values


def _pruned_logs_of(tables: TableVector) -> list[tuple[bytes, ...]]:
    starts, counts = tables.spans(5, ID_SIZE)
    if not counts.any():
        return [()] * len(counts)
    data = tables.data
    return [
        tuple([bytes(data[at : at + ID_SIZE]) for at in range(start, start + count * ID_SIZE, ID_SIZE)])
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
    ]


def _refuse_cycles(parents: npt.NDArray[np.int64], tables: TableVector) -> None:
    """Follow all parents at once, doubling the distance each time."""
    end = len(parents)  # a row more, after the roots, which leads to itself
    ahead = np.append(np.where(parents < 0, end, parents), end)
    for _ in range(end.bit_length()):
        ahead = ahead.take(ahead)
    if np.any(ahead != end):
        tables.fail("a snapshot is its own ancestor")
