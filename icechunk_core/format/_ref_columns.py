"""Row-aligned columns of chunk refs, without any promise about their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from icechunk_core.errors import ErrorKind, InvalidInputError
from icechunk_core.format._coords import Coords
from icechunk_core.format._payloads import NO_ETAG, Payloads, Source, empty_payloads, merged_sources
from icechunk_core.format.refs import ChunkRef, InlineRef, NativeRef, RefKind

__all__ = ["RefColumns", "columns_from_items", "concat_columns", "coords_from_keys"]

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
        payloads, sources = merged_sources(
            [
                (empty_payloads(len(part.coords)) if part.payloads is None else part.payloads, part.sources)
                for part in parts
            ]
        )
    return RefColumns(
        np.concatenate([part.coords for part in parts]),
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.length for part in parts]),
        np.concatenate([part.chunk_ids for part in parts]),
        payloads,
        sources,
    )


def coords_from_keys(ndim: int, keys: Iterable[Sequence[int]], rows: int) -> Coords:
    """Coordinate tuples as ``uint32[rows, ndim]``; `InvalidInputError` if one does not fit."""
    listed = list(keys)
    if any(len(key) != ndim for key in listed):
        raise InvalidInputError(
            f"chunk coordinates must have {ndim} dimensions", kind=ErrorKind.INVALID_CHUNK_INDEX
        )
    try:
        wide = np.array(listed, dtype=np.int64).reshape(rows, ndim)
    except (OverflowError, ValueError, TypeError) as error:
        raise InvalidInputError(
            "chunk coordinates must be integers below 2^32", kind=ErrorKind.INVALID_CHUNK_INDEX
        ) from error
    if wide.size and (int(wide.min()) < 0 or int(wide.max()) >= 1 << 32):
        raise InvalidInputError(
            "chunk coordinates must be integers from 0 to 2^32 - 1", kind=ErrorKind.INVALID_CHUNK_INDEX
        )
    return wide.astype(np.uint32)


def columns_from_items(ndim: int, items: Mapping[tuple[int, ...], ChunkRef]) -> RefColumns:
    """Columns of refs given as values, in the mapping's order."""
    rows = len(items)
    coords = coords_from_keys(ndim, items.keys(), rows)
    refs = list(items.values())
    if all(type(ref) is NativeRef for ref in refs):
        return RefColumns(coords, np.full(rows, _NATIVE, dtype=np.uint8), *_native_columns(refs))
    kind = np.empty(rows, dtype=np.uint8)
    ranges: list[tuple[int, int]] = []
    ids: list[bytes] = []
    payloads = _PayloadWriter(rows)
    for row, ref in enumerate(refs):
        if isinstance(ref, NativeRef):
            kind[row] = _NATIVE
            ranges.append((ref.offset, ref.length))
            ids.append(_checked_id(ref.chunk_id))
            continue
        ids.append(_NO_ID)
        if isinstance(ref, InlineRef):
            kind[row] = _INLINE
            ranges.append((0, len(ref.data)))
            payloads.add(row, ref.data)
        else:
            kind[row] = _VIRTUAL
            ranges.append((ref.offset, ref.length))
            payloads.add(row, ref.location.encode(), ref.etag, ref.last_modified)
    offset, length = _range_columns(ranges)
    return RefColumns(
        coords, kind, offset, length, _id_column(ids), payloads.rows, (Source(b"".join(payloads.pieces)),)
    )


class _PayloadWriter:
    """Collects payload bytes and where they went."""

    def __init__(self, rows: int) -> None:
        self.rows = empty_payloads(rows)
        self.pieces: list[bytes] = []
        self.end = 0

    def add(self, row: int, data: bytes, etag: str | None = None, modified: int | None = None) -> None:
        etag_start, etag_size = NO_ETAG, 0
        start = self._put(data)
        if etag is not None:
            encoded = etag.encode()
            etag_start, etag_size = self._put(encoded), len(encoded)
        if modified is not None and not 0 <= modified < 1 << 32:
            raise InvalidInputError(
                f"last_modified must be from 0 to 2^32 - 1 seconds, not {modified}",
                kind=ErrorKind.INVALID_VIRTUAL_REF,
            )
        self.rows[row] = (0, start, len(data), 0, etag_start, etag_size, modified or 0, False)

    def _put(self, data: bytes) -> int:
        start = self.end
        self.pieces.append(data)
        self.end += len(data)
        return start


def _checked_id(chunk_id: bytes) -> bytes:
    if len(chunk_id) != 12:
        raise InvalidInputError(f"a chunk id has 12 bytes, not {len(chunk_id)}")
    return chunk_id


def _id_column(ids: list[bytes]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(ids), dtype=np.uint8).reshape(len(ids), 12)


def _range_columns(
    ranges: list[tuple[int, int]],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    if any(offset < 0 or length < 0 or offset + length >= 1 << 63 for offset, length in ranges):
        raise InvalidInputError("offset and length of a chunk must be non-negative and below 2^63")
    table = np.array(ranges, dtype=np.uint64).reshape(len(ranges), 2)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])


def _native_columns(
    refs: list[Any],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    offset, length = _range_columns([(ref.offset, ref.length) for ref in refs])
    return offset, length, _id_column([_checked_id(ref.chunk_id) for ref in refs])
