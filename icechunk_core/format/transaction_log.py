"""Transaction logs: what a commit changed (FORMAT.md, 6.4 and 17)."""

from __future__ import annotations

import struct as _struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import numpy as np
from attrs import field, frozen

from icechunk_core.errors import ErrorKind, FormatError
from icechunk_core.format._coords import Coords, unique_coords
from icechunk_core.format._flat_builder import (
    MAX_BUFFER_SIZE,
    Later,
    Table,
    Vector,
    build_front,
    struct,
    u8,
)
from icechunk_core.format._flat_gather import BLOCK_ROWS, TableColumns
from icechunk_core.format._flat_reader import FlatBuffer, FlatTable
from icechunk_core.format._flat_records import coords_only
from icechunk_core.format.envelope import FileType, seal, seal_pieces, unseal

__all__ = [
    "Move",
    "TransactionLog",
    "decode_transaction_log",
    "empty_log",
    "encode_transaction_log",
    "merge_logs",
]

_MAX_DEPTH = 64
# Bytes that an entry of updated_chunks takes at least, besides its coordinates.
_SMALLEST_CHUNK = 16
_STREAMED = 1 << 24


@frozen
class Move:
    """A node that changed its path.

    Attributes
    ----------
    source, target
        Absolute paths before and after.
    node_id
        8 raw bytes; stays the same.
    is_array
        Whether the node is an array.
    """

    source: str
    target: str
    node_id: bytes
    is_array: bool


def _comparable(chunks: Mapping[bytes, Coords]) -> dict[bytes, tuple[tuple[int, ...], bytes]]:
    return {node_id: (coords.shape, coords.tobytes()) for node_id, coords in chunks.items()}


@frozen
class TransactionLog:
    """The changes between a snapshot and its parent, by node id.

    Attributes
    ----------
    id
        Id of the snapshot.
    new_groups, new_arrays, deleted_groups, deleted_arrays
        Nodes created and deleted.
    updated_arrays, updated_groups
        Nodes whose metadata changed.
    updated_chunks
        Per array the coordinates whose refs were set or deleted: ``uint32[n, ndim]``, sorted, unique.
    moves
        Net moves; None in logs of Icechunk 1.x, which have no such list.
    """

    id: bytes
    new_groups: frozenset[bytes] = frozenset()
    new_arrays: frozenset[bytes] = frozenset()
    deleted_groups: frozenset[bytes] = frozenset()
    deleted_arrays: frozenset[bytes] = frozenset()
    updated_arrays: frozenset[bytes] = frozenset()
    updated_groups: frozenset[bytes] = frozenset()
    updated_chunks: Mapping[bytes, Coords] = field(factory=dict, eq=_comparable)
    moves: tuple[Move, ...] | None = ()

    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not (any(_id_sets(self)) or self.updated_chunks or self.moves)

    def is_of_chunks_only(self) -> bool:
        """Whether no node was made, changed, moved or deleted."""
        return not (any(_id_sets(self)) or self.moves)


def _id_sets(log: TransactionLog) -> list[frozenset[bytes]]:
    """The id lists in the order of their slots, 1 to 6."""
    return [
        log.new_groups,
        log.new_arrays,
        log.deleted_groups,
        log.deleted_arrays,
        log.updated_arrays,
        log.updated_groups,
    ]


def _make(
    id: bytes,
    sets: list[frozenset[bytes]],
    chunks: Mapping[bytes, Coords],
    moves: tuple[Move, ...] | None,
) -> TransactionLog:
    """A log from its id lists in the order of their slots."""
    return TransactionLog(id, sets[0], sets[1], sets[2], sets[3], sets[4], sets[5], chunks, moves)


def empty_log(id: bytes) -> TransactionLog:
    """The log of a snapshot that changed nothing, such as the first."""
    return TransactionLog(id)


def merge_logs(first: TransactionLog, second: TransactionLog, id: bytes) -> TransactionLog:
    """One log for two in a row, as an amended commit has it (FORMAT.md, 17.2).

    Nothing cancels out: a node that the first created and the second deleted is in both lists.
    """
    chunks = dict(first.updated_chunks)
    for node_id, coords in second.updated_chunks.items():
        before = chunks.get(node_id)
        if before is None or not len(before):
            chunks[node_id] = coords
        elif len(coords):
            chunks[node_id] = unique_coords(np.concatenate([before, coords]))
    sets = [a | b for a, b in zip(_id_sets(first), _id_sets(second), strict=True)]
    moves = _merged_moves(first.moves, second.moves)
    return _make(id, sets, chunks, moves)


def _merged_moves(first: tuple[Move, ...] | None, second: tuple[Move, ...] | None) -> tuple[Move, ...] | None:
    if first is None and second is None:
        return None
    moves = {move.node_id: move for move in first or ()}
    for move in second or ():
        before = moves.get(move.node_id, move)
        moves[move.node_id] = Move(before.source, move.target, move.node_id, move.is_array)
    return _ordered(move for move in moves.values() if move.source != move.target)


def _ordered(moves: Iterable[Move]) -> tuple[Move, ...]:
    """By target path, segment by segment: ``/a`` before ``/a/b`` before ``/a-b``."""
    return tuple(sorted(moves, key=lambda move: move.target.split("/")))


# --- writing -----------------------------------------------------------------


