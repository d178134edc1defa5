"""What the zarr store needs of a session.

The store parses keys and speaks zarr; everything about nodes, chunk grids, change sets
and storage is behind this protocol. Paths are absolute (``"/"``, ``"/group/array"``),
chunk coordinates are tuples of integers (``()`` for the one chunk of a 0-d array).

A session is called from several threads at once (zarr's codec pipelines read and write
chunks from worker threads), so an implementation locks what it shares. When
``may_suspend`` is false no coroutine or iterator of it ever suspends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from icechunk_core.assets.later import Later
from icechunk_core.assets.streams import Bytes
from icechunk_core.contract import Buffer, ByteRange

if TYPE_CHECKING:
    from icechunk_core.format.chunk_refs import ChunkRefs
    from icechunk_core.format.refs import VirtualRef
    from icechunk_core.format.snapshot import NodeSnapshot

__all__ = ["ChunkBatch", "Coords", "StoreSession"]

Coords: TypeAlias = tuple[int, ...]
"""Chunk coordinates: the position in the chunk grid, one integer per dimension."""

ChunkBatch: TypeAlias = NDArray[np.uint32] | Sequence[Coords]
"""Coordinates of several chunks of one array: ``uint32[n, ndim]`` or a sequence of tuples."""


class StoreSession(Protocol):
    """The view of one session that a store reads and writes through."""

    @property
    def may_suspend(self) -> bool:
        """Whether calls may suspend (network storage); if not, they can be driven by hand."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether writes are refused now; a session may become read-only by a commit."""
        ...

    @property
    def is_fork(self) -> bool:
        """Whether this is a fork made for workers, which may be pickled while writable."""
        ...

    @property
    def read_concurrency(self) -> int:
        """How many values ``get_partial_values`` reads at once."""
        ...

    def public_session(self) -> Any:
        """The object that users know as the store's session."""
        ...

    # --- nodes

    async def get_node(self, path: str) -> NodeSnapshot | None:
        """The group or array at a path."""
        ...

    async def read_metadata(self, path: str) -> bytes | None:
        """The bytes of a node's ``zarr.json``, verbatim; ``None`` if there is no node."""
        ...

    async def write_metadata(self, path: str, data: bytes) -> None:
        """Create a node or update its ``zarr.json``.

        Raises
        ------
        InvalidInputError
            If the document is not valid metadata of a group or array (kind
            ``BAD_METADATA`` or ``INVALID_ARRAY_METADATA``).
        AlreadyExistsError
            If there is a node of the other type.
        ReadOnlyError
            If the session is read-only.
        """
        ...

    async def delete_node(self, path: str) -> None:
        """Delete an array with its chunks, or a group with all below it; nothing if absent."""
        ...

    async def clear(self) -> None:
        """Delete all nodes."""
        ...

    def nodes(self, prefix_path: str) -> AsyncIterator[NodeSnapshot]:
        """The node at a path, if there is one, and all nodes below the path, in path order."""
        ...

    def children(self, path: str) -> AsyncIterator[NodeSnapshot]:
        """The nodes directly below a path, in path order; costs what it returns, not the subtree."""
        ...

    # --- chunks

    async def read_chunk(self, path: str, coords: Coords, byte_range: ByteRange) -> Buffer | None:
        """A chunk's bytes or a part of them; ``None`` if there is no such chunk or array.

        Raises
        ------
        InvalidRange
            If the chunk exists and the range is empty or starts past its end.
        """
        ...

    def read_chunk_at_once(self, path: str, coords: Coords) -> Buffer | Bytes | Later | None:
        """What `read_chunk` gives for the whole chunk, or ``LATER`` if something has to be waited for.

        A plain call, because a coroutine costs as much as finding a chunk. It may say ``LATER`` always.
        """
        ...

    async def chunk_size(self, path: str, coords: Coords) -> int | None:
        """Stored length of a chunk in bytes, from its ref; ``None`` if there is none."""
        ...

    async def chunk_exists(self, path: str, coords: Coords) -> bool:
        """Whether the chunk is stored."""
        ...

    async def write_chunk(self, path: str, coords: Coords, data: Buffer) -> None:
        """Store a chunk. ``data`` is not empty.

        ``data`` may be a view of memory that the caller changes after the call: what is
        kept beyond it must be copied.

        Raises
        ------
        NodeNotFoundError
            If there is no node at the path.
        InvalidInputError
            If the node is a group (kind ``NOT_AN_ARRAY``), or the coordinates are not in
            the array's chunk grid (kind ``INVALID_CHUNK_INDEX``).
        """
        ...

    def write_chunk_at_once(self, path: str, coords: Coords, data: Buffer | Bytes) -> bool:
        """Do what `write_chunk` does, if nothing has to be waited for; whether it was done.

        It may say no always, and says so where `write_chunk` finds the path or the coordinates wrong.
        """
        ...

    async def write_virtual_ref(
        self, path: str, coords: Coords, ref: VirtualRef, *, validate_container: bool
    ) -> None:
        """Store a reference to bytes that live elsewhere, as a chunk.

        Raises
        ------
        InvalidInputError
            With kind ``NO_CONTAINER_FOR_VIRTUAL_CHUNK`` if no container covers the
            location and ``validate_container`` asks for one; kind ``INVALID_VIRTUAL_REF``
            if the location is no URL; and as `write_chunk`.
        """
        ...

    async def write_virtual_refs(
        self, path: str, refs: Mapping[Coords, VirtualRef], *, validate_container: bool
    ) -> list[Coords]:
        """Store many such references; the coordinates of those that no container covers, left out if
        ``validate_container`` asks for one.

        Raises
        ------
        InvalidInputError, NodeNotFoundError
            As `write_virtual_ref`; nothing is written then.
        """
        ...

    async def delete_chunk(self, path: str, coords: Coords) -> None:
        """Delete a chunk; nothing if it or its array is absent."""
        ...

    def chunk_coords(self, path: str, prefix: Coords = ()) -> AsyncIterator[ChunkBatch]:
        """Coordinates of the stored chunks of an array that begin with ``prefix``, in batches.

        Only those inside the array's present chunk grid. The first batch comes before
        all manifests are read, so that "is there any?" is cheap.
        """
        ...

    def chunk_refs(self, path: str) -> AsyncIterator[ChunkRefs]:
        """The refs of the stored chunks of an array, in blocks; only those inside its present chunk grid."""
        ...

    def absolute_location(self, location: str) -> str:
        """The URL of a virtual chunk location, which may be relative to a container."""
        ...

    def uncovered_locations(self, locations: Iterable[str]) -> list[str]:
        """Those virtual locations that no container covers; `InvalidInputError` if one is no URL."""
        ...

    async def virtual_object_size(self, location: str) -> int:
        """Size in bytes of the object at a virtual location, which has to be readable."""
        ...
