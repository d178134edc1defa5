"""Many FlatBuffers tables at once: reading them as columns, and copying them without decoding.

`TableVector` looks at all tables of a vector with numpy: a field is an array of positions, from which
values are gathered. Everything is checked against the buffer as in `_flat_reader`.

FlatBuffers tables refer to their parts with relative offsets, so a stretch of a buffer that contains all
parts can be copied elsewhere as it is, if its alignment is kept. `TableVector.extent` finds that stretch
for tables that are described by a `Shape`, and `join_tables` puts it, together with new tables, into a
vector for another buffer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
from attrs import define, field, frozen

from icechunk_core.errors import Corrupt, FormatError
from icechunk_core.format._flat_builder import MAX_BUFFER_SIZE, Later, Prebuilt, Table, serialise
from icechunk_core.format._flat_reader import LAST_TIMESTAMP

__all__ = [
    "MIN_COPIED",
    "Extent",
    "InlineField",
    "JoinedTables",
    "Shape",
    "SubTable",
    "SubTables",
    "TableVector",
    "UnionField",
    "VectorField",
    "append_vectors",
    "join_tables",
]

Positions: TypeAlias = npt.NDArray[np.int64]
Octets: TypeAlias = npt.NDArray[np.uint8]

_MAX_SLOTS = 32
_ALIGN = 8
MIN_COPIED = 24
"""Fewer tables than this are decoded and encoded faster than copied."""
_MAX_WASTE = 2
_ALWAYS_COPIED = 4096
_SMALLEST_TABLE = 8
_BASE_BUDGET = 1 << 20
_BUDGET_FACTOR = 16


@frozen
class InlineField:
    """A scalar or struct of ``size`` bytes inside the table."""

    size: int


@frozen
class VectorField:
    """A vector of items of ``item_size`` bytes; a string counts its NUL as ``tail``."""

    item_size: int
    tail: int = 0


@frozen
class SubTable:
    """One table."""

    shape: Shape


@frozen
class SubTables:
    """A vector of tables."""

    shape: Shape


@frozen
class UnionField:
    """The table of a union whose type code is in slot ``code_slot``."""

    code_slot: int
    shapes: Mapping[int, Shape]


Shape: TypeAlias = Mapping[int, "InlineField | VectorField | SubTable | SubTables | UnionField"]
"""What is in the slots of a table."""

STRING = VectorField(1, tail=1)
BYTES = VectorField(1)


@define
class Extent:
    """The stretch of a buffer that some tables and their parts occupy.

    Attributes
    ----------
    start, stop
        Where it is.
    used
        How many bytes of it belong to them; what is shared counts once per use. After copying, this is what
        was measured last, while the stretch has grown by what was added.
    complete
        False if a table has fields that its shape does not describe: they may lead out of the stretch.
    """

    start: int
    stop: int = 0
    used: int = 0
    complete: bool = True

    def add(self, starts: Positions, stops: Positions) -> None:
        """Include the stretches from ``starts`` to ``stops``."""
        if len(starts):
            self.start = min(self.start, int(starts.min()))
            self.stop = max(self.stop, int(stops.max()))
            self.used += int((stops - starts).sum())

    def worth_copying(self) -> bool:
        """Whether the tables can be copied with this stretch, and little else comes along."""
        return self.complete and self.stop - self.aligned_start <= _MAX_WASTE * self.used + _ALWAYS_COPIED

    def is_up_to_date(self) -> bool:
        """Whether so little was added since ``used`` was measured that it may be relied on."""
        return self.complete and 8 * (self.stop - self.aligned_start) <= 9 * self.used + 8 * _ALWAYS_COPIED

    def moved(self, by: int) -> Extent:
        """The same stretch of another buffer, in which everything is so many bytes further on."""
        return Extent(self.start + by, self.stop + by, self.used, self.complete)

    @property
    def aligned_start(self) -> int:
        """Where copying has to start for everything to keep its alignment."""
        return self.start - self.start % _ALIGN


@define(eq=False)
class TableVector:
    """Tables of one kind in an untrusted buffer.

    Parameters
    ----------
    data
        The buffer.
    positions
        Where the tables start.
    name
        What errors call the object.

    Raises
    ------
    Corrupt
        From the constructor and all methods, if something lies outside the buffer.
    """

    data: bytes | bytearray
    positions: Positions
    name: str
    _offsets: npt.NDArray[np.uint16] = field(init=False, repr=False)
    _vtables: Positions = field(init=False, repr=False)
    _lengths: npt.NDArray[np.int64] = field(init=False, repr=False)
    _sizes: npt.NDArray[np.int64] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if len(self.positions) * _SMALLEST_TABLE > len(self.data):
            self.fail("more tables than there is room for")
        self._check(self.positions, 4)
        self._vtables = self.positions - self._gather(self.positions, 4).view("<i4")[:, 0]
        self._check(self._vtables, 4)
        heads = self._gather(self._vtables, 4).view("<u2")
        self._lengths = heads[:, 0].astype(np.int64)
        self._sizes = heads[:, 1].astype(np.int64)
        self._check(self._vtables, self._lengths)
        if np.any((self._lengths < 4) | (self._lengths & 1 != 0)):
            self.fail("invalid vtable")
        self._offsets = self._read_slots()

    def _read_slots(self) -> npt.NDArray[np.uint16]:
        """The offset of each slot in its table, one row per table; 0 for absent ones."""
        counts = np.minimum((self._lengths - 4) >> 1, _MAX_SLOTS)
        width = int(counts.max(initial=0))
        if not width:
            return np.zeros((len(counts), 0), np.uint16)
        # Vtables with fewer slots are padded with what follows them, which is then masked.
        starts = np.minimum(self._vtables + 4, len(self.data) - 2 * width)
        shift = (self._vtables + 4 - starts) >> 1
        slots: npt.NDArray[np.uint16] = self._gather(starts, 2 * width).view("<u2")
        columns = np.arange(width)
        if shift.any():
            slots = np.take_along_axis(slots, np.minimum(columns + shift[:, None], width - 1), axis=1)
        if int(counts.min()) < width:
            slots = np.where(columns < counts[:, None], slots, 0)
        return slots

    def __len__(self) -> int:
        return len(self.positions)

    def fail(self, problem: str) -> NoReturn:
        """Raise `Corrupt` about this buffer."""
        raise Corrupt(f"malformed FlatBuffer: {problem}", object_name=self.name)

    def _check(self, starts: Positions, sizes: Any) -> None:
        if len(starts) and (int(starts.min()) < 0 or int((starts + sizes).max()) > len(self.data)):
            self.fail("offset or length outside the buffer")

    def _gather(self, positions: Positions, size: int) -> Octets:
        """``size`` bytes from each position, one row each."""
        if not len(positions):
            return np.empty((0, size), np.uint8)
        # Items that overlap, one from each byte on: several times faster than a matrix of indices.
        items = np.ndarray((len(self.data) - size + 1,), f"V{size}", self.data, 0, (1,))
        gathered: Octets = items[positions].view(np.uint8).reshape(-1, size)
        return gathered

    def field_positions(self, slot: int, size: int) -> Positions:
        """Where the inline data of a slot is, per table; -1 where the slot is absent."""
        if slot >= self._offsets.shape[1]:
            return np.full(len(self.positions), -1, np.int64)
        offsets = self._offsets[:, slot]
        found = np.where(offsets > 0, self.positions + offsets, -1)
        present = found[found >= 0]
        self._check(present, size)
        return found

    def structs(self, slot: int, size: int) -> Octets:
        """A required struct of ``size`` bytes, one row per table."""
        found = self.field_positions(slot, size)
        if np.any(found < 0):
            self.fail(f"required field {slot} is absent")
        return self._gather(found, size)

    def numbers_at(self, positions: Positions, dtype: str) -> npt.NDArray[Any]:
        """The numbers at some positions, which are known to be inside the buffer."""
        kind = np.dtype(dtype)
        return self._gather(positions, kind.itemsize).view(kind)[:, 0]

    def scalars(self, slot: int, dtype: str, default: int = 0) -> npt.NDArray[Any]:
        """A scalar field, such as ``"<i4"``; absent ones have the default."""
        kind = np.dtype(dtype)
        found = self.field_positions(slot, kind.itemsize)
        values = np.full(len(found), default, kind)
        present = found >= 0
        values[present] = self._gather(found[present], kind.itemsize).view(kind)[:, 0]
        return values

    # --- values of all tables ---

    def timestamps(self, slot: int) -> list[int]:
        """A time in µs since 1970 (u64, default 0) per table, before the year 10000."""
        values = self.scalars(slot, "<u8")
        if len(values) and int(values.max()) > LAST_TIMESTAMP:
            self.fail(f"timestamp {int(values.max())} out of range")
        times: list[int] = values.tolist()
        return times

    def spans(self, slot: int, item_size: int = 1) -> tuple[Positions, Positions]:
        """First byte and item count of the vector in a slot, per table; -1 and 0 where it is absent."""
        found = self.field_positions(slot, 4)
        starts, counts = np.full(len(found), -1, np.int64), np.zeros(len(found), np.int64)
        present = found >= 0
        heads = self._targets(slot)
        counts[present] = self._u32(heads)
        starts[present] = heads + 4
        self._check(heads + 4, counts[present] * item_size)
        if int(counts.sum()) * item_size > self._budget():
            self.fail("it refers to the same content too often")
        return starts, counts

    def octet_strings(self, slot: int) -> list[bytes | None]:
        """The vector of bytes in a slot, per table; None where it is absent."""
        starts, counts = self.spans(slot)
        data = self.data
        return [
            None if start < 0 else bytes(data[start : start + count])
            for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
        ]

    def strings(self, slot: int) -> list[str | None]:
        """The string in a slot, per table; None where it is absent."""
        try:
            return [None if text is None else text.decode() for text in self.octet_strings(slot)]
        except UnicodeDecodeError:
            self.fail("a string is not UTF-8")

    def required_strings(self, slot: int) -> list[str]:
        """The string in a slot, which every table has."""
        starts, counts = self.spans(slot)
        if len(starts) and int(starts.min()) < 0:
            self.fail(f"required field {slot} is absent")
        data, stops = self.data, (starts + counts).tolist()
        try:
            return [data[start:stop].decode() for start, stop in zip(starts.tolist(), stops, strict=True)]
        except UnicodeDecodeError:
            self.fail("a string is not UTF-8")

    def subtables(self, slot: int) -> tuple[TableVector, list[int]]:
        """All tables of the vectors in a slot, and how many of them each table has."""
        vectors = self._targets(slot)
        counts = np.zeros(len(self.positions), np.int64)
        counts[self.field_positions(slot, 4) >= 0] = self._u32(vectors)
        items = self._items_of(vectors, self._u32(vectors))
        return TableVector(self.data, items, self.name), counts.tolist()

    def tables(self, slot: int) -> TableVector:
        """The table in a slot that every table has."""
        found = self._targets(slot)
        if len(found) < len(self.positions):
            self.fail(f"required field {slot} is absent")
        return TableVector(self.data, found, self.name)

    # --- what the tables refer to ---

    def _targets(self, slot: int) -> Positions:
        """Where the present offsets in a slot lead."""
        found = self.field_positions(slot, 4)
        found = found[found >= 0]
        targets = found + self._u32(found)
        self._check(targets, 4)
        return targets

    def _u32(self, positions: Positions) -> Positions:
        return self._gather(positions, 4).view("<u4")[:, 0].astype(np.int64)

    def _items_of(self, vectors: Positions, counts: Positions) -> Positions:
        """Positions of all tables in some vectors of tables."""
        self._check(vectors + 4, 4 * counts)
        total = int(counts.sum())
        if 4 * total > self._budget():
            self.fail("it refers to the same content too often")
        first = np.repeat(vectors + 4 - 4 * (np.cumsum(counts) - counts), counts)
        slots = first + 4 * np.arange(total)
        return slots + self._u32(slots)

    def _budget(self) -> int:
        return _BASE_BUDGET + _BUDGET_FACTOR * len(self.data)

    def extent(self, shape: Shape) -> Extent:
        """The stretch of the buffer that the tables occupy with everything below them."""
        extent = Extent(len(self.data))
        self._measure(shape, extent)
        return extent

    def _measure(self, shape: Shape, extent: Extent) -> None:
        self._check(self.positions, np.maximum(self._sizes, 4))
        extent.add(self.positions, self.positions + np.maximum(self._sizes, 4))
        extent.add(self._vtables, self._vtables + self._lengths)
        others = [slot for slot in range(self._offsets.shape[1]) if slot not in shape]
        if np.any(self._lengths > 4 + 2 * _MAX_SLOTS) or np.any(self._offsets[:, others]):
            extent.complete = False
        if extent.used > self._budget():
            self.fail("it refers to the same content too often")
        for slot, described in shape.items():
            if isinstance(described, InlineField):
                found = self.field_positions(slot, described.size)
                found = found[found >= 0]
                extent.add(found, found + described.size)
            elif isinstance(described, UnionField):
                codes = self.scalars(described.code_slot, "<u1")
                for code in set(codes.tolist()):
                    rows = TableVector(self.data, self.positions[codes == code], self.name)
                    rows._below(rows._targets(slot), described.shapes.get(code, {}), extent)
            elif isinstance(described, SubTable):
                self._below(self._targets(slot), described.shape, extent)
            else:
                self._measure_vectors(slot, described, extent)

    def _measure_vectors(self, slot: int, described: VectorField | SubTables, extent: Extent) -> None:
        vectors = self._targets(slot)
        counts = self._u32(vectors)
        item_size, tail = (
            (described.item_size, described.tail) if isinstance(described, VectorField) else (4, 0)
        )
        stops = vectors + 4 + counts * item_size
        self._check(vectors, stops - vectors)
        extent.add(vectors, np.minimum(stops + tail, len(self.data)))
        if isinstance(described, SubTables):
            self._below(self._items_of(vectors, counts), described.shape, extent)

    def _below(self, positions: Positions, shape: Shape, extent: Extent) -> None:
        if len(positions):
            TableVector(self.data, positions, self.name)._measure(shape, extent)


class JoinedTables(NamedTuple):
    """A vector of tables for another buffer.

    Attributes
    ----------
    pieces
        The vector in pieces that follow each other, from a multiple of 8 on; it starts at their first byte.
    size
        How many bytes they are together.
    positions
        Where each table starts, from there.
    extent
        The stretch with the tables and all that they refer to.
    without_first
        The same without the first of the fresh tables; not if tables share parts.
    fresh, fresh_at
        The bytes of the fresh tables, which are the last piece, and where they start.
    """

    pieces: tuple[bytes | bytearray | memoryview, ...]
    size: int
    positions: Positions
    extent: Extent
    without_first: Extent
    fresh: bytearray
    fresh_at: int

    def vector(self) -> Prebuilt:
        """The pieces put together."""
        return Prebuilt(b"".join(self.pieces), 0)


def append_vectors(
    front: bytearray, vectors: Sequence[tuple[Later, JoinedTables]]
) -> tuple[bytearray, list[int]]:
    """A buffer with vectors of tables behind its front, where each is referred to; and where they are.

    Every piece is copied just once, which is most of the work where vectors are long.

    Raises
    ------
    FormatError
        If the result would exceed 2 GiB, the limit of FlatBuffers.
    """
    pieces: list[bytes | bytearray | memoryview] = [front]
    places: list[int] = []
    end = len(front)
    for later, joined in vectors:
        pieces.append(bytes(-end % _ALIGN))
        place = end + -end % _ALIGN
        pieces.extend(joined.pieces)
        places.append(place)
        end = place + joined.size
        if end > MAX_BUFFER_SIZE:
            raise FormatError("the metadata file would exceed 2 GiB; split it")
        front[later.at : later.at + 4] = (place - later.at).to_bytes(4, "little")
    return bytearray().join(pieces), places


def join_tables(
    block: bytes | bytearray | memoryview, inside: Positions, fresh: Sequence[Table], used: int | None = None
) -> JoinedTables:
    """A vector of tables, ready to be put into a buffer.

    Parameters
    ----------
    block
        A stretch of another buffer, copied from an 8-aligned position.
    inside
        Per table of the vector, its position in ``block``; -1 takes the next one of ``fresh``.
    fresh
        The tables that are not in ``block``.
    used
        How many bytes of ``block`` were in use when that was measured; None if there is no block.
    """
    count = len(inside)
    block_at = 4 + 4 * count + -(4 + 4 * count) % _ALIGN
    new, new_positions, first_at = serialise(fresh)
    new_at = block_at + len(block) + -len(block) % _ALIGN
    targets = inside + block_at
    targets[np.flatnonzero(inside < 0)] = np.array(new_positions, np.int64) + new_at
    offsets = targets - np.arange(4, 4 + 4 * count, 4)  # where the offsets are
    pieces = (
        count.to_bytes(4, "little"),
        offsets.astype("<u4").tobytes(),
        bytes(block_at - 4 - 4 * count),
        block,
        bytes(new_at - block_at - len(block)),
        new,
    )
    size = new_at + len(new)
    used = len(new) if used is None else used
    extent, without_first = Extent(block_at, size, used), Extent(block_at, new_at + first_at, used)
    return JoinedTables(pieces, size, targets, extent, without_first, new, new_at)
