"""Moving and renaming nodes in a rearrange session (FORMAT.md, section 16)."""

from __future__ import annotations

from icechunk_core.errors import ErrorKind, FormatError, ReadOnlyError, SessionStateError
from icechunk_core.history import RepoObjectHistory
from icechunk_core.session.context import RepositoryContext
from icechunk_core.session.modes import SessionMode
from icechunk_core.session.paths import absolute_path
from icechunk_core.session.state import SessionState
from icechunk_core.transaction.moves import check_move
from icechunk_core.transaction.repo_updates import flag_enabled

__all__ = ["move", "require_moves_enabled", "require_moves_supported"]


def require_moves_supported(context: RepositoryContext) -> None:
    """Raise `FormatError` for repositories of spec 1, whose logs have no moves."""
    if context.spec_version < 2:
        raise FormatError(
            "moving nodes needs a repository of spec 2; migrate the repository first",
            kind=ErrorKind.UNSUPPORTED_SPEC_VERSION,
        )


async def require_moves_enabled(context: RepositoryContext, what: str) -> None:
    """Raise unless the repository's feature flag ``move_node`` is on.

    Raises
    ------
    FormatError
        In spec 1.
    SessionStateError
        ``feature-flag-disabled``.
    """
    require_moves_supported(context)
    history = context.history
    assert isinstance(history, RepoObjectHistory)
    if not flag_enabled(await history.info(), "move_node"):
        raise SessionStateError(
            f"cannot {what}: the feature flag move_node of this repository is off; switch it on with "
            "set_feature_flag",
            kind=ErrorKind.FEATURE_FLAG_DISABLED,
        )


def move(state: SessionState, from_path: str, to_path: str) -> None:
    """Move a node with all below it.

    Raises
    ------
    IcechunkError
        See `icechunk_core.session.Session.move`.
    """
    source, target = absolute_path(from_path), absolute_path(to_path)
    require_moves_supported(state.context)
    check_move(state.changes, state.base.nodes, source, target)
    if state.mode is SessionMode.READONLY:
        raise ReadOnlyError("this session is read-only; open one with Repository.rearrange_session(branch)")
    if state.mode is not SessionMode.REARRANGE:
        raise SessionStateError(
            "this session changes nodes and chunks and cannot move any; commit it, then open one with "
            "Repository.rearrange_session(branch)",
            kind=ErrorKind.NON_REARRANGE_SESSION,
        )
    state.move_node(source, target)
