"""What was read ahead of sequential readers. No I/O: readers ask here first, and tell what they fetched."""

from __future__ import annotations

import threading
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from icechunk_core.contract import Buffer, ObjectInfo
from icechunk_core.drive import child_safe

__all__ = ["Bytes", "Streams", "as_array"]

Bytes: TypeAlias = npt.NDArray[np.uint8]
"""Bytes as an array: a part of one is had in a fifth of the time that an array of a part takes."""

_BYTE: Final = np.dtype(np.uint8)

_OBJECTS: Final = 16
"""So many objects are followed at a time."""
_EAGERNESS: Final = 4
"""The first time, so many times as much is fetched ahead as was asked for."""
_STRIDE: Final = 4
"""A sequential reader may skip so many times as much as it reads, or come so much too late."""


def as_array(data: Buffer) -> Bytes:
    """Bytes as an array that nobody can write to, since several readers may see it; nothing is copied."""
    array = np.frombuffer(data, _BYTE)
    if type(data) is not bytes:
        array.flags.writeable = False
    return array


class _Block(NamedTuple):
    """The part of an object that was fetched last; a tuple, because random readers make one each time."""

    start: int
    end: int
    data: Bytes
    info: ObjectInfo
    ahead: int


class Streams:
    """Follows readers through objects that never change.

    A read that begins where the last one of the same object ended, or little later, is taken
    for a part of a sequence: more is fetched than it asks for, twice as much each time, up to
    a limit. A random reader gets nothing that it has not asked for. Safe between threads.

    Parameters
    ----------
    most_ahead
        Bytes to fetch ahead at most; 0 switches it off.
    """

    def __init__(self, most_ahead: int) -> None:
        self._most_ahead = most_ahead
        self._blocks: dict[str, _Block] = {}
        self._lock = child_safe(threading.Lock())

    def peek(self, key: str, start: int, end: int) -> Bytes | None:
        """A part of an object, if it was fetched already."""
        block = self._blocks.get(key)
        if block is None:
            return None
        first = block[0]
        return block[2][start - first : end - first] if first <= start and end <= block[1] else None

    def held(self, key: str, start: int, end: int) -> tuple[Buffer, ObjectInfo] | None:
        """The same, with what the storage said about the object."""
        block = self._blocks.get(key)
        if block is None:
            return None
        first, last, data, info, _ = block
        return (data[start - first : end - first].data, info) if first <= start and end <= last else None

    def ahead(self, key: str, start: int, end: int) -> int:
        """How many bytes past ``end`` to fetch with a part of an object."""
        block = self._blocks.get(key)
        size = end - start
        if block is None or not block.start <= start <= block.end + _STRIDE * size:
            return 0
        return min(max(2 * block.ahead, _EAGERNESS * size), self._most_ahead)

    def keep(self, key: str, start: int, data: Bytes, info: ObjectInfo, ahead: int) -> None:
        """Note what was fetched, ``ahead`` of it as `ahead` said."""
        if len(data) - ahead > self._most_ahead:
            return
        block = self._blocks.get(key)
        if block is not None and not ahead and 0 < block.start - start <= _STRIDE * len(data):
            return  # a straggler; others are further already
        with self._lock:
            self._blocks.pop(key, None)
            self._blocks[key] = _Block(start, start + len(data), data, info, ahead)
            if len(self._blocks) > _OBJECTS:
                del self._blocks[next(iter(self._blocks))]
