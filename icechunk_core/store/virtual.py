"""Virtual chunk references: bytes of other objects that are shown as chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from icechunk_core.clock import us_from_datetime
from icechunk_core.errors import ErrorKind, InvalidInputError
from icechunk_core.format.chunk_refs import ChunkRefs, coords_from_keys
from icechunk_core.format.refs import VirtualRef
from icechunk_core.transaction.column_changes import MIN_COLUMN, RefMapping

if TYPE_CHECKING:
    from icechunk_core.store.session_protocol import Coords, StoreSession

__all__ = [
    "VirtualChunkSpec",
    "make_virtual_ref",
    "refs_from_columns",
    "refs_from_specs",
    "specs_from_columns",
    "write_virtual_refs",
]

_INDEX, _LOCATION, _OFFSET, _LENGTH = map(attrgetter, ("index", "location", "offset", "length"))
_CHECKSUMS = attrgetter("etag_checksum", "last_updated_at_checksum")


@frozen
class VirtualChunkSpec:
    """A virtual chunk reference and where in the chunk grid it goes.

    Parameters
    ----------
    index
        Chunk coordinates, one per dimension.
    location
        URL of the object that holds the bytes, such as ``"s3://bucket/file.nc"``. Its path is the
        object's key, verbatim; ``?``, ``#`` and ``%`` in a key are written percent-encoded.
    offset, length
        Which bytes of that object.
    etag_checksum
        ETag that the object must still have when the chunk is read.
    last_updated_at_checksum
        Time after which the object must not have been modified when the chunk is read.
    """

    index: Sequence[int] = field(converter=list)
    location: str
    offset: int
    length: int
    etag_checksum: str | None = None
    last_updated_at_checksum: datetime | None = None


def make_virtual_ref(
    location: str, offset: int, length: int, checksum: str | datetime | None = None
) -> VirtualRef:
    """A checked virtual ref; ``checksum`` is an ETag or the latest time of modification.

    Raises
    ------
    InvalidInputError
        Kind ``INVALID_VIRTUAL_REF`` if the location is no URL, the offset is negative, or the
        range does not fit into 64 bits; kind ``ZERO_LENGTH_CHUNK`` if the length is not positive.
    """
    _check_location(location)
    offset, length = int(offset), int(length)
    if length <= 0:
        raise InvalidInputError(
            f"virtual ref to {location!r} with length {length}: a chunk has at least one byte; "
            "leave out chunks that do not exist",
            kind=ErrorKind.ZERO_LENGTH_CHUNK,
        )
    if offset < 0 or offset + length >= 1 << 64:
        raise InvalidInputError(
            f"virtual ref to {location!r}: bytes {offset}..{offset + length} are out of range",
            kind=ErrorKind.INVALID_VIRTUAL_REF,
        )
    etag, last_modified = _checksum(checksum)
    return VirtualRef(location, offset, length, etag, last_modified)


def _check_location(location: str) -> None:
    scheme, separator, rest = location.partition("://")
    if not (scheme and separator and rest.strip("/")):
        raise InvalidInputError(
            f"virtual chunk location {location!r} is not a URL such as s3://bucket/key",
            kind=ErrorKind.INVALID_VIRTUAL_REF,
        )


def _checksum(checksum: str | datetime | None) -> tuple[str | None, int | None]:
    """ETag and time in whole seconds, which is what the format stores (FORMAT.md, section 6.2)."""
    if isinstance(checksum, datetime):
        return None, us_from_datetime(checksum) // 1_000_000
    return checksum, None


def specs_from_columns(
    grid_shape: Sequence[int],
    locations: Sequence[str],
    offsets: NDArray[np.uint64],
    lengths: NDArray[np.uint64],
    *,
    grid_offset: Sequence[int] | None,
    checksum: str | datetime | None,
) -> RefMapping:
    """Refs of a block of the chunk grid from columns in C order; an empty location is no chunk.

    Raises
    ------
    InvalidInputError
        If the columns do not have one entry per chunk of the block, the offset does not
        have one number per dimension, or as `make_virtual_ref`.
    """
    shape = tuple(int(size) for size in grid_shape)
    count = int(np.prod(shape, dtype=np.int64))
    if not len(locations) == len(offsets) == len(lengths) == count:
        raise InvalidInputError(
            f"a chunk grid of shape {shape} has {count} chunks; got {len(locations)} locations, "
            f"{len(offsets)} offsets and {len(lengths)} lengths",
            kind=ErrorKind.INVALID_VIRTUAL_REF,
        )
    start = (0,) * len(shape) if grid_offset is None else tuple(int(o) for o in grid_offset)
    if len(start) != len(shape) or any(value < 0 for value in start):
        raise InvalidInputError(
            f"arr_offset {start} does not fit a chunk grid of shape {shape}",
            kind=ErrorKind.INVALID_CHUNK_INDEX,
        )
    if any(first + size > 1 << 32 for first, size in zip(start, shape, strict=True)):
        raise InvalidInputError(
            f"chunk coordinates of a grid of shape {shape} at {start} do not fit into 32 bits",
            kind=ErrorKind.INVALID_CHUNK_INDEX,
        )
    coords = _block_coords(start, shape)
    return refs_from_columns(coords, locations, offsets, lengths, checksum=checksum, is_sorted=True)


def refs_from_columns(
    coords: NDArray[np.uint32],
    locations: Sequence[str],
    offsets: NDArray[Any],
    lengths: NDArray[Any],
    *,
    checksum: str | datetime | None,
    is_sorted: bool = False,
) -> RefMapping:
    """Refs of chunks anywhere in the grid from columns of equal length; an empty location is no chunk.

    Parameters
    ----------
    is_sorted
        As in `ChunkRefs.virtual`.

    Raises
    ------
    InvalidInputError
        As `make_virtual_ref`.
    """
    first, size = np.asarray(offsets), np.asarray(lengths)
    numbers, which = _numbered(locations)
    used = which != numbers.get("", -1)
    _check_columns(locations, numbers, used, first, size)
    if not used.all():
        coords, which, first, size = coords[used], which[used], first[used], size[used]
    checksums = [_checksum(checksum)] * len(numbers)
    return RefMapping(
        ChunkRefs.virtual(coords, list(numbers), which, first, size, checksums, is_sorted=is_sorted),
        list(numbers),
    )


def refs_from_specs(chunks: Sequence[VirtualChunkSpec]) -> Mapping[Coords, VirtualRef]:
    """Refs of chunks, as columns if there are many; the last one counts where a chunk is given twice.

    Raises
    ------
    InvalidInputError
        As `make_virtual_ref`.
    """
    if len(chunks) >= MIN_COLUMN:
        # Whatever is unusual or wrong with one of them is found and told chunk by chunk.
        with suppress(InvalidInputError, OverflowError, TypeError, ValueError):
            mapping = _columns_from_specs(chunks)
            if len(mapping) == len(chunks):
                return mapping
    return {
        tuple(chunk.index): make_virtual_ref(
            chunk.location,
            chunk.offset,
            chunk.length,
            chunk.etag_checksum or chunk.last_updated_at_checksum,
        )
        for chunk in chunks
    }


def _columns_from_specs(chunks: Sequence[VirtualChunkSpec]) -> RefMapping:
    rows = len(chunks)
    offsets = np.fromiter(map(_OFFSET, chunks), dtype=np.int64, count=rows)
    lengths = np.fromiter(map(_LENGTH, chunks), dtype=np.int64, count=rows)
    locations = list(map(_LOCATION, chunks))
    # Refs that differ in nothing but offset and length share location and checksum.
    marks = [etag or time for etag, time in map(_CHECKSUMS, chunks)]
    keys = list(zip(locations, marks, strict=True)) if any(marks) else locations
    numbers, which = _numbered(keys)
    distinct = list(numbers) if keys is not locations else [(location, None) for location in numbers]
    _check_columns(locations, [location or " " for location, _ in distinct], None, offsets, lengths)
    places = [location for location, _ in distinct]
    checksums = [_checksum(mark) for _, mark in distinct]
    coords = coords_from_keys(len(chunks[0].index), map(_INDEX, chunks), rows)
    return RefMapping(ChunkRefs.virtual(coords, places, which, offsets, lengths, checksums), places)


def _numbered(locations: Sequence[Any]) -> tuple[dict[Any, int], NDArray[np.uint32]]:
    """Numbers of the distinct locations, or other values, and the number of each row's.

    Neighbours mostly have the same one, often the very same object, which is compared faster than looked up.
    """
    rows = len(locations)
    column = np.fromiter(locations, dtype=object, count=rows)
    starts = np.ones(rows, dtype=np.bool_)
    starts[1:] = column[1:] != column[:-1]
    count = int(np.count_nonzero(starts))
    heads: Sequence[Any] = locations if 2 * count > rows else column[starts].tolist()
    numbers = {location: number for number, location in enumerate(dict.fromkeys(heads))}
    if len(numbers) == rows:
        return numbers, np.arange(rows, dtype=np.uint32)
    which = np.fromiter(map(numbers.__getitem__, heads), dtype=np.uint32, count=len(heads))
    if len(which) == rows:
        return numbers, which
    firsts = np.flatnonzero(starts)
    return numbers, np.repeat(which, np.diff(firsts, append=rows))


def _block_coords(start: Coords, shape: Coords) -> NDArray[np.uint32]:
    """The coordinates of a block of the grid, in C order."""
    coords = np.empty((int(np.prod(shape, dtype=np.int64)), len(shape)), dtype=np.uint32, order="F")
    for axis, (first, size) in enumerate(zip(start, shape, strict=True)):
        along = [1] * len(shape)
        along[axis] = size
        coords[:, axis].reshape(shape)[...] = np.arange(first, first + size, dtype=np.int64).reshape(along)
    return coords


def _check_columns(
    locations: Sequence[str],
    distinct: Iterable[str],
    used: NDArray[np.bool_] | None,
    offsets: NDArray[Any],
    lengths: NDArray[Any],
) -> None:
    """As `make_virtual_ref` checks, for whole columns; the first bad row is named by that function."""
    first, size = offsets.astype(np.uint64, copy=False), lengths.astype(np.uint64, copy=False)
    bad = first + size < size  # what does not fit wraps around
    bad |= lengths <= 0
    if offsets.dtype.kind != "u":
        bad |= offsets < 0
    if used is not None:
        bad &= used
    if bad.any():
        row = int(bad.argmax())
        make_virtual_ref(locations[row], offsets[row], lengths[row])
    known = " "  # how URLs begin that were checked: scheme and first letter of what follows
    for location in distinct:
        if location and not location.startswith(known):
            _check_location(location)
            scheme, _, rest = location.partition("://")
            known = f"{scheme}://{rest[: len(rest) - len(rest.lstrip('/')) + 1]}"


async def write_virtual_refs(
    session: StoreSession,
    path: str,
    refs: Mapping[Coords, VirtualRef],
    *,
    validate_container: bool,
) -> list[Coords] | None:
    """Write refs; the coordinates of those that no container covers, or ``None`` if all were written.

    After any other problem nothing is written.
    """
    return await session.write_virtual_refs(path, refs, validate_container=validate_container) or None
