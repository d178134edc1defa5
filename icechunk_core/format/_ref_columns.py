"""Row-aligned columns of chunk refs, without any promise about their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from icechunk_core.errors import ErrorKind, InvalidInputError
from icechunk_core.format._coords import Coords
from icechunk_core.format._payloads import (
    Entries,
    Payloads,
    Source,
    empty_entries,
    empty_payloads,
    merged_sources,
)
from icechunk_core.format.refs import ChunkRef, InlineRef, NativeRef, RefKind

__all__ = [
    "RefColumns",
    "columns_from_items",
    "concat_columns",
    "coords_from_keys",
    "merged_columns",
    "virtual_columns",
]

_INLINE: Final = int(RefKind.INLINE)
_NATIVE: Final = int(RefKind.NATIVE)
_VIRTUAL: Final = int(RefKind.VIRTUAL)
_NO_ID: Final = bytes(12)


class RefColumns(NamedTuple):
    """Columns of equal length.

    ``payloads`` (see `_payloads`) is None when all refs are native.
    """

    coords: Coords
    kind: npt.NDArray[np.uint8]
    offset: npt.NDArray[np.uint64]
    length: npt.NDArray[np.uint64]
    chunk_ids: npt.NDArray[np.uint8]
    payloads: Payloads | None = None
    sources: tuple[Source, ...] = ()

    def rows(self, rows: Any) -> RefColumns:
        """The chosen rows: an index array, a mask or a slice."""
        return RefColumns(
            self.coords[rows],
            self.kind[rows],
            self.offset[rows],
            self.length[rows],
            self.chunk_ids[rows],
            None if self.payloads is None else self.payloads[rows],
            self.sources,
        )


def concat_columns(parts: Sequence[RefColumns]) -> RefColumns:
    """Put columns of the same number of dimensions below each other."""
    payloads: Payloads | None = None
    sources: tuple[Source, ...] = ()
    if any(part.payloads is not None for part in parts):
        payloads, sources = merged_sources([_with_payloads(part) for part in parts])
    return RefColumns(
        np.concatenate([part.coords for part in parts]),
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.length for part in parts]),
        np.concatenate([part.chunk_ids for part in parts]),
        payloads,
        sources,
    )


def merged_columns(
    base: RefColumns, dropped: npt.NDArray[np.intp], added: RefColumns, before: npt.NDArray[np.intp]
) -> RefColumns:
    """Columns with some rows removed and others inserted.

    Parameters
    ----------
    base
        What most rows come from.
    dropped
        Rows of `base` that are left out, ascending.
    added
        New rows.
    before
        For each new row the row of `base` before which it goes, ascending; a dropped row gives its place
        to the new row before it.
    """
    rows, new = len(base.kind), len(added.kind)
    payloads, sources = None, base.sources
    if base.payloads is not None or added.payloads is not None:
        payloads, sources = merged_sources([_with_payloads(base), _with_payloads(added)])
    overwritten = np.array_equal(dropped, before)
    is_new = np.zeros(rows - len(dropped) + new, dtype=bool)
    if not overwritten:
        is_new[before - np.searchsorted(dropped, before) + np.arange(new)] = True
    keep = np.ones(rows, dtype=bool)
    keep[dropped] = False

    def merge(old: npt.NDArray[Any], fresh: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if overwritten:
            result = old.copy(order="K")
            result[before] = fresh
        else:
            result = np.empty((len(is_new), *old.shape[1:]), dtype=old.dtype, order=_order(old))
            result[~is_new] = old[keep]
            result[is_new] = fresh
        return result

    if payloads is not None:
        which = payloads.numbers()
        payloads = Payloads(payloads.entries, merge(which[:rows], which[rows:])).tidy()
    return RefColumns(
        merge(base.coords, added.coords),
        merge(base.kind, added.kind),
        merge(base.offset, added.offset),
        merge(base.length, added.length),
        merge(base.chunk_ids, added.chunk_ids),
        payloads,
        sources,
    )


def _order(array: npt.NDArray[Any]) -> Literal["C", "F"]:
    """Keep coordinates in the memory order they have."""
    return "C" if array.flags.c_contiguous else "F"


def _with_payloads(part: RefColumns) -> tuple[Payloads, tuple[Source, ...]]:
    return (empty_payloads(len(part.kind)) if part.payloads is None else part.payloads), part.sources


def coords_from_keys(ndim: int, keys: Iterable[Sequence[int]], rows: int) -> Coords:
    """Coordinate tuples as ``uint32[rows, ndim]``; `InvalidInputError` if one does not fit."""
    listed = list(keys)
    if not {ndim}.issuperset(map(len, listed)):
        raise InvalidInputError(
            f"chunk coordinates must have {ndim} dimensions", kind=ErrorKind.INVALID_CHUNK_INDEX
        )
    try:
        flat = np.fromiter(chain.from_iterable(listed), dtype=np.int64, count=rows * ndim)
        wide = flat.reshape(rows, ndim)
    except (OverflowError, ValueError, TypeError) as error:
        raise InvalidInputError(
            "chunk coordinates must be integers below 2^32", kind=ErrorKind.INVALID_CHUNK_INDEX
        ) from error
    if wide.size and (int(wide.min()) < 0 or int(wide.max()) >= 1 << 32):
        raise InvalidInputError(
            "chunk coordinates must be integers from 0 to 2^32 - 1", kind=ErrorKind.INVALID_CHUNK_INDEX
        )
    return wide.astype(np.uint32, order="F")


def columns_from_items(ndim: int, items: Mapping[tuple[int, ...], ChunkRef]) -> RefColumns:
    """Columns of refs given as values, in the mapping's order."""
    rows = len(items)
    coords = coords_from_keys(ndim, items.keys(), rows)
    refs = list(items.values())
    if {NativeRef}.issuperset(map(type, refs)):
        return RefColumns(coords, np.full(rows, _NATIVE, dtype=np.uint8), *_native_columns(refs))
    kinds: list[int] = []
    ranges: list[tuple[int, int]] = []
    ids: list[bytes] = []
    payloads = _PayloadWriter()
    for ref in refs:
        if isinstance(ref, NativeRef):
            kinds.append(_NATIVE)
            ranges.append((ref.offset, ref.length))
            ids.append(_checked_id(ref.chunk_id))
            payloads.add(b"", None, None)
            continue
        ids.append(_NO_ID)
        if isinstance(ref, InlineRef):
            kinds.append(_INLINE)
            ranges.append((0, len(ref.data)))
            payloads.add(ref.data, None, None)
        else:
            kinds.append(_VIRTUAL)
            ranges.append((ref.offset, ref.length))
            payloads.add(ref.location.encode(), ref.etag, ref.last_modified)
    offset, length = _range_columns(ranges)
    kind = np.array(kinds, dtype=np.uint8)
    return RefColumns(coords, kind, offset, length, _id_column(ids), *payloads.finish())


