"""MessagePack: metadata values of spec 1 snapshots (FORMAT.md, section 7.2)."""

from __future__ import annotations

import math
from typing import Any

import msgpack

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import Corrupt, FormatError
from icechunk_core.format.flexbuffers import JSON, MAX_DEPTH

__all__ = ["decode", "encode"]


def encode(value: JSON) -> bytes:
    """Encode a value; keys of objects are sorted by their bytes.

    Raises
    ------
    FormatError
        The value has something JSON does not have, or is nested too deep.

    >>> encode({"b": -1, "a": [1.5, None]}).hex()
    '82a16192cb3ff8000000000000c0a162ff'
    """
    try:
        packed: bytes = msgpack.packb(_plain(value, 0), use_bin_type=True)
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"cannot write metadata value: {error}", kind=ErrorKind.SERIALIZATION) from error
    return packed


def decode(data: bytes, *, name: str) -> JSON:
    """Decode a value.

    Raises
    ------
    Corrupt
        The bytes are not exactly one MessagePack value that JSON can hold.
    """
    try:
        # Skipping allocates nothing, and proves that announced lengths are not longer than the data.
        scout = msgpack.Unpacker(max_buffer_size=0, ext_hook=_refuse_extension)
        scout.feed(data)
        scout.skip()
        if scout.tell() != len(data):
            raise Corrupt("bytes after a MessagePack value", object_name=name)
        return _plain(msgpack.unpackb(data, raw=False, ext_hook=_refuse_extension), 0)
    except (ValueError, TypeError, FormatError, msgpack.exceptions.UnpackException) as error:
        if isinstance(error, Corrupt):
            raise
        raise Corrupt(f"invalid MessagePack value: {error}", object_name=name) from error


def _refuse_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"MessagePack extension type {code} is no JSON value")


def _plain(value: Any, depth: int) -> JSON:
    """Check that a value is JSON, and sort the keys of its objects."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no JSON number")
        return value
    if depth >= MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} of an object is no string")
        return {key: _plain(value[key], depth + 1) for key in sorted(value, key=str.encode)}
    raise TypeError(f"{type(value).__name__} is no JSON value")
