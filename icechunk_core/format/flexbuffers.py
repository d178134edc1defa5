"""FlexBuffers: JSON-like values as bytes (FORMAT.md, section 7.3).

Used for metadata values and the configuration of spec 2. The encoder makes the same choices as Icechunk's;
the decoder reads everything the format has except the deprecated string vectors.
"""

from __future__ import annotations

import math
import struct
from typing import Any, TypeAlias

from attrs import define, frozen

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import Corrupt, FormatError

__all__ = ["JSON", "MAX_DEPTH", "decode", "encode"]

JSON: TypeAlias = Any
"""None, bool, int, float, str, list of such values, or dict of such values under str keys."""

MAX_DEPTH = 200
"""Deepest nesting of lists and objects that is written or read."""

INT, UINT = 1, 2
_NULL, _INT, _UINT, _FLOAT, _KEY, _STRING = range(6)
_INDIRECT = {6: _INT, 7: _UINT, 8: _FLOAT}
_MAP, _VECTOR = 9, 10
_TYPED = {11: _INT, 12: _UINT, 13: _FLOAT, 14: _KEY, 36: 26}
_FIXED = {
    16 + 3 * (length - 2) + kind: (scalar, length)
    for length in (2, 3, 4)
    for kind, scalar in enumerate((_INT, _UINT, _FLOAT))
}
_TYPED_OF = {scalar: code for code, scalar in _TYPED.items()}
_FIXED_OF = {key: code for code, key in _FIXED.items()}
_BLOB, _BOOL = 25, 26
_INLINE = frozenset((_NULL, _INT, _UINT, _FLOAT, _BOOL))
_FLOAT_FORMAT = {4: "<f", 8: "<d"}


# --- encoding ------------------------------------------------------------------


def encode(value: JSON) -> bytes:
    """Encode a value; keys of objects are sorted by their bytes.

    Raises
    ------
    FormatError
        The value has something JSON does not have, a key with a NUL, an integer outside i64 and u64, or is
        nested more than `MAX_DEPTH` deep.

    >>> encode([1, 2, 3]).hex(" ")
    '01 02 03 03 50 01'
    """
    writer = _Writer(bytearray(), {})
    root = writer.value(value, 0)
    width = writer.align(root.width_at(len(writer.out), 0))
    writer.slot(root, width)
    writer.out.append(root.packed_type(0))
    writer.out.append(width)
    return bytes(writer.out)


def _unsigned_log_width(value: int) -> int:
    """log2 of the bytes that an unsigned integer needs."""
    return 0 if value < 1 << 8 else 1 if value < 1 << 16 else 2 if value < 1 << 32 else 3


def _padding(size: int, width: int) -> int:
    return -size % width


@frozen
class _Item:
    """A value to store: a scalar, or the position of what was written out of line."""

    kind: int
    content: int | float
    log_width: int

    def width_at(self, size: int, index: int) -> int:
        """log2 of the slot width needed as element ``index`` of a vector written at ``size``."""
        if self.kind in _INLINE:
            return self.log_width
        for log_width in range(4):
            width = 1 << log_width
            slot = size + _padding(size, width) + index * width
            if _unsigned_log_width(slot - int(self.content)) <= log_width:
                return log_width
        raise FormatError("value too large for FlexBuffers", kind=ErrorKind.SERIALIZATION)

    def packed_type(self, parent_log_width: int) -> int:
        inline = self.kind in _INLINE
        return self.kind << 2 | (max(self.log_width, parent_log_width) if inline else self.log_width)


