"""Writing FlatBuffers (FORMAT.md, section 5).

The value is described with `Table` objects and written front to back in one pass: a table,
then what it refers to, so that all offsets point forward and every alignment is known at once.
Equal vtables are shared. The output satisfies the verifiers of the FlatBuffers project:
aligned scalars, structs and vectors, NUL-terminated strings, the identifier ``Ichk``.

A table lists its fields by slot; None leaves a slot out, and trailing ones are cut:

    >>> build(Table(struct(b"12-byte name"), u32(5), None, "text", [Table(), Table()]))[4:8]
    b'Ichk'

Fields are

* inline: `u8`, `u16`, `u32`, `u64`, `i32`, `boolean`, `struct`,
* ``str``: a string; ``bytes``: a vector of bytes,
* `Vector`: scalars or structs already packed,
* a list of `Table` or of ``str``,
* a `Table` (a union is its type code, as `u8`, in one slot and the table in the next),
* `Prebuilt`: a table serialised earlier by `prebuild`, copied as it is,
* `Shared`: something that several references lead to,
* `Later`: something the caller appends itself.
"""

from __future__ import annotations

import struct as _struct
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from icechunk_core.errors import FormatError

__all__ = [
    "MAX_BUFFER_SIZE",
    "Field",
    "Inline",
    "Later",
    "Prebuilt",
    "Shared",
    "Table",
    "Vector",
    "boolean",
    "build",
    "build_front",
    "i32",
    "prebuild",
    "serialise",
    "struct",
    "u8",
    "u16",
    "u32",
    "u64",
]

MAX_BUFFER_SIZE: Final = (1 << 31) - 1
IDENTIFIER: Final = b"Ichk"

_PACK_U8 = _struct.Struct("<B").pack
_PACK_U16 = _struct.Struct("<H").pack
_PACK_U32 = _struct.Struct("<I").pack
_PACK_I32 = _struct.Struct("<i").pack
_PACK_U64 = _struct.Struct("<Q").pack
_UNPACK_U32 = _struct.Struct("<I").unpack_from
_PACK_INTO_U32 = _struct.Struct("<I").pack_into
_PADDING = tuple(bytes(count) for count in range(8))


class Inline(NamedTuple):
    """A field stored in the table itself: packed bytes and their alignment."""

    data: bytes
    align: int


class Vector(NamedTuple):
    """Packed items: ``items`` of them in ``data``, the first one aligned to ``align``."""

    data: bytes
    items: int
    align: int = 4


class Table:
    """A table's fields, in slot order; see the module's documentation."""

    __slots__ = ("fields",)

    def __init__(self, *fields: Field) -> None:
        self.fields = fields


class Prebuilt(NamedTuple):
    """A serialised table with everything below it: relocatable bytes, and where the table starts."""

    data: bytes
    position: int


class Shared:
    """Something that several references may lead to; it is written once, behind everything else.

    Readers count what they visit, so only small things should be shared.

    Attributes
    ----------
    key
        References with equal keys share what the first one's ``make`` gives.
    make
        Makes the field's value: anything but an inline field.
    """

    __slots__ = ("key", "make")

    def __init__(self, key: Hashable, make: Callable[[], Field]) -> None:
        self.key = key
        self.make = make


class Later:
    """A reference to something the caller appends to the buffer; see `build_front`.

    Attributes
    ----------
    at
        Where the offset is, after `build_front`.
    """

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = 0


Field: TypeAlias = (
    Inline
    | Vector
    | Prebuilt
    | Later
    | Shared
    | Table
    | str
    | bytes
    | Sequence["Table | Prebuilt"]
    | Sequence[str]
    | None
)


def u8(value: int) -> Inline:
    """An unsigned 8-bit number."""
    return Inline(_PACK_U8(value), 1)


def boolean(value: bool) -> Inline:
    """A truth value."""
    return Inline(_PACK_U8(value), 1)


def u16(value: int) -> Inline:
    """An unsigned 16-bit number."""
    return Inline(_PACK_U16(value), 2)


def u32(value: int) -> Inline:
    """An unsigned 32-bit number."""
    return Inline(_PACK_U32(value), 4)


def i32(value: int) -> Inline:
    """A signed 32-bit number."""
    return Inline(_PACK_I32(value), 4)


def u64(value: int) -> Inline:
    """An unsigned 64-bit number."""
    return Inline(_PACK_U64(value), 8)


def struct(data: bytes, align: int = 1) -> Inline:
    """A packed struct, such as an id."""
    return Inline(data, align)


def build(root: Table) -> bytes:
    """Serialise a whole buffer.

    Raises
    ------
    FormatError
        If the result would exceed 2 GiB, the limit of FlatBuffers.
    """
    return bytes(build_front(root))


def build_front(root: Table) -> bytearray:
    """Serialise a buffer whose `Later` references are still open.

    The caller appends what they refer to, and stores at each ``later.at`` the u32 distance to it.
    """
    writer = _Writer(bytearray(_PACK_U32(0) + IDENTIFIER))
    writer.reference(0, root)
    writer.write_shared()
    return writer.out


def prebuild(table: Table) -> Prebuilt:
    """Serialise one table on its own, to be put into several buffers."""
    writer = _Writer(bytearray(8))
    writer.reference(0, table)
    writer.write_shared()
    position = _struct.unpack_from("<I", writer.out)[0]
    return Prebuilt(bytes(writer.out[8:]), position - 8)


def serialise(tables: Sequence[Table]) -> tuple[bytearray, list[int], int]:
    """Tables as relocatable bytes, to be put at a multiple of 8, with what they refer to behind each.

    The last one comes first. Gives also where each table starts, and where the first one's bytes begin: what
    is before does not need them.
    """
    writer = _Writer(bytearray())
    starts: list[int] = []
    begin = 0
    for table in reversed(tables):
        begin = len(writer.out)
        starts.append(writer.table(table))
    writer.write_shared()
    return writer.out, starts[::-1], begin


