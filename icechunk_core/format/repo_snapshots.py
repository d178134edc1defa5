"""The snapshots that a repository knows (FORMAT.md, section 6.5, table SnapshotInfo)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from icechunk_core.errors import Corrupt
from icechunk_core.format import base32
from icechunk_core.format._repo_snapshots_encode import EncodedSnapshots, encode_snapshots
from icechunk_core.format._snapshot_columns import (
    SnapshotColumns,
    SnapshotInfo,
    SnapshotOutline,
    SnapshotOutlines,
    decode_metadata,
)
from icechunk_core.format.layout import REPO_KEY

__all__ = [
    "SnapshotBlock",
    "SnapshotInfo",
    "SnapshotOutline",
    "SnapshotOutlines",
    "SnapshotTable",
    "decode_metadata",
]

# Lineages are decoded in blocks that grow, so that the first entries come at once and many come cheaply.
_FIRST_BLOCK = 4
_LARGEST_BLOCK = 1024


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

    @classmethod
    def over(cls, columns: SnapshotColumns) -> SnapshotTable:
        """A table over rows that are encoded."""
        return cls(columns, {})

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
        return encode_snapshots(self._columns, self._fresh)
