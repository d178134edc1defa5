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
from concurrent.futures import Executor

import numpy as np
from attrs import define

from icechunk_core.errors import ConflictError, ErrorKind
from icechunk_core.format import layout
from icechunk_core.format.repo_info import GCRan, RepoInfo, UpdateKind
from icechunk_core.history import RepoObjectHistory
from icechunk_core.maintenance import reading
from icechunk_core.maintenance.deleting import Account, Deleter
from icechunk_core.maintenance.fanning import check_executor
from icechunk_core.maintenance.limits import GCLimits
from icechunk_core.maintenance.marking import Marks, droppable, list_snapshots, mark, retained_snapshots
from icechunk_core.maintenance.progress import OnProgress, Reporter
from icechunk_core.maintenance.scanning import Scan
from icechunk_core.maintenance.sweeping import Sweep, sweep_elsewhere, sweep_here
from icechunk_core.maintenance.values import GCSummary
from icechunk_core.session.context import RepositoryContext
from icechunk_core.tracing import traced
from icechunk_core.transaction.gc_marking import ByteSet, MarksOutdated, drop_snapshots, kept_logs

__all__ = ["collect_garbage"]

_log = logging.getLogger(__name__)

_RESTARTS = 50


@traced("icechunk.garbage_collection")
async def collect_garbage(
    context: RepositoryContext,
    older_than_us: int,
    limits: GCLimits,
    *,
    dry_run: bool = False,
    executor: Executor | None = None,
    progress: OnProgress | None = None,
) -> GCSummary:
    """Delete what no branch or tag leads to and what was last written before a time.

    Parameters
    ----------
    executor
        Reads and decodes what is in use, and on storages that suspend lists and deletes what is not.

    Raises
    ------
    ReadOnlyError
        If the repository's status forbids writing.
    Corrupt, SnapshotNotFoundError
        If an object that is in use cannot be read; then nothing is deleted.
    ConflictError
        If the repository changes too often, or too many deletions fail in a row.
    """
    check_executor(executor)
    run = _Run(context, older_than_us, limits, dry_run, executor, Reporter(progress))
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


@define
class _Run:
    """One garbage collection."""

    context: RepositoryContext
    limit_us: int
    limits: GCLimits
    dry_run: bool
    executor: Executor | None
    reporter: Reporter

    @property
    def scan(self) -> Scan:
        """How to read what is in use."""
        return Scan(self.context.storage, self.limits, self.executor, self.reporter)

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
        await mark(marks, self.scan, used, required=True)
        await mark(marks, self.scan, undecided | ages.young, required=False)
        known = set(info.snapshots.ids())
        dropped = droppable(info, marks.snapshots)
        if self.dry_run:
            # The logs of dropped snapshots stay where descendants are going to name them.
            return marks, kept_logs(drop_snapshots(info, dropped, known)) | ages.young

        def decide(current: RepoInfo) -> tuple[RepoInfo, UpdateKind]:
            return drop_snapshots(current, dropped, known), GCRan()

        updated = await history.update(decide)
        added = set(updated.snapshots.ids()) - known
        await mark(marks, self.scan, added, required=True)
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
        await mark(marks, self.scan, used, required=True)
        await mark(marks, self.scan, ages.young, required=False)
        if not marks.snapshots.issuperset(await reading.reachable(history, storage, self.limits)):
            raise MarksOutdated
        return marks, set(marks.snapshots)

    # --- sweeping

    async def sweep(self, marks: Marks, logs: set[bytes]) -> GCSummary:
        """Delete what is old and not marked, kind by kind; after a failure the later kinds are left alone."""
        phases = [
            ("snapshots", layout.SNAPSHOTS_PREFIX, _as_set(marks.snapshots)),
            ("transaction_logs", layout.TRANSACTIONS_PREFIX, _as_set(logs)),
            ("manifests", layout.MANIFESTS_PREFIX, _as_set(marks.manifests)),
            ("chunks", layout.CHUNKS_PREFIX, marks.chunks),
        ]
        context = self.context
        deleter = Deleter(context.storage, context.clock, context.ids, self.limits)
        accounts: dict[str, Account] = {}
        skipped: list[str] = []
        for name, prefix, kept in phases:
            if any(account.failed for account in accounts.values()):
                skipped.append(name)
                continue
            account = accounts[name] = Account()
            self.reporter.start(f"delete {name}")
            sweep = Sweep(prefix, kept, self.limit_us, self.limits, self.dry_run)
            # Parts of a directory are no cheaper to list than all of it.
            if self.executor is not None and context.storage.may_suspend:
                await sweep_elsewhere(self.executor, sweep, deleter, account, self.reporter)
            else:
                await sweep_here(sweep, deleter, account, self.reporter)
        return GCSummary(
            bytes_deleted=sum(account.bytes for account in accounts.values()),
            **{f"{name}_deleted": account.deleted for name, account in accounts.items()},
            objects_failed_to_delete=sum(account.failed for account in accounts.values()),
            throttled_batches=deleter.throttled,
            delete_errors=deleter.errors,
            skipped_phases=skipped,
        )


def _as_set(ids: set[bytes]) -> ByteSet:
    kept = ByteSet(12)
    kept.add(np.frombuffer(b"".join(ids), np.uint8).reshape(len(ids), 12))
    return kept
