"""Look through many snapshots and manifests: here, or by an executor's workers, with the same result.

What workers send back is what the caller asked them to extract, not the objects themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor
from typing import TypeAlias, TypeVar

from attrs import frozen

from icechunk_core.contract import Storage
from icechunk_core.drive import run
from icechunk_core.errors import Corrupt, SnapshotNotFoundError
from icechunk_core.format.manifest import Manifest
from icechunk_core.format.snapshot import ManifestFileInfo, Snapshot
from icechunk_core.maintenance import reading
from icechunk_core.maintenance.fanning import LentStorage, batches, fan_out
from icechunk_core.maintenance.limits import ReadLimits
from icechunk_core.maintenance.progress import Reporter

__all__ = ["Scan"]

T = TypeVar("T")
Extract: TypeAlias = Callable[[Manifest], T]

_SNAPSHOTS_A_JOB = 16
_MANIFESTS_A_JOB = 16
_REFS_A_JOB = 1_000_000
_REFS_WAITING = 8_000_000
"""In jobs that were sent; what comes back is a few dozen bytes for each."""


@frozen
class Scan:
    """How to look through a repository.

    Attributes
    ----------
    executor
        Whose workers read and decode; ``None`` for this process.
    """

    storage: Storage
    limits: ReadLimits
    executor: Executor | None
    reporter: Reporter

    async def manifest_files(
        self, snapshots: Collection[bytes], *, required: bool = True
    ) -> dict[bytes, ManifestFileInfo]:
        """The manifests that snapshots list, by id.

        Parameters
        ----------
        required
            Whether a snapshot that is missing or damaged ends the scan. Otherwise it is left out.

        Raises
        ------
        SnapshotNotFoundError, Corrupt
            If one is missing or damaged.
        """
        files: dict[bytes, ManifestFileInfo] = {}
        self.reporter.start("snapshots", len(snapshots))

        def take(found: tuple[int, list[ManifestFileInfo]]) -> None:
            files.update((entry.id, entry) for entry in found[1])
            self.reporter.advance(found[0])

        if self.executor is not None:
            lent = LentStorage(self.storage)
            size = min(_SNAPSHOTS_A_JOB, self.limits.max_snapshots_in_memory)
            jobs = [(lent, ids, required) for ids in batches(sorted(snapshots), size)]
            await fan_out(self.executor, _files_in_worker, jobs, take, may_suspend=self.storage.may_suspend)
            return files
        if not required:
            take((len(snapshots), await _files_that_can_be_read(self.storage, snapshots)))
            return files
        at_once = self.limits.max_snapshots_in_memory
        async for _, snapshot in reading.snapshots(self.storage, snapshots, at_once=at_once):
            take((1, list(snapshot.manifest_files)))
        return files

    async def manifests(
        self, entries: Iterable[ManifestFileInfo], extract: Extract[T], take: Callable[[T], None]
    ) -> None:
        """Call ``take`` with what ``extract`` makes of each manifest, in their order.

        Parameters
        ----------
        extract
            A function at the top of a module, so that it can be sent to workers.

        Raises
        ------
        Corrupt
            If one is missing or damaged.
        """
        entries = list(entries)
        self.reporter.start("manifests", len(entries))
        if self.executor is None:
            async for manifest in reading.manifests(self.storage, entries, self.limits):
                take(extract(manifest))
                self.reporter.advance()
            return

        def take_all(results: list[T]) -> None:
            for result in results:
                take(result)
            self.reporter.advance(len(results))

        lent = LentStorage(self.storage)
        await fan_out(
            self.executor,
            _extract_in_worker,
            ((lent, group, extract, self.limits) for group in _groups(entries)),
            take_all,
            may_suspend=self.storage.may_suspend,
            weight=lambda job: sum(entry.num_chunk_refs for entry in job[1]) / _REFS_WAITING,
        )


def _groups(entries: list[ManifestFileInfo]) -> Iterator[list[ManifestFileInfo]]:
    """Manifests of at most a million refs together, unless one alone has more."""
    group: list[ManifestFileInfo] = []
    refs = 0
    for entry in entries:
        if group and (len(group) >= _MANIFESTS_A_JOB or refs + entry.num_chunk_refs > _REFS_A_JOB):
            yield group
            group, refs = [], 0
        group.append(entry)
        refs += entry.num_chunk_refs
    if group:
        yield group


async def _files_that_can_be_read(storage: Storage, ids: Iterable[bytes]) -> list[ManifestFileInfo]:
    found: dict[bytes, ManifestFileInfo] = {}
    for snapshot_id in ids:
        try:
            snapshot = await reading.read_snapshot(storage, snapshot_id)
            found.update(_files_of(snapshot))
        except (SnapshotNotFoundError, Corrupt):
            continue  # nobody could read it any more
    return list(found.values())


def _files_of(snapshot: Snapshot) -> dict[bytes, ManifestFileInfo]:
    return {entry.id: entry for entry in snapshot.manifest_files}


# --- what workers run ------------------------------------------------------------------


def _files_in_worker(job: tuple[LentStorage, list[bytes], bool]) -> tuple[int, list[ManifestFileInfo]]:
    lent, ids, required = job
    storage = lent.storage

    async def look() -> list[ManifestFileInfo]:
        if not required:
            return await _files_that_can_be_read(storage, ids)
        found: dict[bytes, ManifestFileInfo] = {}
        async for _, snapshot in reading.snapshots(storage, ids, at_once=len(ids)):
            found.update(_files_of(snapshot))
        return list(found.values())

    return len(ids), run(look(), may_suspend=storage.may_suspend)


def _extract_in_worker(job: tuple[LentStorage, list[ManifestFileInfo], Extract[T], ReadLimits]) -> list[T]:
    lent, entries, extract, limits = job
    storage = lent.storage

    async def look() -> list[T]:
        return [extract(manifest) async for manifest in reading.manifests(storage, entries, limits)]

    return run(look(), may_suspend=storage.may_suspend)
