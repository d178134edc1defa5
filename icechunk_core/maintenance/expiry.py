"""Take old snapshots out of the history (FORMAT.md, section 18). No object is deleted."""

from __future__ import annotations

import logging

from attrs import evolve

from icechunk_core.errors import Corrupt
from icechunk_core.format import layout
from icechunk_core.format.repo_info import ExpirationRan, RepoInfo, SnapshotInfo, UpdateKind
from icechunk_core.history import RefFilesHistory, RepoObjectHistory
from icechunk_core.maintenance.progress import OnProgress, Reporter
from icechunk_core.session.context import RepositoryContext
from icechunk_core.tracing import traced
from icechunk_core.transaction.expiration import expire, expire_chain
from icechunk_core.transaction.repo_updates import MAIN

__all__ = ["expire_snapshots"]

_log = logging.getLogger(__name__)


@traced("icechunk.expire")
async def expire_snapshots(
    context: RepositoryContext,
    older_than_us: int,
    *,
    delete_branches: bool = False,
    delete_tags: bool = False,
    dry_run: bool = False,
    progress: OnProgress | None = None,
) -> set[bytes]:
    """Expire snapshots committed before a time, or with ``dry_run`` only find them; gives their ids.

    Raises
    ------
    ReadOnlyError
        If the repository's status forbids writing.
    """
    history = context.history
    reporter = Reporter(progress)
    if isinstance(history, RepoObjectHistory):
        released = await _expire_listed(
            history, older_than_us, delete_branches, delete_tags, dry_run, reporter
        )
    else:
        assert isinstance(history, RefFilesHistory)
        released = await _expire_chains(
            context, older_than_us, delete_branches, delete_tags, dry_run, reporter
        )
    _log.info("%d snapshots %s", len(released), "would expire" if dry_run else "expired")
    return released


async def _expire_listed(
    history: RepoObjectHistory,
    older_than_us: int,
    delete_branches: bool,
    delete_tags: bool,
    dry_run: bool,
    reporter: Reporter,
) -> set[bytes]:
    """Spec 2: one update of the repo object, decided anew each time that a race for it is lost."""
    released: frozenset[bytes] = frozenset()

    def decide(info: RepoInfo) -> tuple[RepoInfo, UpdateKind]:
        nonlocal released
        result = expire(info, older_than_us, delete_branches=delete_branches, delete_tags=delete_tags)
        released = result.released
        return result.info, ExpirationRan()

    reporter.start("expire")
    if dry_run:
        decide(await history.info())
    else:
        await history.update(decide)
    reporter.advance(len(released))
    return set(released)


async def _expire_chains(
    context: RepositoryContext,
    older_than_us: int,
    delete_branches: bool,
    delete_tags: bool,
    dry_run: bool,
    reporter: Reporter,
) -> set[bytes]:
    """Spec 1: ref by ref, tags first; a snapshot of each history gets a new parent, in place."""
    history = context.history
    tags = [(name, True, delete_tags) for name in sorted(await history.tags())]
    branches = [(name, False, delete_branches and name != MAIN) for name in sorted(await history.branches())]
    reporter.start("refs", len(tags) + len(branches))
    released: set[bytes] = set()
    for name, is_tag, may_delete in (*tags, *branches):
        tip = await (history.tag(name) if is_tag else history.branch(name))
        result = expire_chain(await _chain(context, tip), older_than_us)
        if result.edited is not None:
            if not dry_run:
                await _set_parent(context, result.edited, result.new_parent)
            released |= result.released
        if may_delete and result.tip_is_old and not dry_run:
            await (history.delete_tag(name) if is_tag else history.delete_branch(name))
        reporter.advance()
    return released


async def _chain(context: RepositoryContext, tip: bytes) -> list[SnapshotInfo]:
    chain = [info async for info in context.history.ancestry(tip)]
    if not chain:
        raise Corrupt("a ref without history", object_name=layout.snapshot_key(tip))
    return chain


async def _set_parent(context: RepositoryContext, snapshot_id: bytes, parent_id: bytes) -> None:
    snapshot = await context.assets.snapshot(snapshot_id, fresh=True)
    key = await context.assets.write_snapshot(evolve(snapshot, parent_id=parent_id))
    await context.storage.sync([key])