def virtual_columns(
    coords: Coords,
    locations: Sequence[str],
    which: npt.NDArray[np.integer[Any]],
    offset: npt.NDArray[np.uint64],
    length: npt.NDArray[np.uint64],
    checksums: Sequence[tuple[str | None, int | None]],
) -> RefColumns:
    """Columns of virtual refs that share locations and checksums; see `ChunkRefs.virtual`."""
    rows = len(coords)
    if rows and int(max(offset.max(), length.max(), (offset + length).max())) >= 1 << 63:
        raise InvalidInputError("offset and length of a chunk must be non-negative and below 2^63")
    entries, sources = _location_entries(locations, checksums)
    payloads = Payloads(entries, which.astype(np.uint32, copy=False))
    return RefColumns(
        coords,
        np.full(rows, _VIRTUAL, dtype=np.uint8),
        offset,
        length,
        np.zeros((rows, 12), dtype=np.uint8),
        payloads,
        sources,
    )


def _location_entries(
    locations: Sequence[str], checksums: Sequence[tuple[str | None, int | None]]
) -> tuple[Entries, tuple[Source, ...]]:
    """A payload entry for each location, without a step in Python for each."""
    text = "".join(locations)
    data = text.encode()
    plain = locations if len(data) == len(text) else [location.encode() for location in locations]
    entries = empty_entries(len(locations))
    sizes = np.fromiter(map(len, plain), dtype=np.int64, count=len(plain))
    entries["start"], entries["size"] = np.cumsum(sizes) - sizes, sizes
    writer = _PayloadWriter()
    numbers = {checksum: number for number, checksum in enumerate(dict.fromkeys(checksums))}
    for etag, last_modified in numbers:
        writer.add(b"", etag, last_modified)
    known, (etags,) = writer.finish()
    if any(checksum != (None, None) for checksum in numbers):
        which = np.fromiter(map(numbers.__getitem__, checksums), dtype=np.intp, count=len(checksums))
        for name in ("etag_start", "etag_size", "modified"):
            entries[name] = known.entries[name][which]
        entries["etag_source"] = 1
    return entries, (Source(data), etags)


