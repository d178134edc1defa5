"""From a chunk's coordinates to its bytes (FORMAT.md, section 12.5)."""

from __future__ import annotations

from icechunk_core.assets.manager import AssetManager
from icechunk_core.assets.virtual import VirtualChunks
from icechunk_core.contract import Buffer, ByteRange, resolve_range
from icechunk_core.errors import Corrupt
from icechunk_core.format import layout
from icechunk_core.format.chunk_refs import ChunkRef, ChunkRefs, InlineRef, NativeRef
from icechunk_core.format.snapshot import ManifestRef, NodeSnapshot, Snapshot

__all__ = ["ArrayRefs", "read_ref", "valid_coords"]


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

    __slots__ = ("_assets", "_last", "_manifests", "_snapshot", "node", "num_chunks")

    def __init__(self, node: NodeSnapshot, snapshot: Snapshot, assets: AssetManager) -> None:
        array = node.array
        assert array is not None
        self.node = node
        self.num_chunks = array.num_chunks
        self._manifests = array.manifests
        self._snapshot = snapshot
        self._assets = assets
        self._last: tuple[ManifestRef, ChunkRefs | None] | None = None

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
        return None if refs is None else refs.get(coords)

    def _select(self, coords: tuple[int, ...]) -> ManifestRef | None:
        """The first manifest whose extents contain the coordinates: no other one is consulted."""
        for manifest in self._manifests:
            for index, (start, end) in zip(coords, manifest.extents, strict=False):
                if not start <= index < end:
                    break
            else:
                return manifest
        return None

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
