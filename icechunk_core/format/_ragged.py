"""Copying many byte ranges of different lengths at once."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["copy_ranges"]

Positions = npt.NDArray[np.int64]
# Words gathered per step; bounds the temporary arrays to a few tens of megabytes.
_BLOCK_WORDS: Final = 1 << 20
# Ranges longer than this on average are copied by slices, which costs a fraction of a µs each.
_LONG: Final = 256
_TAIL_MASKS = np.array([0xFFFFFFFF, 0xFF, 0xFFFF, 0xFFFFFF], dtype=np.uint32)


def copy_ranges(
    target: npt.NDArray[np.uint8], to: Positions, source: Any, start: Positions, size: Positions
) -> None:
    """Copy ``source[start:start+size]`` to ``target[to:]`` for every row.

    Each range is filled up with zero bytes to a multiple of four. The positions in `to` are multiples
    of four, and so is the length of `target`; the ranges lie inside their buffers.

    Parameters
    ----------
    target
        Zero-filled or about to be overwritten; aligned to 4 bytes.
    source
        Any bytes-like object.
    """
    rows = len(to)
    if not rows:
        return
    source_bytes = np.frombuffer(source, dtype=np.uint8)
    words = (size + 3) >> 2
    total = int(words.sum())
    if rows < 64 or total * 4 > rows * _LONG:
        _copy_slices(target, to, source_bytes, start, size)
        return
    # Whole words are read, so ranges that end within the last bytes of the source go the slow way.
    at_end = start + 4 * words > len(source_bytes)
    if at_end.any():
        _copy_slices(target, to[at_end], source_bytes, start[at_end], size[at_end])
        inside = ~at_end
        to, start, size, words = to[inside], start[inside], size[inside], words[inside]
    if not len(to):
        return
    windows = np.ndarray((len(source_bytes) - 3,), "<u4", source_bytes.data, 0, (1,))
    out = target.view("<u4")
    ends = np.cumsum(words)
    first = 0
    while first < len(to):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _BLOCK_WORDS, side="right")))
        block = slice(first, last)
        _copy_words(out, to[block] >> 2, windows, start[block], size[block], words[block])
        first = last


def _copy_words(
    out: npt.NDArray[np.uint32],
    to: Positions,
    windows: npt.NDArray[np.uint32],
    start: Positions,
    size: Positions,
    words: Positions,
) -> None:
    ends = np.cumsum(words)
    within = np.arange(int(ends[-1]), dtype=np.int64) - np.repeat(ends - words, words)
    values = windows[np.repeat(start, words) + 4 * within]
    filled = words > 0
    values[ends[filled] - 1] &= _TAIL_MASKS[size[filled] & 3]
    out[np.repeat(to, words) + within] = values


def _copy_slices(
    target: npt.NDArray[np.uint8],
    to: Positions,
    source: npt.NDArray[np.uint8],
    start: Positions,
    size: Positions,
) -> None:
    out, data = memoryview(target), memoryview(source)
    for position, begin, length in zip(to.tolist(), start.tolist(), size.tolist(), strict=True):
        out[position : position + length] = data[begin : begin + length]
        padding = -length % 4
        out[position + length : position + length + padding] = bytes(padding)
