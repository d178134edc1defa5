"""Delete objects that nothing refers to any more (FORMAT.md, section 19).

Three rules keep everybody else safe. An object goes only if it is surely older than the
limit *by the storage's own clock*, so that whoever began to write after the limit loses
nothing, however wrong the clocks of the machines are. The history forgets snapshots
*before* their objects are deleted, in one compare-and-swap that fails if they have come
into use meanwhile. And objects go in the order in which they refer to one another, so
that an interrupted run leaves garbage but no dangling reference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from attrs import define

from icechunk_core.clock import us_from_datetime
from icechunk_core.errors import ConflictError, ErrorKind
from icechunk_core.format import layout
from icechunk_core.format.repo_info import GCRan, RepoInfo, UpdateKind
from icechunk_core.history import RepoObjectHistory
from icechunk_core.maintenance import reading
from icechunk_core.maintenance.deleting import BATCH, Account, Deleter, Garbage
from icechunk_core.maintenance.limits import GCLimits
from icechunk_core.maintenance.listing import side_by_side
from icechunk_core.maintenance.marking import Marks, droppable, list_snapshots, mark, retained_snapshots
from icechunk_core.maintenance.progress import OnProgress, Reporter
from icechunk_core.maintenance.values import GCSummary
from icechunk_core.session.context import RepositoryContext
from icechunk_core.transaction.gc_marking import MarksOutdated, drop_snapshots, kept_logs, surely_older

__all__ = ["collect_garbage"]

_log = logging.getLogger(__name__)

_RESTARTS = 50
_LISTED_AT_ONCE = 10_000


async def collect_garbage(
    context: RepositoryContext,
    older_than_us: int,
    limits: GCLimits,
    *,
    dry_run: bool = False,
    progress: OnProgress | None = None,
) -> GCSummary:
    """Delete what no branch or tag leads to and what was last written before a time.

    Raises
    ------
    ReadOnlyError
        If the repository's status forbids writing.
    Corrupt, SnapshotNotFoundError
        If an object that is in use cannot be read; then nothing is deleted.
    ConflictError
        If the repository changes too often, or too many deletions fail in a row.
    """
    run = _Run(context, older_than_us, limits, dry_run, Reporter(progress))
    await context.history.check_writable()
    listed = isinstance(context.history, RepoObjectHistory)
    for _ in range(_RESTARTS):
        try:
            marks, logs = await (run.mark_listed() if listed else run.mark_chains())
        except MarksOutdated:
            _log.info("the repository changed while its objects were marked; marking again")
            continue
        summary = await run.sweep(marks, logs)
        _log.info("garbage collection%s: %s", " (dry run)" if dry_run else "", summary)
        return summary
    raise ConflictError(
        f"the repository changed during each of {_RESTARTS} tries to collect its garbage; try again later",
        kind=ErrorKind.REPO_INFO_UPDATED,
    )


Keeps = Callable[[list[bytes]], list[bool]]


@define
class _Run:
    """One garbage collection."""

    context: RepositoryContext
    limit_us: int
    limits: GCLimits
    dry_run: bool
    reporter: Reporter

    # --- marking: gives what stays, and the transaction logs that stay

    async def mark_listed(self) -> tuple[Marks, set[bytes]]:
        """Spec 2: mark, and take what is going to be deleted out of the repo object.

        Raises
        ------
        MarksOutdated
            If a snapshot that was to go came into use.
        """
        history, storage = self.context.history, self.context.storage
        assert isinstance(history, RepoObjectHistory)
        # Listed first: a snapshot that is in the repo object and not in the listing is new.
        ages = await list_snapshots(storage, self.limit_us, self.limits.listing_streams)
        info = await history.info()
        used, undecided = retained_snapshots(info, ages)
        marks = Marks()
        await mark(marks, storage, used, self.limits, self.reporter, required=True)
        await mark(marks, storage, undecided | ages.young, self.limits, self.reporter, required=False)
        known = set(info.snapshots.ids())
        dropped = droppable(info, marks.snapshots)
        if self.dry_run:
            # The logs of dropped snapshots stay where descendants are going to name them.
            return marks, kept_logs(drop_snapshots(info, dropped, known)) | ages.young

        def decide(current: RepoInfo) -> tuple[RepoInfo, UpdateKind]:
            return drop_snapshots(current, dropped, known), GCRan()

        updated = await history.update(decide)
        added = set(updated.snapshots.ids()) - known
        await mark(marks, storage, added, self.limits, self.reporter, required=True)
        return marks, kept_logs(updated) | ages.young

    async def mark_chains(self) -> tuple[Marks, set[bytes]]:
        """Spec 1: the refs are all there is.

        Raises
        ------
        MarksOutdated
            If a ref leads to something unmarked now.
        """
        history, storage = self.context.history, self.context.storage
        ages = await list_snapshots(storage, self.limit_us, self.limits.listing_streams)
        used = await reading.reachable(history, storage, self.limits)
        marks = Marks()
        await mark(marks, storage, used, self.limits, self.reporter, required=True)
        await mark(marks, storage, ages.young, self.limits, self.reporter, required=False)
        if not marks.snapshots.issuperset(await reading.reachable(history, storage, self.limits)):
            raise MarksOutdated
        return marks, set(marks.snapshots)

    # --- sweeping

    async def sweep(self, marks: Marks, logs: set[bytes]) -> GCSummary:
        """Delete what is old and not marked, kind by kind; after a failure the later kinds are left alone."""
        phases: list[tuple[str, str, Keeps]] = [
            ("snapshots", layout.SNAPSHOTS_PREFIX, _in(marks.snapshots)),
            ("transaction_logs", layout.TRANSACTIONS_PREFIX, _in(logs)),
            ("manifests", layout.MANIFESTS_PREFIX, _in(marks.manifests)),
            ("chunks", layout.CHUNKS_PREFIX, lambda ids: marks.chunks.contains(ids).tolist()),
        ]
        deleter = Deleter(self.context, self.limits)
        accounts: dict[str, Account] = {}
        skipped: list[str] = []
        for name, prefix, keeps in phases:
            if any(account.failed for account in accounts.values()):
                skipped.append(name)
                continue
            accounts[name] = Account()
            await self._sweep_kind(name, prefix, keeps, deleter, accounts[name])
        return GCSummary(
            bytes_deleted=sum(account.bytes for account in accounts.values()),
            **{f"{name}_deleted": account.deleted for name, account in accounts.items()},
            objects_failed_to_delete=sum(account.failed for account in accounts.values()),
            throttled_batches=deleter.throttled,
            delete_errors=deleter.errors,
            skipped_phases=skipped,
        )

    async def _sweep_kind(
        self, name: str, prefix: str, keeps: Keeps, deleter: Deleter, account: Account
    ) -> None:
        self.reporter.start(f"delete {name}")
        await side_by_side(
            prefix,
            lambda part: self._sweep_part(part, prefix, keeps, deleter, account),
            self.limits.listing_streams,
            may_suspend=self.context.storage.may_suspend,
        )

    async def _sweep_part(
        self, part: str, prefix: str, keeps: Keeps, deleter: Deleter, account: Account
    ) -> None:
        listed: dict[bytes, Garbage] = {}
        doomed: list[Garbage] = []
        async for item in self.context.storage.list(part):
            object_id = layout.id_of_key(item.key, prefix)
            if object_id is None or not surely_older(us_from_datetime(item.last_modified), self.limit_us):
                continue
            listed[object_id] = Garbage(item.key, item.size)
            if len(listed) >= _LISTED_AT_ONCE:
                doomed += _unmarked(listed, keeps)
                listed = {}
            if len(doomed) >= BATCH * self.limits.deletes_per_stream:
                await self._delete(doomed, deleter, account)
                doomed = []
        await self._delete(doomed + _unmarked(listed, keeps), deleter, account)

    async def _delete(self, doomed: list[Garbage], deleter: Deleter, account: Account) -> None:
        if self.dry_run:
            account.deleted += len(doomed)
            account.bytes += sum(item.size for item in doomed)
        else:
            await deleter.delete(doomed, account)
        self.reporter.advance(len(doomed))


def _in(marked: set[bytes]) -> Keeps:
    return lambda ids: [object_id in marked for object_id in ids]


def _unmarked(listed: dict[bytes, Garbage], keeps: Keeps) -> list[Garbage]:
    return [item for item, kept in zip(listed.values(), keeps(list(listed)), strict=True) if not kept]
