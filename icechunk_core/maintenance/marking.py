"""Find what garbage collection has to keep (FORMAT.md, section 19, steps 1 to 3)."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import numpy as np
import numpy.typing as npt
from attrs import Factory, define

from icechunk_core.clock import us_from_datetime
from icechunk_core.contract import Storage
from icechunk_core.format import layout
from icechunk_core.format.manifest import Manifest
from icechunk_core.format.repo_info import RepoInfo
from icechunk_core.maintenance.listing import side_by_side
from icechunk_core.maintenance.scanning import Scan
from icechunk_core.transaction.gc_marking import ByteSet, reachable_from_refs, surely_older

__all__ = ["Ages", "Marks", "chunk_ids", "droppable", "list_snapshots", "mark", "retained_snapshots"]


@define
class Ages:
    """Snapshot objects by age.

    Attributes
    ----------
    old
        Those surely written before the limit.
    young
        All others.
    """

    old: set[bytes] = Factory(set)
    young: set[bytes] = Factory(set)


async def list_snapshots(storage: Storage, limit_us: int, streams: int = 1) -> Ages:
    """All snapshot objects. Objects whose names are no ids do not count."""
    ages = Ages()

    async def look(part: str) -> None:
        async for item in storage.list(part):
            snapshot_id = layout.id_of_key(item.key, layout.SNAPSHOTS_PREFIX)
            if snapshot_id is not None:
                old = surely_older(us_from_datetime(item.last_modified), limit_us)
                (ages.old if old else ages.young).add(snapshot_id)

    await side_by_side(layout.SNAPSHOTS_PREFIX, look, streams, may_suspend=storage.may_suspend)
    return ages


def retained_snapshots(info: RepoInfo, ages: Ages) -> tuple[set[bytes], set[bytes]]:
    """The snapshots listed in the repo object that stay: those in use, and those not provably old."""
    used = set(reachable_from_refs(info))
    listed = set(info.snapshots.ids())
    return used, listed - used - ages.old


@define
class Marks:
    """Ids of everything that stays.

    Attributes
    ----------
    snapshots, manifests
        Ids.
    chunks
        Ids of chunk objects. Any ref to a part of one keeps all of it.
    """

    snapshots: set[bytes] = Factory(set)
    manifests: set[bytes] = Factory(set)
    chunks: ByteSet = Factory(lambda: ByteSet(12))


async def mark(marks: Marks, scan: Scan, snapshots: Iterable[bytes], *, required: bool) -> None:
    """Mark snapshots and all that they refer to.

    Parameters
    ----------
    required
        Whether they are in use. If so, an object that is missing or cannot be read ends the run: what
        it refers to is not known. Otherwise one that nobody could read any more is left alone.
    """
    wanted = set(snapshots) - marks.snapshots
    marks.snapshots |= wanted
    files = await scan.manifest_files(wanted, required=required)
    new = [entry for entry in files.values() if entry.id not in marks.manifests]
    marks.manifests.update(files)
    if not required:
        new = [entry for entry in new if await scan.storage.exists(layout.manifest_key(entry.id))]
    await scan.manifests(new, chunk_ids, marks.chunks.add)


def chunk_ids(manifest: Manifest) -> npt.NDArray[np.uint8]:
    """The ids of the chunk objects that a manifest refers to: ``uint8[n, 12]``."""
    found = [refs.native_ids() for refs in manifest.arrays.values()]
    return np.concatenate(found) if found else np.zeros((0, 12), np.uint8)


def droppable(info: RepoInfo, kept: AbstractSet[bytes]) -> frozenset[bytes]:
    """The snapshots that leave the repo object."""
    return frozenset(info.snapshots.ids()) - kept
