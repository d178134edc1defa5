"""Manifest payloads to columns (FORMAT.md, 6.2)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

import numpy as np

from icechunk_core.format._coords import bounding_box, box_keys, sorted_order
from icechunk_core.format._flat_gather import BLOCK_ROWS, Positions, TableColumns
from icechunk_core.format._flat_reader import FlatBuffer, FlatTable
from icechunk_core.format._payloads import NO_ETAG, Entries, Payloads, Source, compacted, empty_entries
from icechunk_core.format._ref_columns import RefColumns
from icechunk_core.format.chunk_refs import ChunkRefs
from icechunk_core.format.refs import RefKind

__all__ = ["decode_payload"]

_INLINE: Final = int(RefKind.INLINE)
_NATIVE: Final = int(RefKind.NATIVE)
_VIRTUAL: Final = int(RefKind.VIRTUAL)
_UNKNOWN: Final = 255
_ALGORITHM_ZSTD: Final = 1
_MAX_END: Final = 1 << 63
# Bytes that a ref takes at least, besides its coordinates: its entry in the vector, a table with two
# fields, and the count of the coordinates.
_SMALLEST_REF: Final = 20
# Reading the columns of an array takes as long as that of so many refs.
_SMALL: Final = 1024

# Slots of table ChunkRef.
_INDEX, _INLINE_DATA, _OFFSET, _LENGTH, _CHUNK_ID, _LOCATION, _ETAG, _MODIFIED, _COMPRESSED = range(9)


def decode_payload(payload: bytes, *, name: str) -> tuple[bytes, dict[bytes, ChunkRefs]]:
    """The manifest's id, and the refs by node id.

    Raises
    ------
    Corrupt
        The payload is malformed.
    """
    buffer = FlatBuffer(payload, name=name)
    root = buffer.root()
    dictionary = root.optional_byte_vector(2)
    if root.u8(3, default=_ALGORITHM_ZSTD) != _ALGORITHM_ZSTD:
        dictionary = None
    source = Source(payload, dictionary=dictionary, name=name)
    found: dict[bytes, _Refs] = {}
    for table in root.tables(1):
        node_id = table.struct(0, 8)
        if node_id in found:
            buffer.fail("an array is listed twice")
        found[node_id] = _refs_of(table)
    return root.struct(0, 12), _decode_arrays(found, buffer, source)


class _Refs(NamedTuple):
    """Where the refs of an array are, and the number of its dimensions."""

    positions: Positions
    ndim: int


def _refs_of(table: FlatTable) -> _Refs:
    """As many dimensions as the first ref has coordinates."""
    positions = table.table_positions(1)
    if not len(positions):
        return _Refs(positions, 0)
    first = table.buffer.table_at(int(positions[0]), table.depth + 1)
    return _Refs(positions, len(first.array(_INDEX, "<u4")))


def _decode_arrays(found: dict[bytes, _Refs], buffer: FlatBuffer, source: Source) -> dict[bytes, ChunkRefs]:
    """The refs of each array, as in the file; small arrays of equal dimensions are read together."""
    together: dict[int, list[bytes]] = {}
    for node_id, refs in found.items():
        if 0 < len(refs.positions) <= _SMALL:
            together.setdefault(refs.ndim, []).append(node_id)
    decoded: dict[bytes, ChunkRefs] = {}
    for ndim, ids in together.items():
        positions = [found[node_id].positions for node_id in ids]
        rows = sum(map(len, positions))
        if len(ids) > 1 and rows <= BLOCK_ROWS and rows * (_SMALLEST_REF + 4 * ndim) <= buffer.size:
            columns = _ArrayDecoder(buffer, _Refs(np.concatenate(positions), ndim), source).columns()
            decoded.update(zip(ids, _apart(columns, list(map(len, positions)), buffer), strict=True))
    return {
        node_id: decoded.get(node_id) or _ordered(_ArrayDecoder(buffer, refs, source).columns(), buffer)
        for node_id, refs in found.items()
    }


def _apart(columns: RefColumns, counts: list[int], buffer: FlatBuffer) -> Iterator[ChunkRefs]:
    """The refs of each array, from columns of so many refs of each."""
    keys = box_keys(columns.coords, bounding_box(columns.coords))
    ascending = keys[1:] > keys[:-1]
    ends = list(accumulate(counts))
    ascending[np.array(ends[:-1]) - 1] = True
    in_order = bool(ascending.all())
    native = columns.kind == _NATIVE
    for start, end in pairwise([0, *ends]):
        rows = columns.rows(slice(start, end))
        if rows.payloads is not None and native[start:end].all():
            rows = rows._replace(payloads=None, sources=())
        yield ChunkRefs(rows) if in_order else _ordered(rows, buffer)


def _ordered(columns: RefColumns, buffer: FlatBuffer) -> ChunkRefs:
    """Check the order; files in another order are sorted, coordinates that repeat are an error."""
    keys = box_keys(columns.coords, bounding_box(columns.coords))
    order = sorted_order(keys)
    if order is None:
        return ChunkRefs(columns)
    keys = keys[order]
    if (keys[1:] == keys[:-1]).any():
        buffer.fail("two refs for one chunk")
    return ChunkRefs(columns.rows(order))


class _ArrayDecoder:
    """Reads the refs of an array, or of several, block by block, into columns."""

    def __init__(self, buffer: FlatBuffer, refs: _Refs, source: Source) -> None:
        self.buffer = buffer
        self.source = source
        self.positions, ndim = refs
        rows = len(self.positions)
        # Before anything is allocated: every ref has a table, coordinates and a target of its own.
        if rows * (_SMALLEST_REF + 4 * ndim) > self.buffer.size:
            self.buffer.fail(f"{rows} chunk refs do not fit into {self.buffer.size} bytes")
        self.coords = np.empty((rows, ndim), dtype=np.uint32, order="F")
        self.kind = np.full(rows, _UNKNOWN, dtype=np.uint8)
        self.offset = np.zeros(rows, dtype=np.uint64)
        self.length = np.zeros(rows, dtype=np.uint64)
        self.chunk_ids = np.zeros((rows, 12), dtype=np.uint8)
        self.entries: Entries | None = None

    def columns(self) -> RefColumns:
        """All refs, in the order of the file."""
        for start in range(0, len(self.positions), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(self.positions)))
            self._decode_block(rows, TableColumns(self.buffer, self.positions[rows]))
        del self.positions
        if (self.kind == _UNKNOWN).any():
            self.buffer.fail("a chunk ref without any target")
        payloads: Payloads | None = None
        sources: tuple[Source, ...] = ()
        if self.entries is not None:
            payloads, sources = Payloads(self.entries), (self.source,)
            if _used_bytes(self.entries) < self.buffer.size // 4:
                payloads, sources = compacted(payloads, sources)
        return RefColumns(
            self.coords,
            self.kind,
            self.offset,
            self.length,
            self.chunk_ids,
            payloads,
            sources,
        )

    def _decode_block(self, rows: slice, tables: TableColumns) -> None:
        kind = self.kind[rows]
        tables.coordinates(_INDEX, self.coords.shape[1], self.coords[rows])
        self.offset[rows] = tables.numbers_or_zero(_OFFSET, "<u8")
        self.length[rows] = tables.numbers_or_zero(_LENGTH, "<u8")
        # In the order in which readers decide what a ref is.
        located = tables.locate(_CHUNK_ID, 12)
        if located is not None:
            mine = located >= 0
            kind[mine] = _NATIVE
            self.chunk_ids[rows][mine] = tables.structs(located[mine], 12)
        if (kind == _UNKNOWN).any():
            self._read_range(tables, _COMPRESSED, rows, _VIRTUAL)
            self._read_range(tables, _LOCATION, rows, _VIRTUAL)
            if self.entries is not None:
                self._read_checksums(tables, rows)
            self._read_range(tables, _INLINE_DATA, rows, _INLINE)
        ends = self.offset[rows] + self.length[rows]
        # Halves first: the sum of two u64 may wrap around.
        wrong = (self.offset[rows] >= _MAX_END) | (self.length[rows] >= _MAX_END) | (ends > _MAX_END)
        if (wrong & (kind != _INLINE)).any():
            self.buffer.fail("a chunk ref with an impossible range")
        self._tidy_inline(rows)

    def _read_range(self, tables: TableColumns, slot: int, rows: slice, kind: int) -> None:
        """Give refs without a target yet the byte vector or string of a slot."""
        located = tables.locate(slot, 4)
        if located is None:
            return
        mine = (located >= 0) & (self.kind[rows] == _UNKNOWN)
        if not mine.any():
            return
        payloads = self._payload_rows(rows)
        starts, counts = tables.vectors(located[mine], 1)
        payloads["start"][mine] = starts
        payloads["size"][mine] = counts
        payloads["compressed"][mine] = slot == _COMPRESSED
        self.kind[rows][mine] = kind

    def _read_checksums(self, tables: TableColumns, rows: slice) -> None:
        payloads = self._payload_rows(rows)
        virtual = self.kind[rows] == _VIRTUAL
        located = tables.locate(_ETAG, 4)
        if located is not None:
            mine = (located >= 0) & virtual
            starts, counts = tables.vectors(located[mine], 1)
            payloads["etag_start"][mine] = starts
            payloads["etag_size"][mine] = counts
        located = tables.locate(_MODIFIED, 4)
        if located is not None:
            mine = (located >= 0) & virtual
            payloads["modified"][mine] = tables.numbers(located[mine], "<u4")

    def _payload_rows(self, rows: slice) -> Entries:
        if self.entries is None:
            self.entries = empty_entries(len(self.kind))
        return self.entries[rows]

    def _tidy_inline(self, rows: slice) -> None:
        """Inline refs have no offset, and the length of their data, whatever their slots say."""
        if self.entries is None:
            return
        inline = self.kind[rows] == _INLINE
        self.offset[rows][inline] = 0
        self.length[rows][inline] = self.entries["size"][rows][inline]


def _used_bytes(entries: Entries) -> int:
    etags = entries["etag_size"][entries["etag_start"] != NO_ETAG]
    return int(entries["size"].sum(dtype=np.int64)) + int(etags.sum(dtype=np.int64))
