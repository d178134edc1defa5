"""The store's method that lists the chunk references of an array in columns."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from icechunk_core.errors import ErrorKind, InvalidInputError
from icechunk_core.format import base32
from icechunk_core.format.chunk_refs import ChunkRefs
from icechunk_core.format.refs import InlineRef, RefKind
from icechunk_core.store.keys import node_path, normalize_directory

if TYPE_CHECKING:
    from icechunk_core.store.session_protocol import StoreSession

__all__ = ["ChunkColumns", "ChunkIteration"]

ChunkColumns: TypeAlias = tuple[
    NDArray[np.uint32], NDArray[np.uint8], list[str], NDArray[np.uint64], NDArray[np.uint64], dict[int, bytes]
]
"""Coordinates, kinds, paths, offsets, lengths, and the bytes of inline chunks by row."""

# From the codes in manifests to those of `ChunkType`.
_KINDS = np.zeros(3, dtype=np.uint8)
_KINDS[RefKind.NATIVE], _KINDS[RefKind.VIRTUAL], _KINDS[RefKind.INLINE] = 1, 2, 3

_DIGITS = np.array([base32.encode(bytes([value << 3]))[0] for value in range(32)], dtype="S1")


class ChunkIteration:
    """Part of `IcechunkStore`."""

    _session: StoreSession

    async def array_chunk_iterator(
        self, array_path: str, batch_size: int = 100_000
    ) -> AsyncGenerator[ChunkColumns, None]:
        """The references of all chunks of an array, in batches of aligned columns.

        Uncommitted chunks come first, then those of each manifest, sorted within. An array that
        does not exist has no chunks.

        Parameters
        ----------
        array_path
            Path of the array, with or without a slash in front.
        batch_size
            Rows of a batch; the last may have fewer.

        Yields
        ------
        coords : uint32[n, ndim]
            Chunk coordinates.
        kinds : uint8[n]
            Values of `ChunkType`: 1 native, 2 virtual, 3 inline.
        paths : list of str
            Native: the chunk id. Virtual: the URL, in full also where it was given relative to a
            container. Inline: empty.
        offsets, lengths : uint64[n]
            Which bytes of that object; inline: 0 and the number of bytes.
        inlined : dict
            From the row of each inline chunk in this batch to its bytes.

        Raises
        ------
        InvalidInputError
            If the batch size is not positive.
        """
        if batch_size < 1:
            raise InvalidInputError("batch_size must be at least 1", kind=ErrorKind.UNKNOWN)
        waiting: list[ChunkRefs] = []
        missing = batch_size
        async for refs in self._session.chunk_refs(node_path(normalize_directory(array_path))):
            start = 0
            while start < len(refs):
                part = _rows(refs, start, start + missing)
                waiting.append(part)
                missing -= len(part)
                start += len(part)
                if not missing:
                    yield self._columns(waiting)
                    waiting, missing = [], batch_size
        if waiting:
            yield self._columns(waiting)

    def _columns(self, parts: list[ChunkRefs]) -> ChunkColumns:
        kinds = np.concatenate([refs.kind for refs in parts])
        paths = np.full(len(kinds), "", dtype=object)
        native = kinds == RefKind.NATIVE
        if native.any():
            paths[native] = _ids_as_text(np.concatenate([refs.chunk_ids for refs in parts])[native])
        virtual = kinds == RefKind.VIRTUAL
        if virtual.any():
            locations = [location for refs in parts for location in refs.virtual_locations()]
            paths[virtual] = list(map(self._session.absolute_location, locations))
        return (
            np.concatenate([np.ascontiguousarray(refs.coords) for refs in parts]),
            _KINDS[kinds],
            paths.tolist(),
            np.concatenate([refs.offset for refs in parts]),
            np.concatenate([refs.length for refs in parts]),
            dict(_inlined(parts)),
        )


def _rows(refs: ChunkRefs, start: int, stop: int) -> ChunkRefs:
    if start == 0 and stop >= len(refs):
        return refs
    return ChunkRefs(refs.columns.rows(slice(start, stop)))


def _inlined(parts: list[ChunkRefs]) -> Iterator[tuple[int, bytes]]:
    first = 0
    for refs in parts:
        for row in np.flatnonzero(refs.kind == RefKind.INLINE).tolist():
            ref = refs.ref(row)
            assert isinstance(ref, InlineRef)
            yield first + row, ref.data
        first += len(refs)


def _ids_as_text(ids: NDArray[np.uint8]) -> list[str]:
    """The text form of many ids of 12 bytes at once (see `icechunk_core.format.base32`)."""
    bits = np.zeros((len(ids), 100), dtype=np.uint8)  # 20 digits of 5 bits; the last 4 are zero
    bits[:, :96] = np.unpackbits(ids, axis=1)
    digits = bits.reshape(len(ids), 20, 5) @ np.array([16, 8, 4, 2, 1], dtype=np.uint8)
    texts: list[str] = _DIGITS[digits].view("S20").ravel().astype("U20").tolist()
    return texts
