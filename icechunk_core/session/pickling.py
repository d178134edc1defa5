"""Take a session state to another process and back."""

from __future__ import annotations

from typing import Any

from icechunk_core.drive import run
from icechunk_core.errors import IcechunkError
from icechunk_core.session.context import RepositoryContext
from icechunk_core.session.modes import SessionMode
from icechunk_core.session.sharing import Unreachable
from icechunk_core.session.state import SessionState
from icechunk_core.transaction.change_set import ChangeSet

__all__ = ["restore_state", "save_state"]


def save_state(state: SessionState) -> dict[str, Any]:
    """A picklable description of a session, uncommitted changes included."""
    with state.lock:
        saved = {
            "context": state.context,
            "base_id": state.base.id,
            "mode": state.mode.value,
            "branch": state.branch,
            "changes": state.changes.to_bytes(),
            "commit_metadata": dict(state.commit_metadata),
            "is_fork": state.is_fork,
        }
    # Afterwards: whatever the changes refer to was put into the sink before. And without the lock, for which
    # another thread may wait on the very loop that has to write the chunks.
    run(state.sink.flush(), may_suspend=state.may_suspend)
    return {**saved, "unsynced": state.sink.unsynced()}


def restore_state(saved: dict[str, Any]) -> SessionState:
    """Inverse of `save_state`; reads the base snapshot. Where it cannot, using the result raises why."""
    context: RepositoryContext = saved["context"]
    try:
        storage = context.storage
        base = run(context.assets.snapshot(saved["base_id"]), may_suspend=storage.may_suspend)
    except IcechunkError as error:
        unreachable: Any = Unreachable(error)
        return unreachable  # type: ignore[no-any-return]
    state = SessionState(
        context,
        base,
        SessionMode(saved["mode"]),
        saved["branch"],
        ChangeSet.from_bytes(saved["changes"]),
        saved["commit_metadata"],
        saved["is_fork"],
    )
    state.sink.adopt(saved["unsynced"])
    return state
