"""zarr's byte requests as byte ranges of the contract."""

from __future__ import annotations

from typing import TypeAlias

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest

from icechunk_core.contract import ByteRange, From, Range, Suffix
from icechunk_core.errors import ErrorKind, InvalidInputError

__all__ = ["KeyRange", "as_request", "reads_nothing", "slice_value", "to_byte_range"]

KeyRange: TypeAlias = ByteRequest | tuple[int | None, int | None] | None
"""A zarr request, or a pair ``(start, length)``; ``None`` in it is the beginning, or all that follows."""


def as_request(key_range: KeyRange) -> ByteRequest | None:
    """The zarr request that a pair stands for; anything else as it is.

    Pairs mean what they meant in zarr before it had byte requests.

    >>> as_request((2, 3))
    RangeByteRequest(start=2, end=5)
    """
    if not isinstance(key_range, tuple):
        return key_range
    if len(key_range) != 2 or not all(part is None or isinstance(part, int) for part in key_range):
        raise _refused(key_range, "a pair is (start, length), both integers or None")
    start, length = key_range[0] or 0, key_range[1]
    if start < 0 or (length is not None and length < 0):
        raise _refused(key_range, "it is negative")
    return OffsetByteRequest(start) if length is None else RangeByteRequest(start, start + length)


def to_byte_range(request: ByteRequest) -> Range | From | Suffix:
    """The contract's range for a zarr request.

    Raises
    ------
    InvalidInputError
        If it is no byte request, or has a negative number, or ends before it starts.
    """
    if isinstance(request, RangeByteRequest):
        if request.start < 0 or request.end < request.start:
            raise _refused(request, "it is negative or ends before it starts")
        return Range(request.start, request.end)
    if isinstance(request, OffsetByteRequest):
        if request.offset < 0:
            raise _refused(request, "it is negative")
        return From(request.offset)
    if isinstance(request, SuffixByteRequest):
        if request.suffix < 0:
            raise _refused(request, "it is negative")
        return Suffix(request.suffix)
    raise _refused(request, "use RangeByteRequest, OffsetByteRequest or SuffixByteRequest")


def _refused(request: object, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"Unexpected byte_range, got {request!r}: {reason}", kind=ErrorKind.INVALID_BYTE_RANGE
    )


def reads_nothing(byte_range: ByteRange, size: int) -> bool:
    """Whether a range holds no byte of a value of ``size`` bytes.

    zarr's own stores answer such a request with an empty buffer; the contract calls it
    `InvalidRange`.
    """
    if byte_range is None:
        return size == 0
    if isinstance(byte_range, Suffix):
        return byte_range.length == 0 or size == 0
    if isinstance(byte_range, From):
        return byte_range.offset >= size
    return byte_range.start >= min(byte_range.end, size)


def slice_value(data: bytes, request: ByteRequest | None) -> bytes:
    """The requested part of a value that is in memory, ends clamped."""
    if request is None:
        return data
    byte_range = to_byte_range(request)
    if isinstance(byte_range, Range):
        return data[byte_range.start : byte_range.end]
    if isinstance(byte_range, From):
        return data[byte_range.offset :]
    return data[max(0, len(data) - byte_range.length) :]
