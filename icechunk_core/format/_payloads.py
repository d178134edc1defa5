"""The parts of inline and virtual refs that are not numbers, kept as ranges of shared buffers.

`PAYLOAD` is one row per ref; rows of native refs are all zero except ``etag_start``. The bytes stay
where they were read (the decompressed manifest) or were put by whoever made the refs, in a `Source`,
and are looked at only when a ref is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from icechunk_core.errors import Corrupt
from icechunk_core.format._ragged import copy_ranges
from icechunk_core.format.locations import LocationDecompressor

__all__ = [
    "NO_ETAG",
    "PAYLOAD",
    "Payloads",
    "Source",
    "compacted",
    "distinct_ranges",
    "empty_payloads",
    "merged_sources",
]

PAYLOAD: Final = np.dtype(
    [
        ("source", "<i4"),  # inline bytes, or location: index into the sources, and the range there
        ("start", "<i8"),
        ("size", "<u4"),
        ("etag_source", "<i4"),  # the same for the ETag; starts at NO_ETAG if there is none
        ("etag_start", "<i8"),
        ("etag_size", "<u4"),
        ("modified", "<u4"),  # seconds since 1970, 0: not recorded
        ("compressed", "?"),  # the location is a zstd frame
    ]
)
NO_ETAG: Final = -1
Payloads = npt.NDArray[np.void]
# More sources than this are copied into one.
_MAX_SOURCES: Final = 16


class Source:
    """One buffer that payloads point into, and the dictionary of its compressed locations."""

    __slots__ = ("_decompressor", "arena", "dictionary", "name")

    def __init__(self, arena: Any, *, dictionary: bytes | None = None, name: str = "") -> None:
        self.arena = arena
        self.dictionary = dictionary
        self.name = name
        self._decompressor: LocationDecompressor | None = None

    def __reduce__(self) -> tuple[Callable[..., Source], tuple[bytes, bytes | None, str]]:
        return _restored, (bytes(self.arena), self.dictionary, self.name)

    def take(self, start: int, size: int) -> bytes:
        """A range of the buffer."""
        return bytes(self.arena[start : start + size])

    def text(self, start: int, size: int, what: str) -> str:
        """A range of the buffer as UTF-8 text."""
        return self._decode(self.take(start, size), what)

    def location(self, start: int, size: int, compressed: bool) -> str:
        """A location, decompressed if needed."""
        data = self.take(start, size)
        if compressed:
            data = self._decompress(data)
        return self._decode(data, "location")

    def _decompress(self, frame: bytes) -> bytes:
        if self._decompressor is None:
            if self.dictionary is None:
                raise Corrupt("compressed location without a dictionary", object_name=self.name)
            self._decompressor = LocationDecompressor(self.dictionary, name=self.name)
        return self._decompressor.decompress(frame)

    def _decode(self, data: bytes, what: str) -> str:
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError as error:
            raise Corrupt(f"{what} is not UTF-8", object_name=self.name) from error


def _restored(arena: bytes, dictionary: bytes | None, name: str) -> Source:
    return Source(arena, dictionary=dictionary, name=name)


def empty_payloads(rows: int) -> Payloads:
    """Payload rows that say nothing, as native refs have them."""
    payloads = np.zeros(rows, dtype=PAYLOAD)
    payloads["etag_start"] = NO_ETAG
    return payloads


def merged_sources(
    parts: Sequence[tuple[Payloads, tuple[Source, ...]]],
) -> tuple[Payloads, tuple[Source, ...]]:
    """Put payload rows with different sources below each other."""
    numbers: dict[int, int] = {}
    sources: list[Source] = []
    columns = []
    for payloads, own in parts:
        for source in own:
            if id(source) not in numbers:
                numbers[id(source)] = len(sources)
                sources.append(source)
        renumber = np.array([numbers[id(source)] for source in own] or [0], dtype=np.int32)
        column = payloads.copy()
        column["source"] = renumber[column["source"]]
        column["etag_source"] = renumber[column["etag_source"]]
        columns.append(column)
    payloads = np.concatenate(columns) if columns else empty_payloads(0)
    if len(sources) > _MAX_SOURCES:
        return compacted(payloads, tuple(sources))
    return payloads, tuple(sources)


def distinct_ranges(
    payloads: Payloads, prefix: str = ""
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which rows have a range of their own, and for each row the number of its range among those.

    ``prefix`` is ``"etag_"`` for the ETags' ranges.
    """
    starts, sources = payloads[f"{prefix}start"], payloads[f"{prefix}source"]
    keys = starts + (sources.astype(np.int64) << 48)
    steps = keys[1:] != keys[:-1]
    if not steps.any():
        first, which = np.zeros(min(len(keys), 1), np.intp), np.zeros(len(keys), np.intp)
    else:
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    sizes = payloads[f"{prefix}size"]
    if not np.array_equal(sizes[first][which], sizes):  # empty ones, or ranges that overlap
        return np.arange(len(keys)), np.arange(len(keys))
    return first, which


def compacted(payloads: Payloads, sources: tuple[Source, ...]) -> tuple[Payloads, tuple[Source, ...]]:
    """Copy what the rows use into fresh buffers, one per dictionary, so that the old ones can be freed."""
    result = payloads.copy()
    compact: list[Source] = []
    groups: dict[bytes | None, list[int]] = {}
    for number, source in enumerate(sources):
        groups.setdefault(source.dictionary, []).append(number)
    for dictionary, numbers in groups.items():
        rows = np.flatnonzero(np.isin(payloads["source"], numbers))
        if not len(rows):
            continue
        arena = _copy_group(result, rows, payloads, sources)
        result["source"][rows] = result["etag_source"][rows] = len(compact)
        compact.append(Source(arena, dictionary=dictionary, name=sources[numbers[0]].name))
    return result, tuple(compact)


def _copy_group(
    result: Payloads, rows: npt.NDArray[np.intp], payloads: Payloads, sources: tuple[Source, ...]
) -> npt.NDArray[np.uint8]:
    """Copy the ranges of some rows into one new buffer and point the rows there."""
    chosen = payloads[rows]
    has_etag = chosen["etag_start"] >= 0
    sizes = chosen["size"].astype(np.int64)
    etag_sizes = np.where(has_etag, chosen["etag_size"], 0).astype(np.int64)
    padded, etag_padded = (sizes + 3) & ~3, (etag_sizes + 3) & ~3
    ends = np.cumsum(padded + etag_padded)
    to = ends - padded - etag_padded
    arena = np.zeros(int(ends[-1]), dtype=np.uint8)
    for number, source in enumerate(sources):
        mine = chosen["source"] == number
        copy_ranges(arena, to[mine], source.arena, chosen["start"][mine], sizes[mine])
        mine = has_etag & (chosen["etag_source"] == number)
        etag_to = to[mine] + padded[mine]
        copy_ranges(arena, etag_to, source.arena, chosen["etag_start"][mine], etag_sizes[mine])
    result["start"][rows] = to
    result["etag_start"][rows] = np.where(has_etag, to + padded, NO_ETAG)
    return arena
