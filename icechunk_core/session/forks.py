"""Forks: sessions for workers in other processes, merged back before the commit (FORMAT.md, section 13.5)."""

from __future__ import annotations

from typing import Any

from icechunk_core.errors import ErrorKind, ReadOnlyError, SessionStateError
from icechunk_core.session.commit import write_unpublished
from icechunk_core.session.modes import SessionMode
from icechunk_core.session.pickling import save_state
from icechunk_core.session.session import Session
from icechunk_core.session.state import SessionState
from icechunk_core.transaction.refitting import refit

__all__ = ["ForkSession", "fork_state", "merge_states"]


class ForkSession(Session):
    """A session for a worker: it pickles while writable, and so does its store.

    Made by `Session.fork`. Send it, or its ``store``, to another process, write there, send it
    back, and pass it to `Session.merge` of the session that it came from, which commits. A fork
    can be forked again; it can neither commit nor flush nor rebase.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {"state": save_state(self._state)}


async def fork_state(state: SessionState) -> SessionState:
    """A new fork of a session.

    It starts from the session's base, or if there are uncommitted changes from a snapshot of
    them that is written for this purpose and that no history lists.

    Raises
    ------
    SessionStateError
        ``cannot-fork-read-only-session``.
    """
    if state.read_only:
        raise SessionStateError(
            "a read-only session cannot be forked; it can be pickled as it is",
            kind=ErrorKind.CANNOT_FORK_READ_ONLY_SESSION,
        )
    base = state.base
    if not state.changes.is_empty():
        base = await write_unpublished(state, "Uncommitted changes, for forks")
    return SessionState(state.context, base, SessionMode.WRITABLE, is_fork=True)


async def merge_states(state: SessionState, other: SessionState) -> None:
    """Add what a fork has changed. Merging the same fork twice is the same as once.

    Raises
    ------
    SessionStateError
        ``merge-failed``: the changes exclude each other; nothing was merged.
        ``rearrange-session-only``: one of the sessions moves nodes.
    """
    if state.read_only:
        raise ReadOnlyError("this session is read-only, nothing can be merged into it")
    if SessionMode.REARRANGE in (state.mode, other.mode):
        raise SessionStateError(
            "a rearrange session moves nodes and cannot be merged with others",
            kind=ErrorKind.REARRANGE_SESSION_ONLY,
        )
    if state.is_fork and other.branch is not None:
        raise SessionStateError(
            "a session on a branch cannot be merged into a fork; merge the fork into the session",
            kind=ErrorKind.MERGE_NOT_ALLOWED,
        )
    if state is other:
        return
    with other.lock:
        changes, base = other.changes.copy(), other.base
    # Afterwards: whatever the copy refers to was put into the sink before it.
    await other.sink.flush()
    unsynced = other.sink.unsynced()
    with state.lock:
        refit(changes, state.changes, state.base.nodes)
        state.merge(changes, unify_created=False, other_base=base.nodes)
    # What the worker wrote becomes durable with this session's commit.
    state.sink.adopt(unsynced)
