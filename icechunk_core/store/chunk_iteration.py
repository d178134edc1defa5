"""The store's method that lists the chunk references of an array in columns."""

from __future__ import annotations

from collections.abc import AsyncGenerator
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
        waiting: list[_Rows] = []
        missing = batch_size
        async for refs in self._session.chunk_refs(node_path(normalize_directory(array_path))):
            start = 0
            while start < len(refs):
                stop = min(len(refs), start + missing)
                waiting.append((refs, start, stop))
                missing -= stop - start
                start = stop
                if not missing:
                    yield self._columns(waiting)
                    waiting, missing = [], batch_size
        if waiting:
            yield self._columns(waiting)

    def _columns(self, parts: list[_Rows]) -> ChunkColumns:
        paths: list[str] = []
        inlined: dict[int, bytes] = {}
        for refs, start, stop in parts:
            for row in range(start, stop):
                paths.append(self._path(refs, row, len(paths), inlined))
        return (
            np.concatenate([np.ascontiguousarray(refs.coords[start:stop]) for refs, start, stop in parts]),
            _KINDS[np.concatenate([refs.kind[start:stop] for refs, start, stop in parts])],
            paths,
            np.concatenate([refs.offset[start:stop] for refs, start, stop in parts]),
            np.concatenate([refs.length[start:stop] for refs, start, stop in parts]),
            inlined,
        )

    def _path(self, refs: ChunkRefs, row: int, at: int, inlined: dict[int, bytes]) -> str:
        if refs.kind[row] == RefKind.NATIVE:
            return base32.encode(refs.chunk_ids[row].tobytes())
        ref = refs.ref(row)
        if isinstance(ref, InlineRef):
            inlined[at] = ref.data
            return ""
        return self._session.absolute_location(ref.location)  # type: ignore[union-attr]


_Rows: TypeAlias = tuple[ChunkRefs, int, int]
