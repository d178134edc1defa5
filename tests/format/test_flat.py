"""The FlatBuffers reader and builder, apart from any schema."""

from __future__ import annotations

import contextlib
import struct as pystruct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt
from icechunk_core.format._flat_builder import (
    Later,
    Prebuilt,
    Shared,
    Table,
    Vector,
    boolean,
    build,
    build_front,
    i32,
    prebuild,
    struct,
    u8,
    u16,
    u32,
    u64,
)
from icechunk_core.format._flat_reader import FlatBuffer, FlatTable

ID = bytes(range(12))


def read(table: Table) -> FlatTable:
    return FlatBuffer(build(table), name="it").root()


def test_scalars_come_back_at_their_limits() -> None:
    """Every scalar type keeps its smallest and largest value, and absent slots read as the default."""
    table = read(
        Table(u8(255), u16(65535), u32(2**32 - 1), i32(-(2**31)), u64(2**64 - 1), boolean(True), None, u8(0))
    )
    assert [table.u8(0), table.u16(1), table.u32(2), table.i32(3), table.u64(4)] == [
        255,
        65535,
        2**32 - 1,
        -(2**31),
        2**64 - 1,
    ]
    assert table.boolean(5)
    assert table.u32(6, default=9) == 9
    assert table.has(7)
    assert not table.has(6)
    assert table.i32(40, default=-1) == -1


def test_references_come_back() -> None:
    """Structs, strings, byte vectors, packed vectors, tables and lists of both are read as written."""
    table = read(
        Table(
            struct(ID),
            "héllo",
            b"raw\0bytes",
            Vector(np.arange(5, dtype="<u8").tobytes(), 5, 8),
            Table(u8(3)),
            [Table(u8(index)) for index in range(4)],
            ["", "b", "ü"],
            Vector(ID * 3, 3),
        )
    )
    assert table.struct(0, 12) == ID
    assert table.string(1) == "héllo"
    assert table.byte_vector(2) == b"raw\0bytes"
    assert table.array(3, "<u8").tolist() == [0, 1, 2, 3, 4]
    assert table.table(4).u8(0) == 3
    assert [child.u8(0) for child in table.tables(5)] == [0, 1, 2, 3]
    assert table.strings(6) == ["", "b", "ü"]
    assert table.structs(7, 12) == [ID] * 3
    positions = table.table_positions(5)
    assert [table.buffer.table_at(int(at), 2).u8(0) for at in positions] == [0, 1, 2, 3]


def test_absent_slots() -> None:
    """Optional readers give None for an absent slot, required ones raise Corrupt with the object's name."""
    table = read(Table())
    assert table.optional_string(0) is None
    assert table.optional_struct(0, 12) is None
    assert table.optional_byte_vector(0) is None
    assert table.optional_structs(0, 8) is None
    assert table.optional_array(0, "<u2") is None
    assert table.optional_table(0) is None
    assert table.optional_tables(0) is None
    for call in (table.string, table.byte_vector, table.table, table.tables, table.strings):
        with pytest.raises(Corrupt, match=r"it: .*required field 0") as caught:
            call(0)
        assert caught.value.object_name == "it"
    with pytest.raises(Corrupt, match="required field 3"):
        table.struct(3, 8)
    with pytest.raises(Corrupt, match="required field 3"):
        table.array(3, "<u4")


def test_everything_written_is_aligned() -> None:
    """Vtables, tables, scalars, strings and vectors sit at multiples of their alignment in the buffer."""
    data = build(Table(u8(1), u64(2), u16(3), u32(4), "x", struct(ID), Vector(bytes(16), 2, 8), b"abc"))
    root = pystruct.unpack_from("<I", data, 0)[0]
    vtable = root - pystruct.unpack_from("<i", data, root)[0]
    length = pystruct.unpack_from("<H", data, vtable)[0]
    slots = pystruct.unpack_from(f"<{(length - 4) // 2}H", data, vtable + 4)
    assert root % 8 == 0
    assert vtable % 2 == 0
    for slot, align in ((1, 8), (2, 2), (3, 4), (4, 4), (6, 4), (7, 4)):
        assert (root + slots[slot]) % align == 0
    for slot, align in ((4, 4), (6, 8), (7, 4)):
        at = root + slots[slot]
        target = at + pystruct.unpack_from("<I", data, at)[0]
        assert target % 4 == 0
        assert (target + 4) % align == 0
    at = root + slots[4]
    text = at + pystruct.unpack_from("<I", data, at)[0]
    assert data[text + 4 : text + 6] == b"x\0"


def test_equal_tables_share_a_vtable() -> None:
    """A thousand tables of one shape cost little more than their fields."""
    assert len(build(Table([Table(u32(index)) for index in range(1000)]))) < 1000 * 12 + 64


