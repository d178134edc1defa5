"""The content of a pack that is not in the storage yet."""

from __future__ import annotations

from bisect import bisect_right
from concurrent.futures import Future

import numpy as np

from icechunk_core.contract import Buffer

__all__ = ["PackBuffer"]

_FIRST_SEGMENT = 1 << 16
_LARGEST_SEGMENT = 1 << 20


class PackBuffer:
    """One pack that is not in the storage yet.

    Attributes
    ----------
    flight
        The attempt to write it that is under way, or the last one. ``None`` before the first.
    """

    __slots__ = ("_room", "_segments", "_starts", "flight", "id", "size")

    def __init__(self, id: bytes) -> None:
        self.id = id
        self.size = 0
        self.flight: Future[None] | None = None
        # Memory grows with the content, a segment at a time. No chunk lies in two of them.
        self._segments: list[memoryview] = []
        self._starts: list[int] = []
        self._room = 0

    def append(self, data: Buffer, size: int) -> None:
        """Copy a chunk to the end; the lock is held."""
        if size > self._room:
            grown = 4 * len(self._segments[-1]) if self._segments else _FIRST_SEGMENT
            self._room = max(size, min(grown, _LARGEST_SEGMENT))
            self._segments.append(memoryview(np.empty(self._room, np.uint8)))
            self._starts.append(self.size)
        at = self.size - self._starts[-1]
        try:
            self._segments[-1][at : at + size] = data
        except ValueError:  # bytes of another type, such as signed ones
            self._segments[-1][at : at + size] = memoryview(data).cast("B")
        self.size += size
        self._room -= size

    def view(self, start: int, length: int) -> memoryview:
        """A chunk. Bytes once appended do not change, so that views stay valid."""
        segment = bisect_right(self._starts, start) - 1
        start -= self._starts[segment]
        return self._segments[segment][start : start + length].toreadonly()

    def content(self) -> list[memoryview]:
        """All of it, in pieces."""
        ends = [*self._starts[1:], self.size]
        return [
            segment[: end - start]
            for segment, start, end in zip(self._segments, self._starts, ends, strict=True)
        ]

    def under_way(self) -> bool:
        """Whether somebody is writing it."""
        return self.flight is not None and not self.flight.done()
