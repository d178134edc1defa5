"""The content of a pack that is not in the storage yet."""

from __future__ import annotations

from bisect import bisect_right
from concurrent.futures import Future
from typing import Final

from icechunk_core.assets.streams import Bytes
from icechunk_core.contract import Buffer

__all__ = ["PackBuffer", "SpareSegments"]

_FIRST_SEGMENT: Final = 1 << 16
_LARGEST_SEGMENT: Final = 1 << 20
_MOST_SPARE: Final = 16


class SpareSegments:
    """Memory of packs that were written, for the next ones. Not safe between threads.

    The first write to fresh memory costs several times as much as the copy itself. At most
    16 MiB are kept.
    """

    __slots__ = ("_segments",)

    def __init__(self) -> None:
        self._segments: list[bytearray] = []

    def take(self) -> bytearray | None:
        """A segment of the largest size, with old bytes in it; ``None`` if there is none."""
        return self._segments.pop() if self._segments else None

    def give(self, segment: bytearray) -> None:
        """Keep a segment, unless somebody still looks at it, it is small, or there are enough."""
        if len(segment) == _LARGEST_SEGMENT and len(self._segments) < _MOST_SPARE and _unseen(segment):
            self._segments.append(segment)

    def clear(self) -> None:
        """Give the memory back."""
        self._segments.clear()


def _unseen(segment: bytearray) -> bool:
    """Whether no view of the bytes is left, anywhere: a bytearray cannot change its size before."""
    try:
        segment.append(segment.pop())
    except BufferError:
        return False
    return True


class PackBuffer:
    """One pack that is not in the storage yet.

    Attributes
    ----------
    size
        Bytes of the chunks in it.
    flight
        The attempt to write it that is under way, or the last one. ``None`` before the first.
    """

    __slots__ = (
        "_at", "_last", "_limit", "_owned", "_segments", "_spares", "_starts", "flight", "id", "size",
    )  # fmt: skip

    def __init__(self, id: bytes, spares: SpareSegments | None = None) -> None:
        self.id = id
        self.size = 0
        self.flight: Future[None] | None = None
        self._spares = SpareSegments() if spares is None else spares
        # Memory grows with the content, a segment at a time. No chunk lies in two of them.
        self._segments: list[memoryview] = []
        self._owned: list[bytearray] = []
        self._starts: list[int] = []
        self._last = memoryview(b"")
        self._at = self._limit = 0

    def append(self, data: Buffer | Bytes, size: int) -> None:
        """Copy a chunk to the end; the lock is held."""
        at = self._at
        if at + size > self._limit:
            self._grow(size)
            at = 0
        end = at + size
        try:
            self._last[at:end] = data
        except ValueError:  # bytes of another type, such as signed ones
            self._last[at:end] = memoryview(data).cast("B")
        self._at = end
        self.size += size

    def room(self, size: int, count: int) -> memoryview:
        """Where up to ``count`` chunks of equal size fit side by side, one at least; the lock is held.

        Nothing is taken until `took` says so.
        """
        if self._at + size > self._limit:
            self._grow(size)
        fitting = min(count, (self._limit - self._at) // size)
        return self._last[self._at : self._at + fitting * size]

    def took(self, size: int) -> None:
        """So many bytes of what `room` gave are chunks now; the lock is held."""
        self._at += size
        self.size += size

    def _grow(self, size: int) -> None:
        segment = self._spares.take() if size <= _LARGEST_SEGMENT else None
        if segment is None:
            grown = 4 * self._limit if self._segments else _FIRST_SEGMENT
            segment = bytearray(max(size, min(grown, _LARGEST_SEGMENT)))
        self._last = memoryview(segment)
        self._owned.append(segment)
        self._segments.append(self._last)
        self._starts.append(self.size)
        self._at, self._limit = 0, len(segment)

    def view(self, start: int, length: int) -> memoryview | None:
        """A chunk; ``None`` once the pack was released. Views stay valid, and their bytes as they are."""
        segments = self._segments
        at = bisect_right(self._starts, start) - 1
        if at >= len(segments):
            return None
        start -= self._starts[at]
        return segments[at][start : start + length].toreadonly()

    def content(self) -> list[memoryview]:
        """All of it, in pieces."""
        ends = [*self._starts[1:], self.size]
        return [
            segment[: end - start]
            for segment, start, end in zip(self._segments, self._starts, ends, strict=True)
        ]

    def release(self) -> None:
        """The storage has it: the next pack may have the memory that nobody looks at; the lock is held."""
        segments = self._owned
        # A reader that has the old list keeps its memoryviews, and so the segments out of use.
        self._segments, self._owned = [], []
        self._last = memoryview(b"")
        self._at = self._limit = 0
        for segment in segments:
            self._spares.give(segment)

    def under_way(self) -> bool:
        """Whether somebody is writing it."""
        return self.flight is not None and not self.flight.done()
