"""Bring a session's changes on top of what was committed meanwhile (FORMAT.md, section 17.4)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

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
    if not is_ancestor:
        _logger.info("the session's base is no longer in the history of branch %r", state.branch)
    old, base, changes = state.base, state.base, state.changes
    async for info, logs, snapshot in _contents(state, new_commits[::-1]):
        # Otherwise only the session's own base knows all nodes that it changed.
        nodes = base.nodes if is_ancestor else old.nodes
        changes = rebase_over(changes, nodes, logs, snapshot.nodes, solver, info.id)
        base = snapshot
        if is_ancestor:
            state.rebased(base, changes)
    if not is_ancestor:
        lost = log_of_lost(old.nodes, base.nodes, base.id)
        changes = rebase_over(changes, old.nodes, [lost], base.nodes, solver, base.id)
        state.rebased(base, changes)


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
    state: SessionState, commits: Sequence[SnapshotInfo]
) -> AsyncIterator[tuple[SnapshotInfo, list[TransactionLog], Snapshot]]:
    """Each commit with its logs and its snapshot; some are read at once, whatever the storage's delay."""
    assets = state.context.assets

    async def logs_of(info: SnapshotInfo) -> list[TransactionLog]:
        wanted = [(log_id, True) for log_id in info.pruned_ancestor_tx_logs] + [(info.id, False)]
        logs = [await _log(state, log_id, info, pruned=pruned) for log_id, pruned in wanted]
        return [log for log in logs if log is not None]

    for at in range(0, len(commits), _COMMITS_AT_ONCE):
        some = commits[at : at + _COMMITS_AT_ONCE]
        jobs: list[Callable[[], Coroutine[Any, Any, Any]]] = [partial(logs_of, info) for info in some]
        jobs += [partial(assets.snapshot, info.id) for info in some]
        read = await gather(jobs, may_suspend=state.may_suspend)
        for info, logs, snapshot in zip(some, read[: len(some)], read[len(some) :], strict=True):
            yield info, logs, snapshot


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
