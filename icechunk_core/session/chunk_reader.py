"""From a chunk's coordinates to its bytes (FORMAT.md, section 12.5)."""

from __future__ import annotations

from operator import le, lt

import numpy as np
import numpy.typing as npt

from icechunk_core.assets.later import LATER, Later
from icechunk_core.assets.manager import AssetManager
from icechunk_core.assets.virtual import VirtualChunks
from icechunk_core.contract import Buffer, ByteRange, resolve_range
from icechunk_core.errors import Corrupt
from icechunk_core.format import layout
from icechunk_core.format.chunk_refs import ChunkRef, ChunkRefs, InlineRef, NativeRef
from icechunk_core.format.snapshot import ManifestRef, NodeSnapshot, Snapshot

__all__ = ["ArrayRefs", "read_ref", "valid_coords"]

_MANY = 8
"""So many manifests are compared one by one; more, in columns."""


def valid_coords(num_chunks: tuple[int, ...], coords: tuple[int, ...]) -> bool:
    """Whether a chunk may exist at these coordinates (FORMAT.md, section 9)."""
    if len(coords) != len(num_chunks):
        return False
    for index, count in zip(coords, num_chunks, strict=True):  # noqa: SIM110 - hot path
        if not 0 <= index < (count or 1):
            return False
    return True


class ArrayRefs:
    """The chunk refs that one array has in a base snapshot.

    Keeps the manifest used last at hand; others come from the shared cache.
    """

    __slots__ = (
        "_assets", "_bounds", "_last", "_limits", "_manifests", "_ndim", "_only", "_snapshot", "_table",
        "node", "node_id", "num_chunks",
    )  # fmt: skip

    def __init__(self, node: NodeSnapshot, snapshot: Snapshot, assets: AssetManager) -> None:
        array = node.array
        assert array is not None
        self.node = node
        self.node_id = node.id
        self.num_chunks = array.num_chunks
        self._ndim = len(array.num_chunks)
        self._limits = tuple([count or 1 for count in array.num_chunks])
        self._manifests = array.manifests
        self._bounds = [(manifest, *_bounds(manifest)) for manifest in array.manifests]
        self._table: npt.NDArray[np.int64] | None = None
        self._snapshot = snapshot
        self._assets = assets
        self._last: tuple[ManifestRef, ChunkRefs | None] | None = None
        # All refs that there are, where neither extents nor the grid need be looked at.
        self._only: ChunkRefs | None = None

    def holds(self, coords: tuple[int, ...]) -> bool:
        """`valid_coords` for numbers that are not negative, such as those in keys."""
        return len(coords) == self._ndim and all(map(lt, coords, self._limits))

    def at_hand(self, coords: tuple[int, ...]) -> ChunkRef | Later | None:
        """What `get` gives, if the manifest is the one used last, and nothing outside of the grid.

        No coordinate is negative.
        """
        only = self._only
        if only is not None:
            return only.get(coords)
        if not self.holds(coords):
            return None
        manifest = self._select(coords)
        if manifest is None:
            return None
        last = self._last
        if last is None or last[0] is not manifest:
            return LATER
        refs = last[1]
        return None if refs is None else refs.get(coords)

    async def get(self, coords: tuple[int, ...]) -> ChunkRef | None:
        """The ref in the base snapshot, or ``None``."""
        manifest = self._select(coords)
        if manifest is None:
            return None
        last = self._last
        if last is not None and last[0] is manifest:
            refs = last[1]
        else:
            refs = await self.load(manifest)
            self._last = (manifest, refs)
            if refs is not None and len(self._manifests) == 1:
                self._only = self._unbounded(refs, manifest)
        return None if refs is None else refs.get(coords)

    def _unbounded(self, refs: ChunkRefs, manifest: ManifestRef) -> ChunkRefs | None:
        extents = refs.extents()
        grid = tuple([(0, limit) for limit in self._limits])
        inside = len(extents) == self._ndim and _within(extents, grid) and _within(extents, manifest.extents)
        return refs if inside else None

    def _select(self, coords: tuple[int, ...]) -> ManifestRef | None:
        """The first manifest whose extents contain the coordinates: no other one is consulted."""
        if len(self._bounds) > _MANY:
            return self._select_of_many(coords)
        for manifest, starts, ends in self._bounds:
            if all(map(le, starts, coords)) and all(map(lt, coords, ends)):
                return manifest
        return None

    def _select_of_many(self, coords: tuple[int, ...]) -> ManifestRef | None:
        table = self._table
        if table is None:
            # Extents of fewer dimensions than the array's leave the others open.
            table = np.zeros((2, len(self._bounds), self._ndim), dtype=np.int64)
            table[1] = 1 << 32
            for row, (_, starts, ends) in enumerate(self._bounds):
                table[0, row, : len(starts)] = starts[: self._ndim]
                table[1, row, : len(ends)] = ends[: self._ndim]
            self._table = table
        inside = ((table[0] <= coords) & (table[1] > coords)).all(axis=1)
        first = int(inside.argmax())
        return self._manifests[first] if inside[first] else None

    async def load(self, manifest: ManifestRef) -> ChunkRefs | None:
        """This array's refs in one of its manifests."""
        entry = self._snapshot.manifest_file(manifest.id)
        if entry is None:
            raise Corrupt(
                f"array {self.node.path!r} refers to a manifest that the snapshot does not list",
                object_name=layout.snapshot_key(self._snapshot.id),
            )
        loaded = await self._assets.manifest(manifest.id, entry.size_bytes)
        return loaded.arrays.get(self.node.id)

    @property
    def manifests(self) -> tuple[ManifestRef, ...]:
        """The array's manifests in the base snapshot."""
        return self._manifests


def _bounds(manifest: ManifestRef) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where the extents of a manifest start and end, dimension by dimension."""
    return tuple([start for start, _ in manifest.extents]), tuple([end for _, end in manifest.extents])


def _within(inner: tuple[tuple[int, int], ...], outer: tuple[tuple[int, int], ...]) -> bool:
    """Whether nothing of one box is outside of the other, which may be open in its last dimensions."""
    pairs = zip(inner, outer, strict=False)
    return all(start >= first and end <= last for (start, end), (first, last) in pairs)


async def read_ref(
    ref: ChunkRef, byte_range: ByteRange, assets: AssetManager, virtual: VirtualChunks
) -> Buffer:
    """The payload of a chunk ref of any kind, or a part of it.

    Raises
    ------
    InvalidRange
        If the range does not fit the chunk.
    """
    if isinstance(ref, NativeRef):
        return await assets.chunk(ref, byte_range)
    if isinstance(ref, InlineRef):
        if byte_range is None:
            return ref.data
        start, end = resolve_range(byte_range, len(ref.data))
        return ref.data[start:end]
    return await virtual.read(ref, byte_range)
