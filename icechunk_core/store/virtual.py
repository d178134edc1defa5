"""Virtual chunk references: bytes of other objects that are shown as chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from icechunk_core.clock import us_from_datetime
from icechunk_core.errors import ErrorKind, InvalidInputError
from icechunk_core.format.refs import VirtualRef

if TYPE_CHECKING:
    from icechunk_core.store.session_protocol import Coords, StoreSession

__all__ = ["VirtualChunkSpec", "make_virtual_ref", "specs_from_columns", "write_virtual_refs"]


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
    scheme, separator, rest = location.partition("://")
    if not (scheme and separator and rest.strip("/")):
        raise InvalidInputError(
            f"virtual chunk location {location!r} is not a URL such as s3://bucket/key",
            kind=ErrorKind.INVALID_VIRTUAL_REF,
        )
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
    if isinstance(checksum, datetime):
        # The format stores whole seconds (FORMAT.md, section 6.2).
        seconds = us_from_datetime(checksum) // 1_000_000
        return VirtualRef(location, offset, length, last_modified=seconds)
    return VirtualRef(location, offset, length, etag=checksum)


def specs_from_columns(
    grid_shape: Sequence[int],
    locations: Sequence[str],
    offsets: NDArray[np.uint64],
    lengths: NDArray[np.uint64],
    *,
    grid_offset: Sequence[int] | None,
    checksum: str | datetime | None,
) -> Iterator[tuple[Coords, VirtualRef]]:
    """Refs of a block of the chunk grid from columns in C order; an empty location is no chunk.

    Raises
    ------
    InvalidInputError
        If the columns do not have one entry per chunk of the block, or the offset does not
        have one number per dimension.
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
    columns = zip(np.ndindex(*shape), locations, offsets.tolist(), lengths.tolist(), strict=True)
    for index, location, offset, length in columns:
        if location:
            coords = tuple([i + o for i, o in zip(index, start, strict=True)])
            yield coords, make_virtual_ref(location, offset, length, checksum)


async def write_virtual_refs(
    session: StoreSession,
    path: str,
    refs: Iterable[tuple[Coords, VirtualRef]],
    *,
    validate_container: bool,
) -> list[Coords] | None:
    """Write refs; the coordinates of those that no container covers, or ``None`` if all were written.

    Any other problem is raised, with the refs before it written.
    """
    failed: list[Coords] = []
    for coords, ref in refs:
        try:
            await session.write_virtual_ref(path, coords, ref, validate_container=validate_container)
        except InvalidInputError as error:
            if error.kind != ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK:
                raise
            failed.append(coords)
    return failed or None
