"""Copy a repository, or some of its branches and tags, to another storage.

Objects keep their keys, so a copy has the same snapshot ids. They are copied before what
refers to them, and refs come last: an interrupted copy shows nothing half done, and the next
run goes on where it stopped, because what is there with the right size is not copied again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Executor
from typing import TypeAlias

from attrs import Factory, define, evolve, frozen

from icechunk_core.contract import ALWAYS, Storage
from icechunk_core.drive import gather, run
from icechunk_core.errors import Corrupt, NotFound, StorageError
from icechunk_core.format import base32
from icechunk_core.format.snapshot import ManifestFileInfo
from icechunk_core.maintenance.fanning import LentStorage, fan_out
from icechunk_core.maintenance.inventory import KINDS, Inventory, take_inventory
from icechunk_core.maintenance.limits import ReadLimits
from icechunk_core.maintenance.marking import chunk_ids
from icechunk_core.maintenance.progress import Reporter
from icechunk_core.maintenance.scanning import Scan
from icechunk_core.transaction.gc_marking import ByteSet

__all__ = ["TARGET_DIFFERS", "CopySummary", "ObjectCopier"]

TARGET_DIFFERS = "copy-target-differs"
"""Kind of the error where the target has changes of its own."""

_AT_ONCE = 32
_BYTES_AT_ONCE = 64 * 1024 * 1024

Wanted: TypeAlias = tuple[str, int]
"""Key and size."""


@frozen
class CopySummary:
    """What `Repository.copy` did, or with ``dry_run`` would have done.

    Attributes
    ----------
    objects_copied, bytes_copied
        Objects written to the target.
    objects_present
        Objects that were there already, with the right size.
    branches, tags
        Refs of the target that were created or moved.
    """

    objects_copied: int = 0
    bytes_copied: int = 0
    objects_present: int = 0
    branches: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def with_refs(self, branches: Iterable[str], tags: Iterable[str]) -> CopySummary:
        """The same with the refs that changed."""
        return evolve(self, branches=tuple(sorted(branches)), tags=tuple(sorted(tags)))


@define
class ObjectCopier:
    """Copies the objects that snapshots need, as far as they are missing in the target."""

    source: Storage
    target: Storage
    limits: ReadLimits
    reporter: Reporter
    dry_run: bool = False
    executor: Executor | None = None
    summary: CopySummary = Factory(CopySummary)
    _there: Inventory | None = None
    _here: Inventory | None = None

    async def copy_snapshots(self, snapshots: Collection[bytes], logs: Collection[bytes]) -> None:
        """Copy snapshots and all that they refer to, and the transaction logs that exist.

        Raises
        ------
        SnapshotNotFoundError, Corrupt
            If the source lacks something, or it is damaged.
        StorageError
            If something has another size in the target than it should after it was written.
        """
        self._here = await take_inventory(self.source, self.reporter)
        self._there = await take_inventory(self.target, self.reporter)
        files, chunks = await self._needed(snapshots)
        await self._copy_kind("chunks", chunks, required=True)
        await self._copy_kind("manifests", files, required=True)
        await self._copy_kind("transaction_logs", logs, required=False)
        await self._copy_kind("snapshots", snapshots, required=True)
        await self._check(chunks, files, snapshots)

    async def copy_others(self, prefix: str) -> None:
        """Copy all objects below a prefix that have other names than ids."""
        assert self._here is not None
        assert self._there is not None
        wanted = [(key, size) for key, size in self._here.other.items() if key.startswith(prefix)]
        missing = [(key, size) for key, size in wanted if self._there.other.get(key) != size]
        await self._copy(prefix.strip("/"), sorted(missing), len(wanted) - len(missing))

    # --- what is needed

    async def _needed(
        self, snapshots: Collection[bytes]
    ) -> tuple[dict[bytes, ManifestFileInfo], list[bytes]]:
        """The manifests of snapshots, and the ids of the chunk objects that they refer to."""
        scan = Scan(self.source, self.limits, self.executor, self.reporter)
        files = await scan.manifest_files(snapshots)
        chunks = ByteSet(12)
        await scan.manifests(files.values(), chunk_ids, chunks.add)
        return files, [row.tobytes() for row in chunks.rows()]

    # --- copying

    async def _copy_kind(self, kind: str, ids: Iterable[bytes], *, required: bool) -> None:
        assert self._here is not None
        assert self._there is not None
        wanted = sorted(ids)
        sizes = self._here.sizes[kind].of(wanted).tolist()
        present = self._there.sizes[kind].of(wanted).tolist()
        prefix = KINDS[kind]
        missing: list[Wanted] = []
        count = 0
        for object_id, size, found in zip(wanted, sizes, present, strict=True):
            key = prefix + base32.encode(object_id)
            if size < 0:
                if required:
                    raise Corrupt("missing in the source, although it is referred to", object_name=key)
            elif size == found:
                count += 1
            else:
                missing.append((key, size))
        await self._copy(kind, missing, count)

    async def _copy(self, phase: str, missing: list[Wanted], present: int) -> None:
        self.summary = evolve(self.summary, objects_present=self.summary.objects_present + present)
        self.reporter.start(f"copy {phase}", len(missing))
        if self.dry_run:
            self._copied((len(missing), sum(size for _, size in missing)))
            return
        groups = _groups(missing)
        if self.executor is None:
            for group in groups:
                self._copied(await _copy_objects(self.source, self.target, group))
        else:
            source, target = LentStorage(self.source), LentStorage(self.target)
            may_suspend = self.source.may_suspend or self.target.may_suspend
            jobs = ((source, target, group) for group in groups)
            await fan_out(self.executor, _copy_in_worker, jobs, self._copied, may_suspend=may_suspend)

    def _copied(self, counts: tuple[int, int]) -> None:
        objects, size = counts
        self.summary = evolve(
            self.summary,
            objects_copied=self.summary.objects_copied + objects,
            bytes_copied=self.summary.bytes_copied + size,
        )
        self.reporter.advance(objects)

    async def _check(
        self, chunks: Collection[bytes], files: Collection[bytes], snapshots: Collection[bytes]
    ) -> None:
        """Look at the target once more: everything has to be there, as long as in the source."""
        if self.dry_run:
            return
        assert self._here is not None
        self._there = await take_inventory(self.target, self.reporter)
        for kind, ids in (("chunks", chunks), ("manifests", files), ("snapshots", snapshots)):
            wanted = sorted(ids)
            sizes = self._here.sizes[kind].of(wanted).tolist()
            found = self._there.sizes[kind].of(wanted).tolist()
            for object_id, size, there in zip(wanted, sizes, found, strict=True):
                if size != there:
                    key = KINDS[kind] + base32.encode(object_id)
                    state = "is missing" if there < 0 else f"has {there} bytes"
                    raise StorageError(
                        f"{key!r} {state} in the target after it was copied; {size} bytes were expected. "
                        "Nothing refers to it yet. Look for others who write or delete there, and copy again",
                        key=key,
                    )


def _groups(wanted: list[Wanted]) -> Iterator[list[Wanted]]:
    """At most 32 objects and, unless there is one only, 64 MiB at a time."""
    group: list[Wanted] = []
    size = 0
    for key, length in wanted:
        if group and (len(group) >= _AT_ONCE or size + length > _BYTES_AT_ONCE):
            yield group
            group, size = [], 0
        group.append((key, length))
        size += length
    if group:
        yield group


async def _copy_objects(source: Storage, target: Storage, wanted: list[Wanted]) -> tuple[int, int]:
    """Copy objects; gives their number and bytes. They are durable when this returns."""
    keeps_metadata = target.capabilities.metadata

    async def one(key: str, size: int) -> int:
        try:
            data, about = await source.get_range_hook(key, None, None)
        except NotFound as error:
            raise Corrupt("vanished from the source while it was copied", object_name=key) from error
        if size != len(data):
            raise Corrupt(f"{len(data)} bytes were read, the listing says {size}", object_name=key)
        metadata = dict(about.metadata) if keeps_metadata and about.metadata else None
        await target.put_hook(key, [data], ALWAYS, metadata, None, None)
        return len(data)

    lengths = await gather(
        [lambda key=key, size=size: one(key, size) for key, size in wanted],  # type: ignore[misc]
        may_suspend=source.may_suspend or target.may_suspend,
        limit=_AT_ONCE,
    )
    await target.sync([key for key, _ in wanted])
    return len(lengths), sum(lengths)


def _copy_in_worker(job: tuple[LentStorage, LentStorage, list[Wanted]]) -> tuple[int, int]:
    """What an executor runs."""
    source, target = job[0].storage, job[1].storage
    may_suspend = source.may_suspend or target.may_suspend
    return run(_copy_objects(source, target, job[2]), may_suspend=may_suspend)