def encode_transaction_log(log: TransactionLog, *, spec_version: int, level: int = 3) -> bytes:
    """The content of a transaction log file.

    Raises
    ------
    FormatError
        It would exceed 2 GiB.
    """
    places = {node_id: Later() for node_id in sorted(log.updated_chunks)}
    tables = [Table(struct(node_id), later) for node_id, later in places.items()]
    ids = [Vector(b"".join(sorted(nodes)), len(nodes)) for nodes in _id_sets(log)]
    moves = None
    if log.moves is not None:
        moves = [
            Table(move.source, move.target, struct(move.node_id), u8(int(move.is_array)))
            for move in _ordered(log.moves)
        ]
    front = build_front(Table(struct(log.id), *ids, tables, moves))
    end = len(front)
    sections: list[tuple[int, Coords]] = []  # padding before each
    for node_id, later in places.items():
        padding, coords = -end % 4, log.updated_chunks[node_id]
        _struct.pack_into("<I", front, later.at, end + padding - later.at)
        sections.append((padding, coords))
        end += padding + _section_size(coords)
    if end > MAX_BUFFER_SIZE:
        raise FormatError("the transaction log would exceed 2 GiB", kind=ErrorKind.SERIALIZATION)
    pieces = chain([front], chain.from_iterable(_section_pieces(*section) for section in sections))
    if end > _STREAMED:
        # The payload of millions of chunks takes more memory than all else in a commit.
        return seal_pieces(FileType.TRANSACTION_LOG, pieces, end, spec_version=spec_version, level=level)
    return seal(FileType.TRANSACTION_LOG, b"".join(pieces), spec_version=spec_version, level=level)


def _records_at(rows: int, ndim: int) -> int:
    """Where the records of a section start: behind the count, the offsets and the vtable."""
    vtable_end = 4 + 4 * rows + len(coords_only(ndim).vtable)
    return vtable_end + -vtable_end % 4


def _section_size(coords: Coords) -> int:
    rows, ndim = coords.shape
    records: int = rows * coords_only(ndim).dtype.itemsize
    return _records_at(rows, ndim) + records


def _section_pieces(padding: int, coords: Coords) -> Iterator[bytes | memoryview]:
    """A vector of ChunkIndices tables: offsets, the vtable, records. Starts at a multiple of four."""
    rows, ndim = coords.shape
    shape = coords_only(ndim)
    vtable_at, records_at = 4 + 4 * rows, _records_at(rows, ndim)
    yield bytes(padding) + rows.to_bytes(4, "little")
    for start in range(0, rows, BLOCK_ROWS):
        count = min(BLOCK_ROWS, rows - start)
        # How far behind its offset each table is.
        targets = shape.positions(records_at + start * shape.dtype.itemsize, count)
        targets -= np.arange(4 + 4 * start, 4 + 4 * (start + count), 4)
        yield targets.astype("<u4").data.cast("B")
    yield shape.vtable + bytes(records_at - vtable_at - len(shape.vtable))
    for start in range(0, rows, BLOCK_ROWS):
        block = coords[start : start + BLOCK_ROWS]
        out = np.zeros(len(block) * shape.dtype.itemsize, dtype=np.uint8)
        first = records_at + start * shape.dtype.itemsize
        shape.fill_common(shape.view(out, 0, len(block)), first, vtable_at, block)
        yield out.data


# --- reading -----------------------------------------------------------------


def decode_transaction_log(data: bytes | bytearray | memoryview, *, name: str) -> TransactionLog:
    """Read a transaction log file of either spec version.

    Raises
    ------
    Corrupt
        The file is malformed.
    """
    _, payload = unseal(data, FileType.TRANSACTION_LOG, name=name)
    buffer = FlatBuffer(payload, name=name, max_depth=_MAX_DEPTH)
    root = buffer.root()
    ids = [frozenset(root.structs(slot, 8)) for slot in range(1, 7)]
    chunks: dict[bytes, Coords] = {}
    for table in root.tables(7):
        node_id = table.struct(0, 8)
        if node_id in chunks:
            buffer.fail("an array is listed twice")
        chunks[node_id] = _read_coords(table)
    moved = root.optional_tables(8)
    moves = None if moved is None else tuple([_read_move(move) for move in moved])
    return _make(root.struct(0, 12), ids, chunks, moves)


def _read_coords(table: FlatTable) -> Coords:
    """The coordinates of one array's updated chunks."""
    buffer = table.buffer
    positions = table.table_positions(1)
    rows = len(positions)
    if not rows:
        return np.empty((0, 0), dtype=np.uint32)
    ndim = len(buffer.table_at(int(positions[0]), table.depth + 1).array(0, "<u4"))
    if rows * (_SMALLEST_CHUNK + 4 * ndim) > buffer.size:
        buffer.fail(f"{rows} chunk coordinates do not fit into {buffer.size} bytes")
    coords = np.empty((rows, ndim), dtype=np.uint32)
    for start in range(0, rows, BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        TableColumns(buffer, positions[block]).coordinates(0, ndim, coords[block])
    coords = unique_coords(coords)
    coords.flags.writeable = False
    return coords


def _read_move(table: FlatTable) -> Move:
    kind = table.u8(3)
    if kind > 1:
        table.buffer.fail(f"unknown node type {kind}")
    return Move(_read_path(table, 0), _read_path(table, 1), table.struct(2, 8), kind == 1)


def _read_path(table: FlatTable, slot: int) -> str:
    path = table.string(slot)
    segments = path.split("/")[1:] if path != "/" else []
    if not path.startswith("/") or any(segment in ("", ".", "..") for segment in segments):
        table.buffer.fail(f"invalid node path {path!r}")
    return path
