"""Reading many snapshots and manifests once, past the caches and within bounds.

Maintenance walks through everything that a repository has. Were that to go through the
caches, it would push out what readers use, and hold on to what nobody needs again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from icechunk_core.contract import Storage
from icechunk_core.drive import gather
from icechunk_core.errors import Corrupt, NotFound, SnapshotNotFoundError
from icechunk_core.format import base32, layout
from icechunk_core.format.manifest import Manifest, decode_manifest
from icechunk_core.format.repo_info import SnapshotInfo
from icechunk_core.format.snapshot import ManifestFileInfo, Snapshot, decode_snapshot
from icechunk_core.history import History, RefFilesHistory, RepoObjectHistory
from icechunk_core.maintenance.limits import ReadLimits
from icechunk_core.transaction.gc_marking import reachable_from_refs
from icechunk_core.transaction.repo_updates import snapshot_info

__all__ = ["manifests", "reachable", "read_snapshot", "snapshot_chains", "snapshots"]

T = TypeVar("T")

_BYTES_PER_REF = 64


async def read_snapshot(storage: Storage, snapshot_id: bytes) -> Snapshot:
    """A snapshot from its object.

    Raises
    ------
    SnapshotNotFoundError
        There is none.
    Corrupt
        It is malformed.
    """
    key = layout.snapshot_key(snapshot_id)
    try:
        data, _ = await storage.get_range_hook(key, None, None)
    except NotFound as error:
        raise SnapshotNotFoundError(
            f"snapshot {base32.encode(snapshot_id)} does not exist at this location"
        ) from error
    return decode_snapshot(data, name=key)


async def _read_manifest(storage: Storage, entry: ManifestFileInfo) -> Manifest:
    key = layout.manifest_key(entry.id)
    try:
        data, _ = await storage.get_range_hook(key, None, None)
    except NotFound as error:
        raise Corrupt("missing, although a snapshot refers to it", object_name=key) from error
    return decode_manifest(data, name=key)


async def snapshots(
    storage: Storage, ids: Iterable[bytes], *, at_once: int
) -> AsyncIterator[tuple[bytes, Snapshot]]:
    """Snapshots by id, at most ``at_once`` in memory."""
    for group in _groups(list(ids), at_once):
        found = await gather(
            [lambda wanted=wanted: read_snapshot(storage, wanted) for wanted in group],  # type: ignore[misc]
            may_suspend=storage.may_suspend,
            limit=at_once,
        )
        for pair in zip(group, found, strict=True):
            yield pair


async def manifests(
    storage: Storage, entries: Iterable[ManifestFileInfo], limits: ReadLimits
) -> AsyncIterator[Manifest]:
    """Manifests, within the limits on requests and memory."""

    def stored(entry: ManifestFileInfo) -> float:
        return entry.size_bytes / limits.max_compressed_manifest_mem_bytes

    def decoded(entry: ManifestFileInfo) -> float:
        size = entry.size_bytes + _BYTES_PER_REF * entry.num_chunk_refs
        return size / limits.max_decoded_manifest_mem_bytes

    # Without concurrency, one at a time is all that is ever in memory.
    count = limits.max_concurrent_manifest_fetches if storage.may_suspend else 1
    for group in _groups(list(entries), count, lambda entry: max(stored(entry), decoded(entry))):
        for manifest in await gather(
            [lambda entry=entry: _read_manifest(storage, entry) for entry in group],  # type: ignore[misc]
            may_suspend=storage.may_suspend,
            limit=count,
        ):
            yield manifest


def _groups(
    items: Sequence[T], count: int, share: Callable[[T], float] = lambda item: 0.0
) -> Iterator[list[T]]:
    """Consecutive items, at most ``count`` to a group and (unless alone) with shares of at most 1 in all."""
    group: list[T] = []
    used = 0.0
    for item in items:
        part = share(item)
        if group and (len(group) >= count or used + part > 1):
            yield group
            group, used = [], 0.0
        group.append(item)
        used += part
    if group:
        yield group


# --- histories -------------------------------------------------------------------------


async def snapshot_chains(
    storage: Storage, tips: Iterable[bytes], *, at_once: int
) -> dict[bytes, SnapshotInfo]:
    """The snapshots of spec 1 that ``tips`` lead to, by id: parents are inside the snapshot files.

    All lines of descent are followed at the same time.
    """
    found: dict[bytes, SnapshotInfo] = {}
    frontier = dict.fromkeys(tips)
    while frontier:
        parents: dict[bytes, None] = {}
        async for snapshot_id, snapshot in snapshots(storage, frontier, at_once=at_once):
            found[snapshot_id] = snapshot_info(snapshot, snapshot.parent_id)
            if snapshot.parent_id is not None:
                parents[snapshot.parent_id] = None
        frontier = {snapshot_id: None for snapshot_id in parents if snapshot_id not in found}
    return found


async def reachable(history: History, storage: Storage, limits: ReadLimits) -> set[bytes]:
    """Ids of all snapshots that branches and tags lead to."""
    if isinstance(history, RepoObjectHistory):
        return set(reachable_from_refs(await history.info()))
    assert isinstance(history, RefFilesHistory)
    tips = {*(await history.branches()).values(), *(await history.tags()).values()}
    return set(await snapshot_chains(storage, tips, at_once=limits.max_snapshots_in_memory))
