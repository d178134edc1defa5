"""How much of each chunk object is in use."""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt
from attrs import frozen

from icechunk_core.contract import Storage
from icechunk_core.format import layout
from icechunk_core.format.chunk_refs import RefKind
from icechunk_core.format.manifest import Manifest
from icechunk_core.maintenance import reading
from icechunk_core.maintenance.limits import ReadLimits
from icechunk_core.maintenance.progress import Reporter
from icechunk_core.maintenance.scanning import Scan
from icechunk_core.maintenance.values import PackStats
from icechunk_core.session.context import RepositoryContext
from icechunk_core.transaction.gc_marking import ByteSet
from icechunk_core.transaction.relocation import range_keys

__all__ = ["PackUsage", "usage_of_packs"]


@frozen(eq=False)
class PackUsage:
    """Chunk objects that exist, and what branches and tags lead to in each. Columns of equal length.

    Attributes
    ----------
    ids
        Ids of the objects, sorted.
    size, live
        Bytes of each object, and of those the bytes that refs name. What several refs name counts once.
    """

    ids: npt.NDArray[np.bytes_]
    size: npt.NDArray[np.int64]
    live: npt.NDArray[np.int64]

    def sparse(self, live_below: float) -> set[bytes]:
        """Ids of objects that are in use, but less of them than this part."""
        chosen = (self.live > 0) & (self.live < self.size) & (self.live < self.size * live_below)
        # A fixed-width string loses trailing zero bytes when it is looked at.
        return {id.ljust(12, b"\0") for id in self.ids[chosen].tolist()}

    def dead_bytes(self, ids: set[bytes]) -> int:
        """Bytes of these objects that nothing needs."""
        chosen = np.isin(self.ids, np.array(sorted(ids), "S12"))
        return int((self.size - self.live)[chosen].sum())

    def stats(self) -> PackStats:
        """The sums."""
        used = self.live > 0
        live, size = int(self.live.sum()), int(self.size[used].sum())
        return PackStats(
            objects=int(used.sum()),
            bytes=size,
            live_bytes=live,
            dead_bytes=size - live,
            unused_objects=int((~used).sum()),
            unused_bytes=int(self.size[~used].sum()),
        )


async def usage_of_packs(
    context: RepositoryContext, limits: ReadLimits, executor: Executor | None, reporter: Reporter
) -> PackUsage:
    """Read all manifests that branches and tags lead to, and list the chunk objects.

    Parameters
    ----------
    executor
        Reads and decodes snapshots and manifests.

    Raises
    ------
    Corrupt, SnapshotNotFoundError
        If something that is in use cannot be read.
    """
    storage = context.storage
    ids = await reading.reachable(context.history, storage, limits)
    scan = Scan(storage, limits, executor, reporter)
    files = await scan.manifest_files(ids)
    named = ByteSet(28)
    await scan.manifests(files.values(), _named_by, named.add)
    reporter.start("chunk objects")
    return await _usage(storage, named, reporter)


def _named_by(manifest: Manifest) -> npt.NDArray[np.uint8]:
    """Ids, offsets and lengths of the native refs of a manifest: ``uint8[n, 28]``."""
    found = [range_keys(refs, refs.kind == RefKind.NATIVE) for refs in manifest.arrays.values()]
    return np.concatenate([keys.view(np.uint8).reshape(len(keys), 28) for keys in found or [_NONE]])


_NONE = np.zeros(0, "S28")


async def _usage(storage: Storage, named: ByteSet, reporter: Reporter) -> PackUsage:
    listed: dict[bytes, int] = {}
    async for item in storage.list(layout.CHUNKS_PREFIX):
        object_id = layout.id_of_key(item.key, layout.CHUNKS_PREFIX)
        if object_id is not None:
            listed[object_id] = item.size
            reporter.advance()
    ids = np.array(sorted(listed), "S12")
    size = np.array([listed[object_id] for object_id in sorted(listed)], np.int64)
    rows = named.rows()
    owners = np.ascontiguousarray(rows[:, :12]).view("S12")[:, 0]
    lengths = np.ascontiguousarray(rows[:, 20:]).view(">u8")[:, 0].astype(np.int64)
    live = np.zeros(len(ids), np.int64)
    if len(ids):
        at = np.minimum(np.searchsorted(ids, owners), len(ids) - 1)
        known = ids[at] == owners
        np.add.at(live, at[known], lengths[known])
    # Refs of other writers may overlap; no object has more than its size.
    return PackUsage(ids, size, np.minimum(live, size))