def test_prebuilt_tables_can_be_put_into_any_buffer() -> None:
    """A table serialised once reads the same wherever it is copied to."""
    part = prebuild(Table("name", u64(7), [Table(u8(1))]))
    parts: list[Table | Prebuilt] = [part, part, Table("own", u64(8), [])]
    table = read(Table("padding", parts, part))
    first, second, third = table.tables(1)
    for copy in (first, second, table.table(2)):
        assert (copy.string(0), copy.u64(1), copy.tables(2)[0].u8(0)) == ("name", 7, 1)
        assert (copy.position + copy._slots[1]) % 8 == 0
    assert third.string(0) == "own"


def _read_all(data: bytes) -> None:
    table = FlatBuffer(data, name="cut").root()
    table.struct(2, 12)
    table.string(0)
    for child in table.tables(1):
        child.u64(0)


def test_shared_content_is_written_once() -> None:
    """References with equal keys lead to one copy, also when shared things share others."""
    names = ["x" * 100, "y" * 100]

    def pair() -> Table:
        return Table(Shared("names", lambda: names), u8(7))

    data = build(Table(Shared("pair", pair), [Table(Shared("pair", pair)) for _ in range(50)], "end"))
    assert data.count(b"x" * 100) == 1
    table = FlatBuffer(data, name="it").root()
    assert table.string(2) == "end"
    pairs = [table.table(0), *(entry.table(0) for entry in table.tables(1))]
    assert len({found.position for found in pairs}) == 1
    assert all(found.strings(0) == names and found.u8(1) == 7 for found in pairs)


def test_open_references_are_the_callers_to_complete() -> None:
    """`build_front` leaves room for an offset, and says where."""
    later = Later()
    front = build_front(Table("name", later))
    end = len(front) + -len(front) % 4
    pystruct.pack_into("<I", front, later.at, end - later.at)
    table = FlatBuffer(bytes(front.ljust(end, b"\0")) + b"\x03\0\0\0abc", name="it").root()
    assert (table.string(0), table.byte_vector(1)) == ("name", b"abc")


def test_nothing_outside_the_buffer_is_read() -> None:
    """Truncated at any length, the buffer gives Corrupt or reads what is still whole."""
    data = build(Table("text", [Table(u64(1)), Table(u64(2))], struct(ID)))
    for size in range(len(data) - 4):
        with pytest.raises(Corrupt):
            _read_all(data[:size])


def test_a_huge_count_is_refused_before_anything_is_allocated() -> None:
    """A vector that claims four billion items is Corrupt."""
    data = bytearray(build(Table([Table()], b"abc")))
    root = pystruct.unpack_from("<I", data, 0)[0]
    for slot, call in ((0, FlatTable.tables), (0, FlatTable.table_positions), (1, FlatTable.byte_vector)):
        broken = bytearray(data)
        at = root + FlatBuffer(bytes(data), name="x").root()._slots[slot]
        vector = at + pystruct.unpack_from("<I", data, at)[0]
        pystruct.pack_into("<I", broken, vector, 2**32 - 1)
        with pytest.raises(Corrupt, match="claims 4294967295 items"):
            call(FlatBuffer(bytes(broken), name="x").root(), slot)


def test_nesting_is_limited() -> None:
    """A chain of tables deeper than the limit is Corrupt instead of a stack overflow."""
    chain = Table()
    for _ in range(100):
        chain = Table(chain)
    table: FlatTable | None = FlatBuffer(build(chain), name="deep", max_depth=64).root()
    for _ in range(63):
        assert table is not None
        table = table.optional_table(0)
    assert table is not None
    with pytest.raises(Corrupt, match="nested deeper than 64"):
        table.optional_table(0)


def test_shared_content_cannot_unfold_without_bounds() -> None:
    """Many references to one large vector use up the buffer's budget: a small file stays a small value."""
    part = 200_000
    data = bytearray(build(Table([Table(b"x" * part)], b"")))
    # Append a vector of 50,000 references to the one large table, and point the root at it.
    root = FlatBuffer(bytes(data), name="x").root()
    target = root.tables(0)[0].position
    front = 4 * 50_000
    head = 64
    # Offsets point forward only, so the vector of references goes in front of its target.
    data = bytearray(head + 4 + front) + data
    shift = head + 4 + front
    pystruct.pack_into("<I", data, 0, 16)  # root table at 16
    pystruct.pack_into("<HHH", data, 8, 6, 8, 4)  # vtable at 8: one slot, at +4
    pystruct.pack_into("<iI", data, 16, 8, head - 20)
    pystruct.pack_into("<I", data, head, 50_000)
    for index in range(50_000):
        at = head + 4 + 4 * index
        pystruct.pack_into("<I", data, at, shift + target - at)
    bomb = FlatBuffer(bytes(data), name="bomb").root()
    with pytest.raises(Corrupt, match="too often"):
        [child.byte_vector(0) for child in bomb.tables(0)]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Arbitrary bytes give Corrupt or values, never another error."""
    with contextlib.suppress(Corrupt):
        table = FlatBuffer(data, name="noise").root()
        for slot in range(4):
            table.u64(slot)
            table.optional_string(slot)
            table.optional_tables(slot)
            table.optional_structs(slot, 8)
