"""Commits that race for a branch come one after the other, where the storage has turns.

Without a turn a commit writes its files, and learns in the end that somebody was faster. With one it knows
before it writes anything, and nobody whom turns tell anything is faster. What decides is the conditional
put in any case: who waited too long goes on without.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from icechunk_core.contract import EndTurn
from icechunk_core.errors import RefNotFoundError, StorageError
from icechunk_core.session.state import SessionState

__all__ = ["has_moved", "own_turn"]

_logger = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS = 10.0


@asynccontextmanager
async def own_turn(state: SessionState) -> AsyncIterator[bool]:
    """Wait for the session's turn to update its branch; whether it came.

    Chunks are written before, so that it is over soon.
    """
    end: EndTurn | None = None
    if state.branch is not None and "take_turn" in state.context.storage.hook_names:
        # A commit that will be refused should write as little as possible.
        await state.context.history.check_writable()
        await state.sink.flush()
        end = await _taken(state, state.branch)
    try:
        yield end is not None
    finally:
        if end is not None:
            end()


async def _taken(state: SessionState, branch: str) -> EndTurn | None:
    key = state.context.history.branch_object(branch)
    try:
        return await state.context.storage.take_turn(key, _LONGEST_WAIT_SECONDS)
    except StorageError as error:
        _logger.debug("no turn for %r, which only may cost time: %s", key, error)
        return None


async def has_moved(state: SessionState) -> bool:
    """Whether the branch is no longer where the session found it; a deleted one has not moved."""
    assert state.branch is not None
    try:
        return await state.context.history.writable_branch(state.branch) != state.base.id
    except RefNotFoundError:
        return False
