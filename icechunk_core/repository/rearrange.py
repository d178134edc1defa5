"""Opening sessions that move nodes."""

from __future__ import annotations

from icechunk_core.drive import blocking
from icechunk_core.repository import queries
from icechunk_core.repository.part import RepositoryPart
from icechunk_core.session import Session, SessionMode, SessionState
from icechunk_core.session.moves import require_moves_enabled, require_moves_supported
from icechunk_core.tracing import traced

__all__ = ["RearrangePart"]


class RearrangePart(RepositoryPart):
    """Opens sessions to move and rename nodes."""

    @traced("icechunk.session", mode="rearrange")
    async def rearrange_session_async(self, branch: str) -> Session:
        """A session that moves and renames nodes on a branch (`Session.move`), and does nothing else.

        Raises
        ------
        FormatError
            In a repository of spec 1.
        SessionStateError
            If the feature flag ``move_node`` is off.
        ReadOnlyError
            If the repository's status or its storage forbids writing.
        """
        context = self._context
        require_moves_supported(context)
        await context.history.check_writable()
        queries.check_storage_writable(context.storage)
        tip = await context.history.branch(branch)
        await require_moves_enabled(context, "open a rearrange session")
        snapshot = await context.assets.snapshot(tip)
        return Session(
            SessionState(
                context, snapshot, SessionMode.REARRANGE, branch, commit_metadata=dict(self._commit_metadata)
            )
        )

    rearrange_session = blocking(rearrange_session_async)