@define
class _Writer:
    out: bytearray
    keys: dict[bytes, int]

    def value(self, value: JSON, depth: int) -> _Item:
        """Write what goes out of line and return what goes into the container's slot."""
        if value is None:
            return _Item(_NULL, 0, 0)
        if isinstance(value, bool):
            return _Item(_BOOL, int(value), 0)
        if isinstance(value, int):
            return _integer(value)
        if isinstance(value, float):
            return _float(value)
        if isinstance(value, str):
            return self.block(_STRING, _utf8(value))
        if isinstance(value, bytes):
            return self.block(_BLOB, value)
        if depth >= MAX_DEPTH:
            raise FormatError(f"value nested more than {MAX_DEPTH} levels deep", kind=ErrorKind.SERIALIZATION)
        if isinstance(value, dict):
            return self.map(value, depth + 1)
        if isinstance(value, list | tuple):
            return self.vector([self.value(item, depth + 1) for item in value])
        raise FormatError(
            f"{type(value).__name__} is no JSON value; use None, bool, int, float, str, list or dict",
            kind=ErrorKind.SERIALIZATION,
        )

    def map(self, value: dict[Any, JSON], depth: int) -> _Item:
        positions = []
        values = []
        for key, item in _sorted_items(value):
            positions.append(_Item(_KEY, self.key(key), 0))
            values.append(self.value(item, depth))
        keys = self._elements(positions, self._log_width(positions, 1), typed=True, counted=True)
        return self.vector(values, keys)

    def vector(self, items: list[_Item], keys: _Item | None = None) -> _Item:
        if keys is not None:
            log_width = self._log_width(items, 3)
            log_width = max(log_width, keys.width_at(len(self.out), 0))
            width = self.align(log_width)
            self.slot(keys, width)
            self.integer(1 << keys.log_width, width)
            return self._elements(items, log_width, typed=False, counted=True, kind=_MAP)
        scalar = items[0].kind if items else None
        typed = scalar in (_INT, _UINT, _FLOAT, _BOOL) and all(item.kind == scalar for item in items)
        if not typed:
            return self._elements(items, self._log_width(items, 1), typed=False, counted=True)
        assert scalar is not None
        fixed = _FIXED_OF.get((scalar, len(items)))
        kind = _TYPED_OF[scalar] if fixed is None else fixed
        log_width = self._log_width(items, 1)
        return self._elements(items, log_width, typed=True, counted=fixed is None, kind=kind)

    def _log_width(self, items: list[_Item], before: int) -> int:
        size = len(self.out)
        widths = [item.width_at(size, index) for index, item in enumerate(items, before)]
        return max([_unsigned_log_width(len(items)), *widths])

    def _elements(
        self, items: list[_Item], log_width: int, *, typed: bool, counted: bool, kind: int | None = None
    ) -> _Item:
        width = self.align(log_width)
        if counted:
            self.integer(len(items), width)
        position = len(self.out)
        for item in items:
            self.slot(item, width)
        if not typed:
            self.out += bytes(item.packed_type(log_width) for item in items)
        if kind is None:
            kind = _TYPED_OF[_KEY] if typed else _VECTOR
        return _Item(kind, position, log_width)

    def key(self, key: bytes) -> int:
        """Position of a key; each is written once."""
        position = self.keys.get(key)
        if position is None:
            position = self.keys[key] = len(self.out)
            self.out += key
            self.out.append(0)
        return position

    def block(self, kind: int, data: bytes) -> _Item:
        log_width = _unsigned_log_width(len(data))
        self.integer(len(data), self.align(log_width))
        position = len(self.out)
        self.out += data
        if kind == _STRING:
            self.out.append(0)
        return _Item(kind, position, log_width)

    def align(self, log_width: int) -> int:
        width = 1 << log_width
        self.out += bytes(_padding(len(self.out), width))
        return width

    def slot(self, item: _Item, width: int) -> None:
        if item.kind == _FLOAT:
            self.out += struct.pack(_FLOAT_FORMAT[width], item.content)
        elif item.kind in _INLINE:
            self.integer(int(item.content), width)
        else:
            self.integer(len(self.out) - int(item.content), width)

    def integer(self, value: int, width: int) -> None:
        self.out += value.to_bytes(width, "little", signed=value < 0)


def _integer(value: int) -> _Item:
    if value >= 0:
        if value >= 1 << 64:
            raise FormatError(f"integer {value} exceeds 64 bits", kind=ErrorKind.SERIALIZATION)
        return _Item(_UINT, value, _unsigned_log_width(value))
    if value < -(1 << 63):
        raise FormatError(f"integer {value} exceeds 64 bits", kind=ErrorKind.SERIALIZATION)
    magnitude = -value - 1
    log_width = next(log for log in range(4) if magnitude < 1 << (8 * (1 << log) - 1))
    return _Item(_INT, value, log_width)


def _float(value: float) -> _Item:
    if not math.isfinite(value):
        raise FormatError(f"{value} is no JSON number", kind=ErrorKind.SERIALIZATION)
    try:
        short = struct.unpack("<f", struct.pack("<f", value))[0] == value
    except OverflowError:
        short = False
    return _Item(_FLOAT, value, 2 if short else 3)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError(f"text with lone surrogates: {error}", kind=ErrorKind.SERIALIZATION) from error


def _sorted_items(value: dict[Any, JSON]) -> list[tuple[bytes, JSON]]:
    for key in value:
        if not isinstance(key, str):
            raise FormatError(f"key {key!r} of an object is no string", kind=ErrorKind.SERIALIZATION)
        if "\0" in key:
            raise FormatError(f"key {key!r} of an object contains a NUL", kind=ErrorKind.SERIALIZATION)
    return sorted(((_utf8(key), item) for key, item in value.items()), key=lambda pair: pair[0])


# --- decoding ------------------------------------------------------------------


def decode(data: bytes, *, name: str) -> JSON:
    """Decode a value.

    Parameters
    ----------
    data
        Exactly one FlexBuffers document.
    name
        What errors call the object it comes from.

    Raises
    ------
    Corrupt
        The document is malformed, nested more than `MAX_DEPTH` deep, or refers to its parts over and over.

    >>> decode(bytes.fromhex("01 02 03 03 50 01"), name="example")
    [1, 2, 3]
    """
    if len(data) < 3:
        raise Corrupt("FlexBuffers document too short", object_name=name)
    width, packed_type = data[-1], data[-2]
    if width not in (1, 2, 4, 8) or len(data) < width + 2:
        raise Corrupt(f"invalid FlexBuffers root width {width}", object_name=name)
    kind = packed_type >> 2
    if kind in (_INT, _UINT) and len(data) == width + 2:  # most metadata
        return int.from_bytes(data[:width], "little", signed=kind == _INT)
    data = bytes(data)
    reader = _Reader(data, name, 8 * len(data) + 64, {})
    return reader.value(len(data) - 2 - width, width, packed_type, 0)


