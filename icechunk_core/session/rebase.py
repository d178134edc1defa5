"""Bring a session's changes on top of what was committed meanwhile (FORMAT.md, section 17.4)."""

from __future__ import annotations

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
from icechunk_core.transaction.rebase import rebase_over
from icechunk_core.transaction.solvers import ConflictSolver

__all__ = ["rebase"]


async def rebase(state: SessionState, solver: ConflictSolver) -> None:
    """Move the session onto the branch's tip, one commit after the other.

    Raises
    ------
    RebaseFailedError
        Naming the first commit that cannot be passed, and the conflicts. The session keeps
        its changes, on the last commit that could be passed.
    """
    if state.mode is SessionMode.READONLY or state.branch is None:
        raise SessionStateError("only a writable session can be rebased", kind=ErrorKind.COMMIT_NOT_ALLOWED)
    assets = state.context.assets
    for info in reversed(await _new_commits(state)):
        logs = [await _log(state, log_id, info, pruned=True) for log_id in info.pruned_ancestor_tx_logs]
        logs.append(await _log(state, info.id, info, pruned=False))
        snapshot: Snapshot = await assets.snapshot(info.id)
        state.rebased(
            snapshot,
            rebase_over(
                state.changes,
                state.base.nodes,
                [log for log in logs if log is not None],
                snapshot.nodes,
                solver,
                info.id,
            ),
        )


async def _new_commits(state: SessionState) -> list[SnapshotInfo]:
    """Commits on the branch since the session's base, newest first."""
    history = state.context.history
    assert state.branch is not None
    try:
        tip = await history.branch(state.branch)
    except RefNotFoundError:
        return []  # the commit will say so
    if tip == state.base.id:
        return []
    found: list[SnapshotInfo] = []
    async for info in history.ancestry(tip):
        if info.id == state.base.id:
            return found
        found.append(info)
    raise ConflictError(
        f"branch {state.branch!r} was reset: its history no longer contains the snapshot "
        f"{base32.encode(state.base.id)} that this session is based on. Open a new session and write again",
        kind=ErrorKind.BRANCH_UPDATE_CONFLICT,
    )


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
