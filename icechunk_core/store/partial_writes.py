"""Writes of parts of values: each value is read, changed and written whole."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TypeAlias

from zarr.core.common import BytesLike

from icechunk_core.errors import ErrorKind, InvalidInputError

__all__ = ["Parts", "parts_by_key", "spliced"]

Parts: TypeAlias = list[tuple[int, bytes]]
"""Parts of one value and where they begin, in order of position."""


def parts_by_key(key_start_values: Iterable[tuple[str, int, BytesLike]]) -> dict[str, Parts]:
    """The parts of each key; empty ones are left out.

    Raises
    ------
    InvalidInputError
        If a position is negative, or two parts of a value overlap.
    """
    found: dict[str, Parts] = {}
    for key, start, data in key_start_values:
        if start < 0:
            raise _refused(key, f"position {start} is negative")
        part = bytes(data)
        if part:
            found.setdefault(key, []).append((start, part))
    for key, parts in found.items():
        parts.sort(key=lambda part: part[0])
        for (start, data), (following, _) in pairwise(parts):
            if following < start + len(data):
                raise _refused(key, f"the parts at {start} and {following} overlap")
    return found


def spliced(key: str, value: bytes, parts: Parts) -> bytes:
    """A value with its parts replaced; it grows where they reach past its end.

    Raises
    ------
    InvalidInputError
        If that would leave a gap.
    """
    changed = bytearray(value)
    for start, data in parts:
        if start > len(changed):
            raise _refused(key, f"it has {len(changed)} bytes; a part at {start} would leave a gap")
        changed[start : start + len(data)] = data
    return bytes(changed)


def _refused(key: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"cannot write parts of {key!r}: {reason}", kind=ErrorKind.INVALID_BYTE_RANGE)
