"""Bring a session's changes on top of what was committed meanwhile (FORMAT.md, section 17.4)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial

from icechunk_core.drive import gather
from icechunk_core.errors import (
    ConflictError,
    ErrorKind,
    RebaseFailedError,
    RefNotFoundError,
    SessionStateError,
)
from icechunk_core.format import base32
from icechunk_core.format.repo_info import SnapshotInfo
from icechunk_core.format.snapshot import Snapshot
from icechunk_core.format.transaction_log import TransactionLog
from icechunk_core.session.modes import SessionMode
from icechunk_core.session.state import SessionState
from icechunk_core.tracing import annotate, traced
from icechunk_core.transaction.rebase import log_of_lost, rebase_over
from icechunk_core.transaction.solvers import ConflictSolver

__all__ = ["rebase"]

_logger = logging.getLogger(__name__)

_COMMITS_AT_ONCE = 8


@traced("icechunk.rebase")
async def rebase(state: SessionState, solver: ConflictSolver) -> None:
    """Move the session onto the branch's tip, one commit after the other.

    If the session's base is no longer in the branch's history (it was reset, amended or expired),
    every commit of that history counts as new, and nodes that it lacks as deleted.

    Raises
    ------
    RebaseFailedError
        Naming the first commit that cannot be passed, and the conflicts. The session keeps
        its changes, on the last commit that could be passed, or after a reset where it was.
    ConflictError
        ``branch-update-conflict``: the branch was reset, and in spec 1 nothing tells what else changed.
    """
    if state.mode is SessionMode.READONLY or state.branch is None:
        raise SessionStateError("only a writable session can be rebased", kind=ErrorKind.COMMIT_NOT_ALLOWED)
    new_commits, is_ancestor = await _new_commits(state)
    _logger.info("rebasing over %d commits of branch %r", len(new_commits), state.branch)
    annotate(commits=len(new_commits))
    if is_ancestor:
        await _over_later(state, new_commits[::-1], solver)
    else:
        _logger.info("the session's base is no longer in the history of branch %r", state.branch)
        await _over_other_history(state, new_commits[::-1], solver)


async def _over_later(state: SessionState, commits: Sequence[SnapshotInfo], solver: ConflictSolver) -> None:
    """Pass commits that were made on top of the session's base, oldest first."""
    changes, nodes = state.changes, state.base.nodes
    passed: SnapshotInfo | None = None
    try:
        async for info, logs, snapshot in _contents(state, commits):
            theirs = nodes if snapshot is None else snapshot.nodes
            changes = rebase_over(changes, nodes, logs, theirs, solver, info.id)
            passed, nodes = info, theirs
    except RebaseFailedError:
        if passed is not None:
            state.rebased(await state.context.assets.snapshot(passed.id), changes)
        raise
    if passed is not None:
        assert snapshot is not None  # the last one is always read
        state.rebased(snapshot, changes)


async def _over_other_history(
    state: SessionState, commits: Sequence[SnapshotInfo], solver: ConflictSolver
) -> None:
    """Pass every commit of a history that the session's base is not part of, oldest first."""
    base, changes = state.base, state.changes
    old = base.nodes  # only these have all nodes that the session changed
    async for info, logs, snapshot in _contents(state, commits, all_snapshots=True):
        assert snapshot is not None
        base = snapshot
        changes = rebase_over(changes, old, logs, base.nodes, solver, info.id)
    lost = log_of_lost(old, base.nodes, base.id)
    state.rebased(base, rebase_over(changes, old, [lost], base.nodes, solver, base.id))


async def _new_commits(state: SessionState) -> tuple[list[SnapshotInfo], bool]:
    """Commits on the branch since the session's base, newest first; whether that is an ancestor."""
    assert state.branch is not None
    found: list[SnapshotInfo] = []
    try:
        async for info in state.context.history.branch_ancestry(state.branch):
            if info.id == state.base.id:
                return found, True
            found.append(info)
    except RefNotFoundError:
        return [], True  # the commit will say so
    # In spec 1, and where that was migrated, the first snapshot has no log: it is not known what changed.
    if await state.context.assets.transaction_log(found[-1].id) is None:
        raise ConflictError(
            f"branch {state.branch!r} was reset: its history no longer contains the snapshot "
            f"{base32.encode(state.base.id)} that this session is based on; open a new session and write "
            "again",
            kind=ErrorKind.BRANCH_UPDATE_CONFLICT,
        )
    return found, False


async def _contents(
    state: SessionState, commits: Sequence[SnapshotInfo], *, all_snapshots: bool = False
) -> AsyncIterator[tuple[SnapshotInfo, list[TransactionLog], Snapshot | None]]:
    """Each commit with its logs and its snapshot; some are read at once, whatever the storage's delay.

    Most commits of a race only write chunks. Their snapshots have the nodes of the ones before,
    so they are not read (None), but for that of the last commit.
    """
    assets, suspends = state.context.assets, state.may_suspend

    async def logs_of(info: SnapshotInfo) -> list[TransactionLog]:
        wanted = [(log_id, True) for log_id in info.pruned_ancestor_tx_logs] + [(info.id, False)]
        logs = [await _log(state, log_id, info, pruned=pruned) for log_id, pruned in wanted]
        return [log for log in logs if log is not None]

    async def snapshot_of(info: SnapshotInfo, logs: Sequence[TransactionLog]) -> Snapshot | None:
        known = logs and info is not commits[-1] and not all_snapshots
        if known and all(log.is_of_chunks_only() for log in logs):
            return None
        return await assets.snapshot(info.id)

    for at in range(0, len(commits), _COMMITS_AT_ONCE):
        some = commits[at : at + _COMMITS_AT_ONCE]
        logs = await gather([partial(logs_of, info) for info in some], may_suspend=suspends)
        snapshots = await gather(
            [partial(snapshot_of, info, of) for info, of in zip(some, logs, strict=True)],
            may_suspend=suspends,
        )
        for each in zip(some, logs, snapshots, strict=True):
            yield each


async def _log(
    state: SessionState, log_id: bytes, info: SnapshotInfo, *, pruned: bool
) -> TransactionLog | None:
    log = await state.context.assets.transaction_log(log_id)
    if log is None and (pruned or info.parent_id is not None):
        raise RebaseFailedError(
            f"the transaction log {base32.encode(log_id)} is gone, so it cannot be told whether commit "
            f"{base32.encode(info.id)} clashes with this session; open a new session and write again",
            snapshot=base32.encode(info.id),
            kind=ErrorKind.REBASE_TX_LOG_PRUNED,
        )
    return log
