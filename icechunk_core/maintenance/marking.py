"""Find what garbage collection has to keep (FORMAT.md, section 19, steps 1 to 3)."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from attrs import Factory, define

from icechunk_core.clock import us_from_datetime
from icechunk_core.contract import Storage
from icechunk_core.errors import Corrupt, SnapshotNotFoundError
from icechunk_core.format import layout
from icechunk_core.format.repo_info import RepoInfo
from icechunk_core.format.snapshot import ManifestFileInfo, Snapshot
from icechunk_core.maintenance import reading
from icechunk_core.maintenance.limits import GCLimits
from icechunk_core.maintenance.listing import side_by_side
from icechunk_core.maintenance.progress import Reporter
from icechunk_core.transaction.gc_marking import ByteSet, reachable_from_refs, surely_older

__all__ = ["Ages", "Marks", "list_snapshots", "mark", "retained_snapshots"]


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


async def mark(
    marks: Marks,
    storage: Storage,
    snapshots: Iterable[bytes],
    limits: GCLimits,
    reporter: Reporter,
    *,
    required: bool,
) -> None:
    """Mark snapshots and all that they refer to.

    Parameters
    ----------
    required
        Whether they are in use. If so, an object that is missing or cannot be read ends the run: what
        it refers to is not known. Otherwise one that nobody could read any more is left alone.
    """
    wanted = set(snapshots) - marks.snapshots
    marks.snapshots |= wanted
    files: dict[bytes, ManifestFileInfo] = {}
    reporter.start("snapshots", len(wanted))
    if required:
        async for _, snapshot in reading.snapshots(storage, wanted, at_once=limits.max_snapshots_in_memory):
            files.update((entry.id, entry) for entry in snapshot.manifest_files)
            reporter.advance()
    else:
        for snapshot_id in wanted:
            found = await _read_if_possible(storage, snapshot_id)
            if found is not None:
                files.update((entry.id, entry) for entry in found.manifest_files)
            reporter.advance()
    await _mark_manifests(marks, storage, files, limits, reporter, required=required)


async def _mark_manifests(
    marks: Marks,
    storage: Storage,
    files: dict[bytes, ManifestFileInfo],
    limits: GCLimits,
    reporter: Reporter,
    *,
    required: bool,
) -> None:
    new = [entry for entry in files.values() if entry.id not in marks.manifests]
    marks.manifests.update(files)
    reporter.start("manifests", len(new))
    if not required:
        new = [entry for entry in new if await storage.exists(layout.manifest_key(entry.id))]
    async for manifest in reading.manifests(storage, new, limits):
        for refs in manifest.arrays.values():
            marks.chunks.add(refs.native_ids())
        reporter.advance()


async def _read_if_possible(storage: Storage, snapshot_id: bytes) -> Snapshot | None:
    try:
        return await reading.read_snapshot(storage, snapshot_id)
    except (SnapshotNotFoundError, Corrupt):
        return None


def droppable(info: RepoInfo, kept: AbstractSet[bytes]) -> frozenset[bytes]:
    """The snapshots that leave the repo object."""
    return frozenset(info.snapshots.ids()) - kept
