"""Reading FlatBuffers that nobody vouches for (FORMAT.md, section 5).

A `FlatBuffer` wraps the bytes; `FlatBuffer.root` gives the root `FlatTable`, whose methods
read one slot each. Nothing is trusted: every offset, vtable, vector length and string is
checked against the buffer before it is used or anything is allocated for it, and violations
raise `Corrupt` with the object's name.

Offsets in FlatBuffers only point forward, so tables cannot form a cycle, but many references
may share one target: a small file could unfold into an enormous value. Each buffer therefore
has a budget, a small multiple of its own size, that every table and vector that is visited
draws from. Alignment and the file identifier are not required.

    >>> from icechunk_core.format._flat_builder import Table, build, u64
    >>> table = FlatBuffer(build(Table("hello", u64(7))), name="example").root()
    >>> table.string(0), table.u64(1), table.u64(2, default=5), table.optional_string(3)
    ('hello', 7, 5, None)

Two flavours of readers: plain names (`string`, `struct`, ...) are for *required* slots and raise
`Corrupt` when the slot is absent; the ``optional_`` ones return None then.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from icechunk_core.errors import Corrupt

__all__ = ["LAST_TIMESTAMP", "MAX_DEPTH", "FlatBuffer", "FlatTable"]

MAX_DEPTH: Final = 64
# No schema of the format has more slots than this; longer vtables belong to newer writers.
_MAX_SLOTS: Final = 32
# 9999-12-31T23:59:59.999999Z, the last time that datetime can hold.
LAST_TIMESTAMP: Final = 253_402_300_799_999_999
_BASE_BUDGET: Final = 1 << 20
_BUDGET_FACTOR: Final = 16
_TABLE_COST: Final = 16

_U8 = struct.Struct("<B").unpack_from
_U16 = struct.Struct("<H").unpack_from
_U32 = struct.Struct("<I").unpack_from
_I32 = struct.Struct("<i").unpack_from
_U64 = struct.Struct("<Q").unpack_from
_VTABLE_HEAD = struct.Struct("<HH").unpack_from
_SLOTS = tuple(struct.Struct(f"<{count}H").unpack_from for count in range(_MAX_SLOTS + 1))

Slots = tuple[int, ...]


class FlatBuffer:
    """One untrusted FlatBuffers buffer.

    Parameters
    ----------
    data
        The whole buffer (decompressed payload of a file).
    name
        What to call the object in errors, usually its key.
    max_depth
        Deepest allowed nesting of tables, the root being at depth 1.
    """

    __slots__ = ("_budget", "_vtables", "data", "max_depth", "name", "size")

    def __init__(self, data: bytes | bytearray, *, name: str, max_depth: int = MAX_DEPTH) -> None:
        self.data = data
        self.name = name
        self.size = len(data)
        self.max_depth = max_depth
        self._budget = _BASE_BUDGET + _BUDGET_FACTOR * self.size
        self._vtables: dict[int, Slots] = {}

    def fail(self, message: str) -> NoReturn:
        """Raise `Corrupt` about this buffer."""
        raise Corrupt(f"malformed FlatBuffer: {message}", object_name=self.name)

    def charge(self, amount: int) -> None:
        """Take `amount` bytes from the budget; `Corrupt` when it is used up."""
        self._budget -= amount
        if self._budget < 0:
            self.fail("it refers to the same content too often")

    def root(self) -> FlatTable:
        """The root table."""
        if self.size < 8:
            self.fail(f"only {self.size} bytes")
        return self.table_at(_U32(self.data, 0)[0])

    def table_at(self, position: int, depth: int = 1) -> FlatTable:
        """The table at a byte position taken from an offset (see `FlatTable.table_positions`)."""
        if depth > self.max_depth:
            self.fail(f"tables nested deeper than {self.max_depth}")
        self.charge(_TABLE_COST)
        if not 0 <= position <= self.size - 4:
            self.fail(f"table offset {position} outside the buffer")
        vtable = position - _I32(self.data, position)[0]
        slots = self._vtables.get(vtable)
        if slots is None:
            slots = self._read_vtable(vtable)
        return FlatTable(self, position, slots, depth)

    def _read_vtable(self, vtable: int) -> Slots:
        if not 0 <= vtable <= self.size - 4:
            self.fail(f"vtable offset {vtable} outside the buffer")
        length, _ = _VTABLE_HEAD(self.data, vtable)
        if length < 4 or length & 1 or vtable + length > self.size:
            self.fail(f"vtable at {vtable} has length {length}")
        count = min((length - 4) >> 1, _MAX_SLOTS)
        self.charge(2 * count)
        slots: Slots = _SLOTS[count](self.data, vtable + 4)
        self._vtables[vtable] = slots
        return slots

    def vector_at(self, position: int, item_size: int) -> tuple[int, int]:
        """First byte and item count of the vector that the offset stored at `position` leads to.

        The items are known to lie inside the buffer, and their size was charged.
        """
        if position > self.size - 4:
            self.fail(f"offset at {position} outside the buffer")
        vector: int = position + _U32(self.data, position)[0]
        if vector > self.size - 4:
            self.fail(f"vector offset {vector} outside the buffer")
        count: int = _U32(self.data, vector)[0]
        start = vector + 4
        if start + count * item_size > self.size:
            self.fail(f"vector at {vector} claims {count} items")
        self.charge(4 + count * item_size)
        return start, count

    def string_at(self, position: int) -> str:
        """The UTF-8 string that the offset stored at `position` leads to."""
        start, count = self.vector_at(position, 1)
        try:
            return str(self.data[start : start + count], "utf-8")
        except UnicodeDecodeError:
            self.fail(f"string at {start} is not UTF-8")


class FlatTable:
    """One table: reads its slots. Made by `FlatBuffer.root` and by other tables."""

    __slots__ = ("_slots", "buffer", "depth", "position")

    def __init__(self, buffer: FlatBuffer, position: int, slots: Slots, depth: int) -> None:
        self.buffer = buffer
        self.position = position
        self.depth = depth
        self._slots = slots

    def _find(self, slot: int, size: int) -> int:
        """Byte position of a slot's inline data, -1 if absent."""
        slots = self._slots
        if slot >= len(slots):
            return -1
        offset = slots[slot]
        if not offset:
            return -1
        position = self.position + offset
        if position + size > self.buffer.size:
            self.buffer.fail(f"field {slot} of the table at {self.position} outside the buffer")
        return position

    def _require(self, slot: int, size: int) -> int:
        position = self._find(slot, size)
        if position < 0:
            self.buffer.fail(f"required field {slot} of the table at {self.position} is absent")
        return position

    def has(self, slot: int) -> bool:
        """Whether the slot is present."""
        return self._find(slot, 0) >= 0

    def place_of(self, slot: int) -> int:
        """Where in the buffer the slot's inline data is, -1 if absent."""
        return self._find(slot, 0)

    # --- scalars ---

    def u8(self, slot: int, default: int = 0) -> int:
        """An unsigned 8-bit number (also: enum and union type codes)."""
        position = self._find(slot, 1)
        return default if position < 0 else _U8(self.buffer.data, position)[0]

    def boolean(self, slot: int, default: bool = False) -> bool:
        """A truth value."""
        return bool(self.u8(slot, int(default)))

    def u16(self, slot: int, default: int = 0) -> int:
        """An unsigned 16-bit number."""
        position = self._find(slot, 2)
        return default if position < 0 else _U16(self.buffer.data, position)[0]

    def u32(self, slot: int, default: int = 0) -> int:
        """An unsigned 32-bit number."""
        position = self._find(slot, 4)
        return default if position < 0 else _U32(self.buffer.data, position)[0]

    def i32(self, slot: int, default: int = 0) -> int:
        """A signed 32-bit number."""
        position = self._find(slot, 4)
        return default if position < 0 else _I32(self.buffer.data, position)[0]

    def u64(self, slot: int, default: int = 0) -> int:
        """An unsigned 64-bit number."""
        position = self._find(slot, 8)
        return default if position < 0 else _U64(self.buffer.data, position)[0]

    def timestamp(self, slot: int) -> int:
        """A time in µs since 1970 (u64, default 0), before the year 10000."""
        value = self.u64(slot)
        if value > LAST_TIMESTAMP:
            self.buffer.fail(f"timestamp {value} out of range")
        return value

    # --- structs ---

    def struct(self, slot: int, size: int) -> bytes:
        """The raw bytes of a required inline struct (ids)."""
        position = self._require(slot, size)
        return bytes(self.buffer.data[position : position + size])

    def optional_struct(self, slot: int, size: int) -> bytes | None:
        """The raw bytes of an inline struct, None if absent."""
        position = self._find(slot, size)
        return None if position < 0 else bytes(self.buffer.data[position : position + size])

    # --- strings and vectors of plain data ---

    def string(self, slot: int) -> str:
        """A required string."""
        return self.buffer.string_at(self._require(slot, 4))

    def optional_string(self, slot: int) -> str | None:
        """A string, None if absent."""
        position = self._find(slot, 4)
        return None if position < 0 else self.buffer.string_at(position)

    def byte_vector(self, slot: int) -> bytes:
        """A required vector of bytes."""
        return self._bytes_at(self._require(slot, 4))

    def optional_byte_vector(self, slot: int) -> bytes | None:
        """A vector of bytes, None if absent."""
        position = self._find(slot, 4)
        return None if position < 0 else self._bytes_at(position)

    def _bytes_at(self, position: int) -> bytes:
        start, count = self.buffer.vector_at(position, 1)
        return bytes(self.buffer.data[start : start + count])

    def structs(self, slot: int, size: int) -> list[bytes]:
        """A required vector of structs of `size` bytes, each as raw bytes."""
        return self._structs_at(self._require(slot, 4), size)

    def optional_structs(self, slot: int, size: int) -> list[bytes] | None:
        """A vector of structs of `size` bytes, None if absent."""
        position = self._find(slot, 4)
        return None if position < 0 else self._structs_at(position, size)

    def _structs_at(self, position: int, size: int) -> list[bytes]:
        start, count = self.buffer.vector_at(position, size)
        data = self.buffer.data
        return [bytes(data[at : at + size]) for at in range(start, start + count * size, size)]

    def array(self, slot: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A required vector of scalars or structs as a read-only numpy view of the buffer.

        `dtype` is the item's packed little-endian type, such as ``"<u4"``.
        """
        return self._array_at(self._require(slot, 4), np.dtype(dtype))

    def optional_array(self, slot: int, dtype: npt.DTypeLike) -> npt.NDArray[Any] | None:
        """Like `array`, None if absent."""
        position = self._find(slot, 4)
        return None if position < 0 else self._array_at(position, np.dtype(dtype))

    def _array_at(self, position: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        start, count = self.buffer.vector_at(position, dtype.itemsize)
        return np.ndarray((count,), dtype, memoryview(self.buffer.data).toreadonly(), start)

    def strings(self, slot: int) -> list[str]:
        """A required vector of strings."""
        start, count = self.buffer.vector_at(self._require(slot, 4), 4)
        return [self.buffer.string_at(start + 4 * index) for index in range(count)]

    # --- tables ---

    def table(self, slot: int) -> FlatTable:
        """A required table (also: the value of a union)."""
        return self._table_at(self._require(slot, 4))

    def optional_table(self, slot: int) -> FlatTable | None:
        """A table, None if absent."""
        position = self._find(slot, 4)
        return None if position < 0 else self._table_at(position)

    def _table_at(self, position: int) -> FlatTable:
        return self.buffer.table_at(position + _U32(self.buffer.data, position)[0], self.depth + 1)

    def tables(self, slot: int) -> list[FlatTable]:
        """A required vector of tables."""
        return self._tables_at(self._require(slot, 4))

    def optional_tables(self, slot: int) -> list[FlatTable] | None:
        """A vector of tables, None if absent."""
        position = self._find(slot, 4)
        return None if position < 0 else self._tables_at(position)

    def _tables_at(self, position: int) -> list[FlatTable]:
        start, count = self.buffer.vector_at(position, 4)
        return [self._table_at(start + 4 * index) for index in range(count)]

    def table_positions(self, slot: int) -> npt.NDArray[np.int64]:
        """Byte positions of the tables of a required vector, for lazy or columnar reading.

        Every position has room for a table's first four bytes; nothing else of the tables
        was looked at. Read one with ``buffer.table_at(int(position), table.depth + 1)``.
        """
        start, count = self.buffer.vector_at(self._require(slot, 4), 4)
        offsets = np.ndarray((count,), "<u4", memoryview(self.buffer.data).toreadonly(), start)
        positions = offsets.astype(np.int64)
        positions += np.arange(start, start + 4 * count, 4, dtype=np.int64)
        if count and int(positions.max()) > self.buffer.size - 4:
            self.buffer.fail("table offset outside the buffer")
        return positions
