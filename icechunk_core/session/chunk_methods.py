"""Methods of `Session` about the chunks of one array."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from enum import IntEnum
from operator import index
from typing import TYPE_CHECKING

from icechunk_core.drive import blocking
from icechunk_core.errors import ErrorKind, InvalidInputError, NodeNotFoundError
from icechunk_core.format.refs import ChunkRef, InlineRef, NativeRef
from icechunk_core.session.chunk_reader import ArrayRefs, valid_coords
from icechunk_core.session.paths import absolute_path

if TYPE_CHECKING:
    from icechunk_core.session.state import SessionState
    from icechunk_core.transaction.reindex import Transform

__all__ = ["ChunkMethods", "ChunkType"]


class ChunkType(IntEnum):
    """Where the bytes of a chunk are."""

    uninitialized = 0
    """Nowhere: the chunk was never written and reads as fill values."""
    native = 1
    """In an object of the repository."""
    virtual = 2
    """In an object outside the repository."""
    inline = 3
    """In the manifest itself."""

    def __repr__(self) -> str:
        return f"ChunkType.{self.name}"

    __str__ = __repr__


class ChunkMethods:
    """Part of `Session`."""

    _state: SessionState

    async def chunk_type_async(self, array_path: str, chunk_coordinates: Sequence[int]) -> ChunkType:
        """Where the bytes of a chunk are, uncommitted changes included.

        Parameters
        ----------
        array_path
            Absolute path of the array.
        chunk_coordinates
            One index per dimension. Outside the array's grid all chunks are ``uninitialized``.

        Raises
        ------
        NodeNotFoundError, InvalidInputError
            If there is no array at the path.
        """
        path = absolute_path(array_path)
        _array(self._state, path)
        ref = await self._state.chunk_ref(path, tuple([index(at) for at in chunk_coordinates]))
        if ref is None:
            return ChunkType.uninitialized
        if isinstance(ref, NativeRef):
            return ChunkType.native
        return ChunkType.inline if isinstance(ref, InlineRef) else ChunkType.virtual

    chunk_type = blocking(chunk_type_async)

    async def chunk_coordinates(
        self, array_path: str, batch_size: int = 1000
    ) -> AsyncIterator[tuple[int, ...]]:
        """The coordinates of all chunks that the array has, each once.

        Uncommitted chunks come first, then those of each manifest, sorted within.

        Parameters
        ----------
        batch_size
            How many coordinates are made Python objects at a time.

        Raises
        ------
        NodeNotFoundError, InvalidInputError
            If there is no array at the path, or the batch size is not positive.
        """
        path = absolute_path(array_path)
        _array(self._state, path)
        if batch_size < 1:
            raise InvalidInputError("batch_size must be at least 1", kind=ErrorKind.UNKNOWN)
        async for refs in self._state.chunk_refs(path):
            for start in range(0, len(refs), batch_size):
                for coords in refs.coords[start : start + batch_size].tolist():
                    yield tuple(coords)

    async def all_virtual_chunk_locations_async(self) -> list[str]:
        """The URL of every virtual chunk of every array, one entry per chunk.

        Locations relative to a virtual chunk container are given in full.
        """
        state = self._state
        found: list[str] = []
        async for node in state.nodes("/"):
            if node.is_array:
                async for refs in state.chunk_refs(node.path):
                    found += map(state.absolute_location, refs.virtual_locations())
        return found

    all_virtual_chunk_locations = blocking(all_virtual_chunk_locations_async)

    async def reindex_array_async(
        self,
        array_path: str,
        forward: Transform,
        backward: Transform | None = None,
    ) -> None:
        """Give the chunks of an array other coordinates. No chunk is read or written anew.

        Only chunks that exist, or that this session deleted, are visited: without ``backward`` a place
        that would receive another one keeps what it has. Either everything is done or, after an error,
        nothing.

        Parameters
        ----------
        array_path
            Absolute path of the array.
        forward
            From the coordinates of a chunk (a list) to its new ones, or ``None`` to leave it.
        backward
            The inverse: from coordinates to those whose chunk belongs there. A chunk for which it
            gives ``None``, or a place without chunk, is cleared.

        Raises
        ------
        NodeNotFoundError, InvalidInputError
            If there is no array at the path, its grid is not regular, or a function gives
            coordinates outside of it.
        IcechunkError
            If a function fails; its error is the cause.
        """
        from icechunk_core.transaction.reindex import plan_reindex

        path, array = _array_to_change(self._state, array_path)
        chunks = await _chunks(self._state, path, array)
        changes = plan_reindex(path, array.num_chunks, chunks, forward, backward)
        self._state.set_refs(array, path, changes)

    reindex_array = blocking(reindex_array_async)

    async def shift_array_async(self, array_path: str, chunk_offset: Iterable[int]) -> None:
        """Move all chunks of an array by whole chunks, without reading or writing them.

        Chunks that leave the grid are dropped, vacated places read as fill values. To keep all
        data, resize the array first.

        Parameters
        ----------
        chunk_offset
            By how many chunks, per dimension; negative towards the origin.

        Raises
        ------
        NodeNotFoundError, InvalidInputError
            If there is no array at the path, its grid is not regular, or the offset has another
            number of dimensions.
        """
        from icechunk_core.transaction.reindex import plan_shift

        offset = [index(by) for by in chunk_offset]
        path, array = _array_to_change(self._state, array_path)
        if len(offset) != len(array.num_chunks):
            raise InvalidInputError(
                f"the offset {offset} does not fit {path!r}, which has {len(array.num_chunks)} dimensions",
                kind=ErrorKind.INVALID_CHUNK_INDEX,
            )
        chunks = await _chunks(self._state, path, array)
        self._state.set_refs(array, path, plan_shift(array.num_chunks, chunks, offset))

    shift_array = blocking(shift_array_async)


def _array(state: SessionState, path: str) -> ArrayRefs:
    array = state.array(path)
    if array is not None:
        return array
    if state.changes.node(path, state.base.nodes) is None:
        raise NodeNotFoundError(f"there is no array at {path!r}")
    raise InvalidInputError(f"{path!r} is a group and has no chunks", kind=ErrorKind.NOT_AN_ARRAY)


def _array_to_change(state: SessionState, array_path: str) -> tuple[str, ArrayRefs]:
    from icechunk_core.transaction.reindex import require_regular_grid

    path = absolute_path(array_path)
    array = _array(state, path)
    require_regular_grid(path, array.node.user_data)
    return path, array


async def _chunks(state: SessionState, path: str, array: ArrayRefs) -> dict[tuple[int, ...], ChunkRef | None]:
    """All chunks of an array, and those that the session deleted: they are fill values that have a place.

    Should manifests overlap, the first one counts, as in reading.
    """
    own = state.changes.chunk_changes(array.node.id).items()
    chunks: dict[tuple[int, ...], ChunkRef | None] = {
        coords: None for coords, ref in own if ref is None and valid_coords(array.num_chunks, coords)
    }
    async for refs in state.chunk_refs(path):
        for coords, ref in refs.items():
            chunks.setdefault(coords, ref)
    return chunks
