"""Which parts of which objects to fetch for many chunks at once. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import define

__all__ = ["ChunkSpan", "chunk_spans"]


@define(eq=False)
class ChunkSpan:
    """A part of a chunk object, for the sake of the chunks in it.

    Attributes
    ----------
    chunk_id
        12 raw bytes; names the object.
    start, end
        Which bytes of it.
    rows
        The numbers by which whoever asked knows the chunks.
    starts, lengths
        Where each of them is, counted from the beginning of the span, and how long.
    """

    chunk_id: bytes
    start: int
    end: int
    rows: list[int]
    starts: list[int]
    lengths: list[int]
    wasted: int = 0


def chunk_spans(
    rows: Sequence[int],
    ids: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.integer[Any]],
    lengths: npt.NDArray[np.integer[Any]],
    *,
    over_read: int,
    largest: int,
) -> list[ChunkSpan]:
    """The fewest spans that have all chunks, each with at most ``over_read`` bytes that nobody wants.

    Parameters
    ----------
    rows, ids, offsets, lengths
        The chunks, row by row; an id has 12 bytes.
    largest
        A span has at most so many bytes, unless it is a single chunk.

    >>> ids = np.zeros((3, 12), dtype=np.uint8)
    >>> offsets, lengths = np.array([8, 0, 99]), np.array([8, 8, 1])
    >>> spans = chunk_spans([0, 1, 2], ids, offsets, lengths, over_read=0, largest=64)
    >>> [(span.start, span.end, span.rows) for span in spans]
    [(0, 16, [1, 0]), (99, 100, [2])]
    """
    if not len(rows):
        return []
    names = np.ascontiguousarray(ids).view("S12").reshape(len(ids))
    changes = names[1:] != names[:-1]
    if (changes | (offsets[1:] < offsets[:-1])).any():
        order = np.lexsort((offsets, names))
        names, offsets, lengths = names[order], offsets[order], lengths[order]
        rows = np.asarray(rows)[order].tolist()
        changes = names[1:] != names[:-1]
    is_first = [True, *changes.tolist()]
    id_bytes = names.tobytes()
    spans: list[ChunkSpan] = []
    end = limit = 0
    columns = zip(rows, is_first, offsets.tolist(), lengths.tolist(), strict=True)
    for number, (row, first, start, length) in enumerate(columns):
        if not first and (start + length <= end or start + length <= limit):
            span = spans[-1]
            gap = start - end
            if gap <= 0 or span.wasted + gap <= over_read:
                span.wasted += max(0, gap)
                end = max(end, start + length)
                span.end = end
                span.rows.append(row)
                span.starts.append(start - span.start)
                span.lengths.append(length)
                continue
        end, limit = start + length, start + largest
        chunk_id = id_bytes[12 * number : 12 * number + 12]
        spans.append(ChunkSpan(chunk_id, start, end, [row], [0], [length]))
    return spans
