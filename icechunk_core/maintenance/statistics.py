"""How much storage the chunks of a repository take."""

from __future__ import annotations

import hashlib
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt
from attrs import frozen

from icechunk_core.format.chunk_refs import ChunkRefs, RefKind
from icechunk_core.format.manifest import Manifest
from icechunk_core.maintenance import reading
from icechunk_core.maintenance.fanning import check_executor
from icechunk_core.maintenance.limits import ReadLimits
from icechunk_core.maintenance.progress import OnProgress, Reporter
from icechunk_core.maintenance.scanning import Scan
from icechunk_core.maintenance.values import ChunkStorageStats
from icechunk_core.session.context import RepositoryContext
from icechunk_core.transaction.gc_marking import ByteSet

__all__ = ["chunk_storage"]

_DIGEST = 16
_NUMBERS = 16
"""Offset and length, 8 bytes each."""


async def chunk_storage(
    context: RepositoryContext,
    limits: ReadLimits,
    *,
    executor: Executor | None = None,
    progress: OnProgress | None = None,
) -> ChunkStorageStats:
    """Bytes of all chunks of all snapshots that branches and tags lead to.

    Chunks that several snapshots share count once: native and virtual ones by the bytes that they
    are, inline ones by the manifest that they are in.
    """
    check_executor(executor)
    scan = Scan(context.storage, limits, executor, Reporter(progress))
    files = await scan.manifest_files(await reading.reachable(context.history, context.storage, limits))
    totals = _Totals()
    await scan.manifests(files.values(), _ranges, totals.add)
    return totals.result()


@frozen
class _Ranges:
    """What a manifest refers to: ranges of native and virtual objects, and the sum of inline bytes."""

    native: npt.NDArray[np.uint8]
    virtual: npt.NDArray[np.uint8]
    inlined: int


class _Totals:
    """Distinct byte ranges of chunk objects and of virtual objects, and the sum of inline bytes."""

    def __init__(self) -> None:
        self._native = ByteSet(12 + _NUMBERS)
        self._virtual = ByteSet(_DIGEST + _NUMBERS)
        self._inlined = 0

    def add(self, ranges: _Ranges) -> None:
        self._native.add(ranges.native)
        self._virtual.add(ranges.virtual)
        self._inlined += ranges.inlined

    def result(self) -> ChunkStorageStats:
        return ChunkStorageStats(_length(self._native), _length(self._virtual), self._inlined)


def _ranges(manifest: Manifest) -> _Ranges:
    native = [np.zeros((0, 12 + _NUMBERS), np.uint8)]
    virtual = [np.zeros((0, _DIGEST + _NUMBERS), np.uint8)]
    inlined = 0
    for refs in manifest.arrays.values():
        chosen = refs.kind == RefKind.NATIVE
        native.append(np.hstack([refs.chunk_ids[chosen], _numbers(refs, chosen)]))
        inlined += int(refs.length[refs.kind == RefKind.INLINE].sum())
        chosen = refs.kind == RefKind.VIRTUAL
        if chosen.any():
            virtual.append(np.hstack([_digests(refs.virtual_locations()), _numbers(refs, chosen)]))
    return _Ranges(np.concatenate(native), np.concatenate(virtual), inlined)


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