class _Layout(NamedTuple):
    """Where the fields of tables with one signature go.

    ``pack`` makes the table from the distance to its vtable and the inline fields of ``inline``, in that
    order; ``references`` has slot and offset of the others. What is ``ahead`` bytes into the table is
    aligned to ``align``.
    """

    pack: Callable[..., bytes]
    align: int
    ahead: int
    inline: tuple[int, ...]
    references: tuple[tuple[int, int], ...]
    vtable: bytes


# Per slot the size and alignment of an inline field; absent fields and references have signs of their own.
_ABSENT: Final = 0
_REFERENCE: Final = 1
Signature = tuple[Any, ...]
_layouts: dict[Signature, _Layout] = {}


def _lay_out(signature: Signature) -> _Layout:
    """Place the fields after the 4-byte vtable offset: narrow ones, 8-byte ones, references.

    Neighbours in a file differ in their ids and numbers, and in the low bytes of their times. With these
    together and the references behind them, a compressor finds one long match from each table to the next.
    """
    fields = [
        (4, 4, slot) if field == _REFERENCE else (*field, slot)
        for slot, field in enumerate(signature)
        if field != _ABSENT
    ]
    rank = {4: 0, 2: 1, 1: 2, 8: 3}
    fields.sort(key=lambda field: 4 if signature[field[2]] == _REFERENCE else rank[field[1]])
    offsets = [0] * len(signature)
    end, pack_format, inline, references = 4, "<i", [], []
    align, ahead = 4, 0
    for size, field_align, slot in fields:
        padding = -end % min(field_align, 4)
        if field_align == 8 and align == 4:
            align, ahead = 8, end + padding
        offsets[slot] = end + padding
        if signature[slot] == _REFERENCE:
            references.append((slot, offsets[slot]))
            pack_format += f"{padding + size}x"
        else:
            inline.append(slot)
            pack_format += f"{padding}x{size}s"
        end += padding + size
    used = max([slot + 1 for slot, offset in enumerate(offsets) if offset], default=0)
    vtable = _struct.pack(f"<{used + 2}H", 4 + 2 * used, end, *offsets[:used])
    pack = _struct.Struct(pack_format).pack
    return _Layout(pack, align, ahead, tuple(inline), tuple(sorted(references)), vtable)


class _Writer:
    """The output so far, and the vtables in it."""

    __slots__ = ("out", "shared", "vtables")

    def __init__(self, out: bytearray) -> None:
        self.out = out
        self.vtables: dict[bytes, int] = {}
        self.shared: dict[Hashable, tuple[Shared, list[int]]] = {}

    def align(self, align: int, ahead: int = 0) -> None:
        """Pad so that the position `ahead` bytes from here is aligned."""
        self.out += _PADDING[-(len(self.out) + ahead) % align]

    def reference(self, at: int, value: Any) -> None:
        """Write `value` at the end, and the offset to it at position `at`."""
        kind = type(value)
        if kind is Later:
            value.at = at
            return
        if kind is Shared:
            self.shared.setdefault(value.key, (value, []))[1].append(at)
            return
        if kind is str:
            position = self.string(value)
        elif kind is Table:
            position = self.table(value)
        elif kind is bytes:
            position = self.vector(value, len(value), 4)
        elif kind is Vector:
            position = self.vector(value.data, value.items, value.align)
        elif kind is Prebuilt:
            self.align(8)
            position = len(self.out) + value.position
            self.out += value.data
        else:
            position = self.references(value)
        if len(self.out) > MAX_BUFFER_SIZE:
            raise FormatError("the metadata file would exceed 2 GiB; split it")
        _PACK_INTO_U32(self.out, at, position - at)

    def write_shared(self) -> None:
        """Write what references share, and complete them."""
        while self.shared:
            _, (shared, places) = self.shared.popitem()
            self.reference(places[0], shared.make())
            position = places[0] + _UNPACK_U32(self.out, places[0])[0]
            for at in places:
                _PACK_INTO_U32(self.out, at, position - at)

    def string(self, text: str) -> int:
        data = text.encode("utf-8")
        self.align(4)
        position = len(self.out)
        self.out += _PACK_U32(len(data)) + data + b"\0"
        return position

    def vector(self, data: bytes, count: int, align: int) -> int:
        self.align(max(align, 4), ahead=4)
        position = len(self.out)
        self.out += _PACK_U32(count)
        self.out += data
        return position

    def references(self, values: Sequence[Any]) -> int:
        position = self.vector(bytes(4 * len(values)), len(values), 4)
        at = position + 4
        for value in values:
            self.reference(at, value)
            at += 4
        return position

    def table(self, table: Table) -> int:
        fields = table.fields
        signature = tuple(
            [
                (len(field[0]), field[1])
                if type(field) is Inline
                else _ABSENT
                if field is None
                else _REFERENCE
                for field in fields
            ]
        )
        layout = _layouts.get(signature)
        if layout is None:
            layout = _layouts.setdefault(signature, _lay_out(signature))
        out = self.out
        vtable = self.vtables.get(layout.vtable)
        if vtable is None:
            self.align(2)
            vtable = self.vtables[layout.vtable] = len(out)
            out += layout.vtable
        position = len(out)
        padding = -(position + layout.ahead) % layout.align
        if padding:
            out += _PADDING[padding]
            position += padding
        inline: list[Any] = [fields[slot] for slot in layout.inline]
        out += layout.pack(position - vtable, *[field[0] for field in inline])
        for slot, offset in layout.references:
            self.reference(position + offset, fields[slot])
        return position
