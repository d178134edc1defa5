"""How much storage the chunks of a repository take."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from icechunk_core.format.chunk_refs import ChunkRefs, RefKind
from icechunk_core.format.snapshot import ManifestFileInfo
from icechunk_core.maintenance import reading
from icechunk_core.maintenance.limits import ReadLimits
from icechunk_core.maintenance.progress import OnProgress, Reporter
from icechunk_core.maintenance.values import ChunkStorageStats
from icechunk_core.session.context import RepositoryContext
from icechunk_core.transaction.gc_marking import ByteSet

__all__ = ["chunk_storage"]

_DIGEST = 16
_NUMBERS = 16
"""Offset and length, 8 bytes each."""


async def chunk_storage(
    context: RepositoryContext, limits: ReadLimits, *, progress: OnProgress | None = None
) -> ChunkStorageStats:
    """Bytes of all chunks of all snapshots that branches and tags lead to.

    Chunks that several snapshots share count once: native and virtual ones by the bytes that they
    are, inline ones by the manifest that they are in.
    """
    reporter = Reporter(progress)
    storage = context.storage
    ids = await reading.reachable(context.history, storage, limits)
    reporter.start("snapshots", len(ids))
    files: dict[bytes, ManifestFileInfo] = {}
    async for _, snapshot in reading.snapshots(storage, ids, at_once=limits.max_snapshots_in_memory):
        files.update((entry.id, entry) for entry in snapshot.manifest_files)
        reporter.advance()
    reporter.start("manifests", len(files))
    totals = _Totals()
    async for manifest in reading.manifests(storage, files.values(), limits):
        for refs in manifest.arrays.values():
            totals.add(refs)
        reporter.advance()
    return totals.result()


class _Totals:
    """Distinct byte ranges of chunk objects and of virtual objects, and the sum of inline bytes."""

    def __init__(self) -> None:
        self._native = ByteSet(12 + _NUMBERS)
        self._virtual = ByteSet(_DIGEST + _NUMBERS)
        self._inlined = 0

    def add(self, refs: ChunkRefs) -> None:
        native = refs.kind == RefKind.NATIVE
        self._native.add(np.hstack([refs.chunk_ids[native], _numbers(refs, native)]))
        self._inlined += int(refs.length[refs.kind == RefKind.INLINE].sum())
        virtual = refs.kind == RefKind.VIRTUAL
        if virtual.any():
            self._virtual.add(np.hstack([_digests(refs.virtual_locations()), _numbers(refs, virtual)]))

    def result(self) -> ChunkStorageStats:
        return ChunkStorageStats(_length(self._native), _length(self._virtual), self._inlined)


def _numbers(refs: ChunkRefs, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Offsets and lengths as ``uint8[n, 16]``."""
    table = np.stack([refs.offset[chosen], refs.length[chosen]], axis=1).astype(">u8")
    return table.view(np.uint8).reshape(len(table), _NUMBERS)


def _digests(locations: list[str]) -> npt.NDArray[np.uint8]:
    digests = {
        location: hashlib.blake2b(location.encode(), digest_size=_DIGEST).digest()
        for location in dict.fromkeys(locations)
    }
    joined = b"".join(digests[location] for location in locations)
    return np.frombuffer(joined, np.uint8).reshape(len(locations), _DIGEST)


def _length(ranges: ByteSet) -> int:
    lengths = np.ascontiguousarray(ranges.rows()[:, -8:]).view(">u8")
    return int(lengths.sum(dtype=np.uint64))
