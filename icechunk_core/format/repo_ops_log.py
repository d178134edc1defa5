"""The operations log page of a repo info file (FORMAT.md, sections 6.5 and 13.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import attrs
import numpy as np
import numpy.typing as npt
from attrs import define, frozen

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import FormatError
from icechunk_core.format import _flat_builder as flat
from icechunk_core.format._flat_columns import (
    MIN_COPIED,
    STRING,
    Extent,
    InlineField,
    JoinedTables,
    Shape,
    SubTable,
    TableVector,
    UnionField,
    VectorField,
    join_tables,
)
from icechunk_core.format._flat_reader import FlatBuffer, FlatTable
from icechunk_core.format.layout import REPO_KEY
from icechunk_core.format.repo_update_kinds import (
    BranchCreated,
    BranchDeleted,
    BranchReset,
    CommitAmended,
    ConfigChanged,
    ExpirationRan,
    FeatureFlagChanged,
    GCRan,
    MetadataChanged,
    NewCommit,
    NewDetachedSnapshot,
    RepoInitialized,
    RepoMigrated,
    RepoStatus,
    RepoStatusChanged,
    TagCreated,
    TagDeleted,
    UnknownUpdate,
    Update,
    UpdateKind,
)

__all__ = ["EncodedUpdates", "UpdateLog", "decode_status", "status_table"]

_DEPTH = 2
_ID_SIZE = 12
_ID = InlineField(_ID_SIZE)


@frozen
class _KindCodec:
    """How one kind of update is stored: its class, the slots of its table, and both directions.

    ``decode_many`` does for many tables what ``decode`` does for one.
    """

    cls: type
    shape: Shape
    decode: Callable[[FlatTable], UpdateKind]
    encode: Callable[[Any], flat.Table]
    decode_many: Callable[[TableVector], list[UpdateKind]] | None = None


def _plain(cls: Callable[..., UpdateKind], *fields: VectorField | InlineField) -> _KindCodec:
    """A kind whose attributes are strings and ids, in the order of the slots."""
    assert isinstance(cls, type)
    names = [attribute.name for attribute in attrs.fields(cls)]

    def decode(table: FlatTable) -> UpdateKind:
        values: list[Any] = [
            table.string(slot) if kind is STRING else table.struct(slot, _ID_SIZE)
            for slot, kind in enumerate(fields)
        ]
        update: UpdateKind = cls(*values)
        return update

    def encode(update: Any) -> flat.Table:
        values = (getattr(update, name) for name in names)
        return flat.Table(*[value if type(value) is str else flat.struct(value) for value in values])

    def decode_many(tables: TableVector) -> list[UpdateKind]:
        if not fields:
            return [cls() for _ in range(len(tables))]
        return list(map(cls, *[_column(tables, slot, kind) for slot, kind in enumerate(fields)]))

    return _KindCodec(cls, dict(enumerate(fields)), decode, encode, decode_many)


def _column(tables: TableVector, slot: int, kind: VectorField | InlineField) -> list[Any]:
    if kind is STRING:
        return tables.required_strings(slot)
    return [row.tobytes() for row in tables.structs(slot, _ID_SIZE)]


def decode_status(table: FlatTable) -> RepoStatus:
    """Read a RepoStatus table."""
    return RepoStatus(table.u8(0), table.timestamp(1), table.optional_string(2))


def status_table(status: RepoStatus) -> flat.Table:
    """Write a RepoStatus table."""
    return flat.Table(flat.u8(status.availability), flat.u64(status.set_at), status.reason)


def _flag_from(table: FlatTable) -> FeatureFlagChanged:
    return FeatureFlagChanged(table.u16(0), table.boolean(1) if table.boolean(2) else None)


def _flag_table(kind: FeatureFlagChanged) -> flat.Table:
    return flat.Table(
        flat.u16(kind.id), flat.boolean(bool(kind.new_value)), flat.boolean(kind.new_value is not None)
    )


_STATUS_SHAPE: Shape = {0: InlineField(1), 1: InlineField(8), 2: STRING}
_KINDS: dict[int, _KindCodec] = {
    1: _plain(RepoInitialized),
    2: _KindCodec(
        RepoMigrated,
        {0: InlineField(1), 1: InlineField(1)},
        lambda table: RepoMigrated(table.u8(0), table.u8(1)),
        lambda kind: flat.Table(flat.u8(kind.from_version), flat.u8(kind.to_version)),
    ),
    3: _plain(ConfigChanged),
    4: _plain(MetadataChanged),
    5: _plain(TagCreated, STRING),
    6: _plain(TagDeleted, STRING, _ID),
    7: _plain(BranchCreated, STRING),
    8: _plain(BranchDeleted, STRING, _ID),
    9: _plain(BranchReset, STRING, _ID),
    10: _plain(NewCommit, STRING, _ID),
    11: _plain(CommitAmended, STRING, _ID, _ID),
    12: _plain(NewDetachedSnapshot, _ID),
    13: _plain(GCRan),
    14: _plain(ExpirationRan),
    15: _KindCodec(
        FeatureFlagChanged,
        {0: InlineField(2), 1: InlineField(1), 2: InlineField(1)},
        _flag_from,
        _flag_table,
    ),
    16: _KindCodec(
        RepoStatusChanged,
        {0: SubTable(_STATUS_SHAPE)},
        lambda table: RepoStatusChanged(decode_status(table.table(0))),
        lambda kind: flat.Table(status_table(kind.status)),
    ),
}
_CODES: dict[type, int] = {codec.cls: code for code, codec in _KINDS.items()}
_UPDATE_SHAPE: Shape = {
    0: InlineField(1),
    1: UnionField(0, {code: codec.shape for code, codec in _KINDS.items()}),
    2: InlineField(8),
    3: STRING,
}


def _decode_update(table: FlatTable) -> Update:
    code = table.u8(0)
    value = table.table(1)
    codec = _KINDS.get(code)
    kind = UnknownUpdate(code) if codec is None else codec.decode(value)
    return Update(kind, table.timestamp(2), table.optional_string(3))


def _refuse(code: int) -> FormatError:
    return FormatError(
        f"the operations log has an entry of unknown type {code}, written by a newer version; "
        "please upgrade icechunk-core to change this repository",
        kind=ErrorKind.UNSUPPORTED_SPEC_VERSION,
    )


def _update_table(update: Update) -> flat.Table:
    if isinstance(update.kind, UnknownUpdate):
        raise _refuse(update.kind.code)
    code = _CODES[type(update.kind)]
    return flat.Table(
        flat.u8(code), _KINDS[code].encode(update.kind), flat.u64(update.updated_at), update.backup_path
    )


@define(eq=False)
class _Encoded:
    """Entries in a buffer that was read or made.

    ``extent`` is a stretch with all of them, if one is known, and then so are their kinds.
    """

    data: bytes | bytearray
    positions: npt.NDArray[np.int64]
    name: str
    extent: Extent | None = None

    def decode(self, row: int) -> Update:
        buffer = FlatBuffer(self.data, name=self.name)
        return _decode_update(buffer.table_at(int(self.positions[row]), _DEPTH))

    def decode_all(self) -> list[Update]:
        """All entries, decoded together."""
        tables = TableVector(self.data, self.positions, self.name)
        kinds: list[Any] = [None] * len(tables)
        codes = tables.scalars(0, "<u1")
        for code in set(codes.tolist()):
            rows = np.flatnonzero(codes == code)
            for row, kind in zip(rows.tolist(), self._kinds(code, rows), strict=True):
                kinds[row] = kind
        return list(map(Update, kinds, tables.timestamps(2), tables.strings(3)))

    def _kinds(self, code: int, rows: npt.NDArray[np.int64]) -> list[UpdateKind]:
        codec = _KINDS.get(code)
        if codec is None:
            return [UnknownUpdate(code)] * len(rows)
        if codec.decode_many is None:
            return [self.decode(row).kind for row in rows.tolist()]
        return codec.decode_many(TableVector(self.data, self.positions[rows], self.name).tables(1))

    def part(self, start: int, stop: int) -> _Encoded | None:
        """Some of the entries; None if that is none."""
        positions = self.positions[start:stop]
        if not len(positions):
            return None
        return _Encoded(self.data, positions, self.name, self.extent)

    def stretch(self) -> Extent | None:
        """The stretch to copy with the entries in it; None if writing them anew is better.

        Raises
        ------
        FormatError
            An entry is of an unknown type.
        """
        if len(self.positions) < MIN_COPIED:
            return None
        if self.extent is None or not self.extent.is_up_to_date():
            tables = TableVector(self.data, self.positions, self.name)
            unknown = set(tables.scalars(0, "<u1").tolist()).difference(_KINDS)
            if unknown:
                raise _refuse(min(unknown))
            self.extent = tables.extent(_UPDATE_SHAPE)
        return self.extent if self.extent.worth_copying() else None


class UpdateLog(Sequence[Update]):
    """Entries of the operations log, newest first. Immutable; decoded only where looked at.

    Slices, and sums of a tuple and a log, are logs and cost no decoding.

    >>> log = (Update(GCRan(), 2, None),) + UpdateLog([Update(RepoInitialized(), 1, None)])
    >>> len(log), log[0].updated_at, len(log[1:])
    (2, 2, 1)
    """

    __slots__ = ("_encoded", "_fresh")

    _fresh: tuple[Update, ...]
    _encoded: _Encoded | None

    def __init__(self, updates: Sequence[Update] = (), encoded: _Encoded | None = None) -> None:
        """Updates, followed by what was read from a file."""
        if isinstance(updates, UpdateLog) and encoded is None:
            self._fresh, self._encoded = updates._fresh, updates._encoded
        else:
            self._fresh, self._encoded = tuple(updates), encoded

    @classmethod
    def from_tables(
        cls, data: bytes | bytearray, positions: npt.NDArray[np.int64], *, name: str
    ) -> UpdateLog:
        """The log over the Update tables at these positions of a buffer."""
        return cls((), _Encoded(data, positions, name))

    def __len__(self) -> int:
        return len(self._fresh) + (0 if self._encoded is None else len(self._encoded.positions))

    @overload
    def __getitem__(self, index: int) -> Update: ...

    @overload
    def __getitem__(self, index: slice) -> UpdateLog: ...

    def __getitem__(self, index: int | slice) -> Update | UpdateLog:
        if isinstance(index, slice):
            return self._slice(*index.indices(len(self)))
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        if index < len(self._fresh):
            return self._fresh[index]
        assert self._encoded is not None
        return self._encoded.decode(index - len(self._fresh))

    def _slice(self, start: int, stop: int, step: int) -> UpdateLog:
        if step != 1:
            return UpdateLog([self[index] for index in range(start, stop, step)])
        encoded, fresh = self._encoded, len(self._fresh)
        if encoded is not None:
            encoded = encoded.part(max(start - fresh, 0), max(stop - fresh, 0))
        return UpdateLog(self._fresh[start:stop], encoded)

    def __iter__(self) -> Iterator[Update]:
        yield from self._fresh
        if self._encoded is not None:
            yield from self._encoded.decode_all()

    def __radd__(self, newer: Sequence[Update]) -> UpdateLog:
        return UpdateLog((*newer, *self._fresh), self._encoded)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UpdateLog | tuple | list):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<UpdateLog of {len(self)} entries>"

    def __reduce__(self) -> Any:
        return UpdateLog, (tuple(self),)

    def encode(self) -> EncodedUpdates:
        """The log as a FlatBuffers vector.

        Raises
        ------
        FormatError
            An entry is of an unknown type.
        """
        encoded = self._encoded
        extent = None if encoded is None else encoded.stretch()
        if encoded is None or extent is None:
            updates = list(map(_update_table, self))
            joined = join_tables(b"", np.full(len(updates), -1, np.int64), updates)
            return EncodedUpdates(joined, self[0])
        start = extent.aligned_start
        fresh = list(map(_update_table, self._fresh))
        inside = np.concatenate([np.full(len(fresh), -1, np.int64), encoded.positions - start])
        block = memoryview(encoded.data)[start : extent.stop]
        joined = join_tables(block, inside, fresh, extent.used)
        return EncodedUpdates(joined, self[0])


@frozen
class EncodedUpdates:
    """An UpdateLog as a FlatBuffers vector.

    Attributes
    ----------
    joined
        For the field ``Repo.latest_updates``.
    newest
        The first entry.
    """

    joined: JoinedTables
    newest: Update

    def log(self, payload: bytearray, at: int) -> UpdateLog:
        """The log, backed by the payload with the vector at ``at``: to encode it again costs little."""
        joined = self.joined
        encoded = _Encoded(payload, joined.positions + at, REPO_KEY, joined.without_first.moved(at))
        # The newest entry changes once more with the next update: it need not be decoded, nor copied along.
        return UpdateLog([self.newest], encoded.part(1, len(joined.positions)))
