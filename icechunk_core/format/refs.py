"""One chunk ref as a value: where the bytes of a chunk are (FORMAT.md, 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import NamedTuple, TypeAlias

from attrs import frozen

__all__ = ["ChunkRef", "InlineRef", "NativeRef", "RefKind", "VirtualRef", "new_native_ref"]


class RefKind(IntEnum):
    """Values of the ``kind`` column."""

    INLINE = 0
    NATIVE = 1
    VIRTUAL = 2


@frozen
class InlineRef:
    """The chunk's bytes, stored in the manifest itself."""

    data: bytes


class NativeRef(NamedTuple):
    """A range of an object ``chunks/ID``; several refs may share one object.

    A tuple, because one is made for every small chunk that is written or read.

    Attributes
    ----------
    chunk_id
        12 raw bytes.
    offset, length
        Bytes inside the object.
    """

    chunk_id: bytes
    offset: int
    length: int


@frozen
class VirtualRef:
    """A range of an object outside the repository.

    Attributes
    ----------
    location
        Absolute URL, or ``vcc://container/path``.
    offset, length
        Bytes inside the object.
    etag
        If given, the object must still have this ETag. Wins over ``last_modified``.
    last_modified
        If given, the object must not be newer than this (seconds since 1970).
    """

    location: str
    offset: int
    length: int
    etag: str | None = None
    last_modified: int | None = None


new_native_ref: Callable[[tuple[bytes, int, int]], NativeRef] = partial(tuple.__new__, NativeRef)
"""What `NativeRef` does, from a tuple and in half the time."""

ChunkRef: TypeAlias = InlineRef | NativeRef | VirtualRef
