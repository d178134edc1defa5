"""The parts of inline and virtual refs that are not numbers, kept as ranges of shared buffers.

A `PAYLOAD` says where they are; those of native refs are all zero except ``etag_start``. Refs that say
the same, such as virtual ones to one object, may share one (see `Payloads`). The bytes stay where they
were read (the decompressed manifest) or were put by whoever made the refs, in a `Source`, and are looked
at only when a ref is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt
from attrs import frozen

from icechunk_core.errors import Corrupt
from icechunk_core.format._ragged import copy_ranges
from icechunk_core.format.locations import LocationDecompressor

__all__ = [
    "NO_ETAG",
    "PAYLOAD",
    "Entries",
    "Payloads",
    "Source",
    "compacted",
    "distinct_ranges",
    "empty_entries",
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
Entries = npt.NDArray[np.void]
Numbers = npt.NDArray[np.uint32]
# More sources than this are copied into one.
_MAX_SOURCES: Final = 16
_FEW_ENTRIES: Final = 1024


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


@frozen(eq=False)
class Payloads:
    """The payloads of refs, row by row.

    Attributes
    ----------
    entries : PAYLOAD[k]
        Each belongs to refs of one kind; some may be of no ref.
    which : uint32[n] or None
        The entry of each row; None: each row has its own, in order.

    >>> shared = Payloads(empty_payloads(1).entries, np.zeros(3, np.uint32))
    >>> len(shared), shared["size"].tolist(), shared[1:].used().tolist()
    (3, [0, 0, 0], [0])
    """

    entries: Entries
    which: Numbers | None = None

    def __len__(self) -> int:
        return len(self.entries if self.which is None else self.which)

    @overload
    def __getitem__(self, rows: str) -> npt.NDArray[Any]: ...

    @overload
    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> Payloads: ...

    def __getitem__(self, rows: Any) -> npt.NDArray[Any] | Payloads:
        """A field as a column, or some rows."""
        if isinstance(rows, str):
            return self.spread(self.entries[rows])
        if self.which is None:
            return Payloads(self.entries[rows])
        return Payloads(self.entries, self.which[rows])

    def spread(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Per row what a column has for its entry."""
        return column if self.which is None else column[self.which]

    def row(self, row: int) -> Any:
        """The fields of one row, as a tuple."""
        return self.entries[row if self.which is None else self.which[row]].item()

    def rows(self) -> Entries:
        """An entry for each row."""
        return self.spread(self.entries)

    def numbers(self) -> Numbers:
        """The entry of each row."""
        return np.arange(len(self.entries), dtype=np.uint32) if self.which is None else self.which

    def used(self, rows: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.intp]:
        """The entries of some rows, or of all, ascending."""
        if self.which is None:
            return np.arange(len(self.entries)) if rows is None else np.flatnonzero(rows)
        used = np.zeros(len(self.entries), dtype=np.bool_)
        used[self.which if rows is None else self.which[rows]] = True
        return np.flatnonzero(used)

    def packed(self) -> Payloads:
        """Without the entries of no ref."""
        if self.which is None:
            return self
        used = self.used()
        if len(used) == len(self.entries):
            return self
        place = np.zeros(len(self.entries), dtype=np.uint32)
        place[used] = np.arange(len(used), dtype=np.uint32)
        return Payloads(self.entries[used], place[self.which])

    def tidy(self) -> Payloads:
        """`packed`, if that makes it much smaller."""
        wasted = len(self.entries) - len(self)
        return self.packed() if wasted > len(self) + _FEW_ENTRIES else self


def empty_entries(count: int) -> Entries:
    """Entries that say nothing, as those of native refs."""
    entries = np.zeros(count, dtype=PAYLOAD)
    entries["etag_start"] = NO_ETAG
    return entries


def empty_payloads(rows: int) -> Payloads:
    """Payloads of native refs."""
    return Payloads(empty_entries(1), np.zeros(rows, dtype=np.uint32))


def merged_sources(
    parts: Sequence[tuple[Payloads, tuple[Source, ...]]],
) -> tuple[Payloads, tuple[Source, ...]]:
    """Put payloads with different sources below each other."""
    numbers: dict[int, int] = {}
    sources: list[Source] = []
    entries: list[Entries] = []
    which: list[Numbers] | None = None if all(own.which is None for own, _ in parts) else []
    first = 0
    for payloads, own in parts:
        for source in own:
            if id(source) not in numbers:
                numbers[id(source)] = len(sources)
                sources.append(source)
        renumber = [numbers[id(source)] for source in own]
        entries.append(_renumbered(payloads.entries, renumber))
        if which is not None:
            which.append(payloads.numbers() + np.uint32(first))
        first += len(payloads.entries)
    if not parts:
        return empty_payloads(0), ()
    joined = Payloads(np.concatenate(entries), None if which is None else np.concatenate(which)).tidy()
    if len(sources) > _MAX_SOURCES:
        return compacted(joined, tuple(sources))
    return joined, tuple(sources)


def _renumbered(entries: Entries, numbers: list[int]) -> Entries:
    """With other numbers of their sources."""
    if numbers == list(range(len(numbers))):
        return entries
    renumber = np.array(numbers, dtype=np.int32)
    entries = entries.copy()
    entries["source"] = renumber[entries["source"]]
    entries["etag_source"] = renumber[entries["etag_source"]]
    return entries


def distinct_ranges(entries: Entries, prefix: str = "") -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which entries have a range of their own, and for each the number of its range among those.

    ``prefix`` is ``"etag_"`` for the ETags' ranges.
    """
    starts, sources = entries[f"{prefix}start"], entries[f"{prefix}source"]
    keys = starts + (sources.astype(np.int64) << 48)
    if (keys[1:] > keys[:-1]).all():
        return np.arange(len(keys)), np.arange(len(keys))
    steps = keys[1:] != keys[:-1]
    if not steps.any():
        first, which = np.zeros(min(len(keys), 1), np.intp), np.zeros(len(keys), np.intp)
    else:
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    sizes = entries[f"{prefix}size"]
    if not np.array_equal(sizes[first][which], sizes):  # empty ones, or ranges that overlap
        return np.arange(len(keys)), np.arange(len(keys))
    return first, which


def compacted(payloads: Payloads, sources: tuple[Source, ...]) -> tuple[Payloads, tuple[Source, ...]]:
    """Copy what the rows use into fresh buffers, one per dictionary, so that the old ones can be freed."""
    payloads = payloads.packed()
    entries = payloads.entries
    result = entries.copy()
    compact: list[Source] = []
    groups: dict[bytes | None, list[int]] = {}
    for number, source in enumerate(sources):
        groups.setdefault(source.dictionary, []).append(number)
    for dictionary, numbers in groups.items():
        rows = np.flatnonzero(np.isin(entries["source"], numbers))
        if not len(rows):
            continue
        arena = _copy_group(result, rows, entries, sources)
        result["source"][rows] = result["etag_source"][rows] = len(compact)
        compact.append(Source(arena, dictionary=dictionary, name=sources[numbers[0]].name))
    return Payloads(result, payloads.which), tuple(compact)


def _copy_group(
    result: Entries, rows: npt.NDArray[np.intp], entries: Entries, sources: tuple[Source, ...]
) -> npt.NDArray[np.uint8]:
    """Copy the ranges of some entries into one new buffer and point them there."""
    chosen = entries[rows]
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