@define
class _Reader:
    data: bytes
    name: str
    # Parts may be shared, so a small document can describe an enormous value. Each value and each byte of
    # text counts once per visit.
    budget: int
    keys: dict[int, str]

    def value(self, slot: int, width: int, packed_type: int, depth: int) -> JSON:
        """The value whose slot of ``width`` bytes is at ``slot``."""
        kind = packed_type >> 2
        if kind in _INLINE:
            return self.scalar(kind, slot, width)
        target = slot - self.unsigned(slot, width)
        width = 1 << (packed_type & 3)
        if target < 0:
            raise self.corrupt("offset before the start")
        if depth >= MAX_DEPTH and kind in (_MAP, _VECTOR):
            raise self.corrupt(f"nested more than {MAX_DEPTH} levels deep")
        if kind == _STRING:
            return self.text(target, self.count(target, width))
        if kind == _MAP:
            return self.map(target, width, depth + 1)
        if kind == _VECTOR:
            return self.vector(target, width, depth + 1)
        if kind == _KEY:
            return self.key(target)
        if kind in _TYPED:
            return self.typed(_TYPED[kind], target, width, self.count(target, width))
        if kind in _FIXED:
            return self.typed(_FIXED[kind][0], target, width, _FIXED[kind][1])
        if kind in _INDIRECT:
            return self.scalar(_INDIRECT[kind], target, width)
        if kind == _BLOB:
            length = self.count(target, width)
            self.check(target, length)
            return self.data[target : target + length]
        raise self.corrupt(f"unknown FlexBuffers type {kind}")

    def scalar(self, kind: int, slot: int, width: int) -> JSON:
        self.check(slot, width)
        if kind == _NULL:
            return None
        raw = self.data[slot : slot + width]
        if kind == _FLOAT:
            if width < 4:
                raise self.corrupt(f"float of {width} bytes")
            number: float = struct.unpack(_FLOAT_FORMAT[width], raw)[0]
            return number if math.isfinite(number) else None
        integer = int.from_bytes(raw, "little", signed=kind == _INT)
        return bool(integer) if kind == _BOOL else integer

    def map(self, target: int, width: int, depth: int) -> dict[str, JSON]:
        values = self.vector(target, width, depth)
        key_slot = target - 3 * width
        if key_slot < 0:
            raise self.corrupt("map without keys")
        keys_at = key_slot - self.unsigned(key_slot, width)
        keys_width = self.unsigned(target - 2 * width, width)
        if keys_at < 0 or keys_width not in (1, 2, 4, 8):
            raise self.corrupt("invalid keys of a map")
        keys = self.typed(_KEY, keys_at, keys_width, self.count(keys_at, keys_width))
        if len(keys) != len(values):
            raise self.corrupt(f"map with {len(keys)} keys and {len(values)} values")
        return dict(zip(keys, values, strict=True))

    def vector(self, target: int, width: int, depth: int) -> list[JSON]:
        count = self.count(target, width)
        self.check(target, count * (width + 1))
        types = target + count * width
        value, data = self.value, self.data
        return [value(target + i * width, width, data[types + i], depth) for i in range(count)]

    def typed(self, kind: int, target: int, width: int, count: int) -> list[JSON]:
        self.check(target, count * width)
        slots = range(target, target + count * width, width)
        if kind == _KEY:
            return [self.key(slot - self.unsigned(slot, width)) for slot in slots]
        return [self.scalar(kind, slot, width) for slot in slots]

    def key(self, target: int) -> str:
        known = self.keys.get(target)
        if known is not None:
            self.spend(1)
            return known
        end = self.data.find(b"\0", target) if target >= 0 else -1
        if end < 0:
            raise self.corrupt("invalid key")
        key = self.keys[target] = self.text(target, end - target)
        return key

    def text(self, target: int, length: int) -> str:
        self.check(target, length)
        try:
            return self.data[target : target + length].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.corrupt(f"invalid UTF-8: {error}") from error

    def count(self, target: int, width: int) -> int:
        return self.unsigned(target - width, width)

    def unsigned(self, position: int, width: int) -> int:
        if position < 0 or position + width > len(self.data):
            raise self.corrupt("offset outside the document")
        return int.from_bytes(self.data[position : position + width], "little")

    def check(self, position: int, size: int) -> None:
        if position < 0 or position + size > len(self.data):
            raise self.corrupt("offset or length outside the document")
        self.spend(size + 1)

    def spend(self, cost: int) -> None:
        self.budget -= cost
        if self.budget < 0:
            raise self.corrupt("refers to its parts too often")

    def corrupt(self, problem: str) -> Corrupt:
        return Corrupt(f"FlexBuffers: {problem}", object_name=self.name)
