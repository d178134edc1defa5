"""The operations log page of a repo info file (FORMAT.md, sections 6.5 and 13.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from attrs import frozen

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import FormatError
from icechunk_core.format import _flat_builder as flat
from icechunk_core.format._flat_columns import (
    MIN_COPIED,
    STRING,
    InlineField,
    Shape,
    SubTable,
    TableVector,
    UnionField,
    join_tables,
)
from icechunk_core.format._flat_reader import FlatBuffer, FlatTable
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

__all__ = ["UpdateLog", "decode_status", "status_table"]

_DEPTH = 2
_ID_SIZE = 12
_ID = InlineField(_ID_SIZE)


@frozen
class _KindCodec:
    """How one kind of update is stored: its class, the slots of its table, and both directions."""

    cls: type
    shape: Shape
    decode: Callable[[FlatTable], UpdateKind]
    encode: Callable[[Any], flat.Table]


def _empty(cls: Callable[[], UpdateKind]) -> _KindCodec:
    assert isinstance(cls, type)
    return _KindCodec(cls, {}, lambda _: cls(), lambda _: flat.Table())


def _named(cls: Callable[[str], UpdateKind]) -> _KindCodec:
    assert isinstance(cls, type)
    return _KindCodec(
        cls, {0: STRING}, lambda table: cls(table.string(0)), lambda kind: flat.Table(kind.name)
    )


def _moved(cls: Callable[[str, bytes], UpdateKind]) -> _KindCodec:
    assert isinstance(cls, type)
    return _KindCodec(
        cls,
        {0: STRING, 1: _ID},
        lambda table: cls(table.string(0), table.struct(1, _ID_SIZE)),
        lambda kind: flat.Table(kind.name, flat.struct(kind.previous_snap_id)),
    )


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
    1: _empty(RepoInitialized),
    2: _KindCodec(
        RepoMigrated,
        {0: InlineField(1), 1: InlineField(1)},
        lambda table: RepoMigrated(table.u8(0), table.u8(1)),
        lambda kind: flat.Table(flat.u8(kind.from_version), flat.u8(kind.to_version)),
    ),
    3: _empty(ConfigChanged),
    4: _empty(MetadataChanged),
    5: _named(TagCreated),
    6: _moved(TagDeleted),
    7: _named(BranchCreated),
    8: _moved(BranchDeleted),
    9: _moved(BranchReset),
    10: _KindCodec(
        NewCommit,
        {0: STRING, 1: _ID},
        lambda table: NewCommit(table.string(0), table.struct(1, _ID_SIZE)),
        lambda kind: flat.Table(kind.branch, flat.struct(kind.new_snap_id)),
    ),
    11: _KindCodec(
        CommitAmended,
        {0: STRING, 1: _ID, 2: _ID},
        lambda table: CommitAmended(table.string(0), table.struct(1, _ID_SIZE), table.struct(2, _ID_SIZE)),
        lambda kind: flat.Table(
            kind.branch, flat.struct(kind.previous_snap_id), flat.struct(kind.new_snap_id)
        ),
    ),
    12: _KindCodec(
        NewDetachedSnapshot,
        {0: _ID},
        lambda table: NewDetachedSnapshot(table.struct(0, _ID_SIZE)),
        lambda kind: flat.Table(flat.struct(kind.new_snap_id)),
    ),
    13: _empty(GCRan),
    14: _empty(ExpirationRan),
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


@frozen
class _Encoded:
    """Entries in a buffer that was read."""

    data: bytes
    positions: npt.NDArray[np.int64]
    name: str

    def decode(self, row: int) -> Update:
        buffer = FlatBuffer(self.data, name=self.name)
        return _decode_update(buffer.table_at(int(self.positions[row]), _DEPTH))


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
    def from_tables(cls, data: bytes, positions: npt.NDArray[np.int64], *, name: str) -> UpdateLog:
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
            positions = encoded.positions[max(start - fresh, 0) : max(stop - fresh, 0)]
            encoded = _Encoded(encoded.data, positions, encoded.name) if len(positions) else None
        return UpdateLog(self._fresh[start:stop], encoded)

    def __iter__(self) -> Iterator[Update]:
        yield from self._fresh
        if self._encoded is not None:
            yield from map(self._encoded.decode, range(len(self._encoded.positions)))

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

    def encode(self) -> flat.Prebuilt:
        """The log as a FlatBuffers vector.

        Raises
        ------
        FormatError
            An entry is of an unknown type.
        """
        start, block = self._copyable()
        if not block:
            updates = [_update_table(update) for update in self]
            return join_tables(b"", np.full(len(updates), -1, np.int64), updates)
        assert self._encoded is not None
        inside = np.concatenate([np.full(len(self._fresh), -1, np.int64), self._encoded.positions - start])
        return join_tables(block, inside, [_update_table(update) for update in self._fresh])

    def _copyable(self) -> tuple[int, bytes]:
        """The stretch of the read file that has the encoded entries, and where it starts; empty: none."""
        encoded = self._encoded
        if encoded is None or len(encoded.positions) < MIN_COPIED:
            return 0, b""
        tables = TableVector(encoded.data, encoded.positions, encoded.name)
        unknown = set(tables.scalars(0, "<u1").tolist()).difference(_KINDS)
        if unknown:
            raise _refuse(min(unknown))
        extent = tables.extent(_UPDATE_SHAPE)
        if not extent.worth_copying():
            return 0, b""
        return extent.aligned_start, encoded.data[extent.aligned_start : extent.stop]