class _PayloadWriter:
    """Collects payload bytes and where they are, row by row."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []  # of each row the data, then the ETag
        self.etags: list[tuple[int, int]] = []  # rows with an ETag, and that which has its bytes
        self.known_etags: dict[str, int] = {}
        self.modified: list[int] = []

    def add(self, data: bytes, etag: str | None, modified: int | None) -> None:
        """The next row's inline data or location."""
        etag_bytes, row = b"", len(self.modified)
        if etag is not None:
            first = self.known_etags.setdefault(etag, row)
            self.etags.append((row, first))
            if first == row:
                etag_bytes = etag.encode()
        if modified is not None and not 0 <= modified < 1 << 32:
            raise InvalidInputError(
                f"last_modified must be from 0 to 2^32 - 1 seconds, not {modified}",
                kind=ErrorKind.INVALID_VIRTUAL_REF,
            )
        self.pieces.append(data)
        self.pieces.append(etag_bytes)
        self.modified.append(modified or 0)

    def finish(self) -> tuple[Payloads, tuple[Source, ...]]:
        rows = empty_entries(len(self.modified))
        sizes = np.fromiter(map(len, self.pieces), dtype=np.int64, count=len(self.pieces))
        starts = np.cumsum(sizes) - sizes
        rows["start"], rows["size"] = starts[::2], sizes[::2]
        if self.etags:
            having, first = np.array(self.etags, dtype=np.intp).T
            rows["etag_start"][having] = starts[1::2][first]
            rows["etag_size"][having] = sizes[1::2][first]
        rows["modified"] = self.modified
        return Payloads(rows), (Source(b"".join(self.pieces)),)


def _checked_id(chunk_id: bytes) -> bytes:
    if len(chunk_id) != 12:
        raise InvalidInputError(f"a chunk id has 12 bytes, not {len(chunk_id)}")
    return chunk_id


def _id_column(ids: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(ids), dtype=np.uint8).reshape(len(ids), 12)


def _range_columns(
    ranges: list[tuple[int, int]],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    return _checked_ranges(
        _whole_numbers([offset for offset, _ in ranges]), _whole_numbers([length for _, length in ranges])
    )


def _whole_numbers(values: Sequence[int]) -> npt.NDArray[np.int64]:
    try:
        return np.fromiter(values, dtype=np.int64, count=len(values))
    except OverflowError:
        raise _out_of_range() from None


def _checked_ranges(
    offset: npt.NDArray[np.int64], length: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    # A sum that does not fit wraps around to a negative one.
    if bool(((offset < 0) | (length < 0) | (offset + length < 0)).any()):
        raise _out_of_range()
    return offset.view(np.uint64), length.view(np.uint64)


def _out_of_range() -> InvalidInputError:
    return InvalidInputError("offset and length of a chunk must be non-negative and below 2^63")


def _native_columns(
    refs: list[Any],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    if not refs:
        return *_range_columns([]), _id_column([])
    ids, offsets, lengths = zip(*refs, strict=True)
    ranges = _checked_ranges(_whole_numbers(offsets), _whole_numbers(lengths))
    if set(map(len, ids)) != {12}:
        for chunk_id in ids:
            _checked_id(chunk_id)
    return *ranges, _id_column(ids)
