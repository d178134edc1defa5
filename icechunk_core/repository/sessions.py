"""Sessions on a repository."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from icechunk_core.drive import blocking
from icechunk_core.repository import queries
from icechunk_core.repository.arguments import ref_name
from icechunk_core.repository.rearrange import RearrangePart
from icechunk_core.session import Session, SessionMode, SessionState
from icechunk_core.session.preloading import start_preloading
from icechunk_core.tracing import traced

if TYPE_CHECKING:
    from icechunk_core.store import IcechunkStore
    from icechunk_core.transaction.solvers import ConflictSolver

__all__ = ["SessionsPart"]


class SessionsPart(RearrangePart):
    """Opens sessions to read and write."""

    @traced("icechunk.session", mode="readonly")
    async def readonly_session_async(
        self,
        branch: str | None = None,
        *,
        tag: str | None = None,
        snapshot_id: str | None = None,
        as_of: datetime | None = None,
    ) -> Session:
        """A session that reads one version.

        Parameters
        ----------
        branch, tag, snapshot_id
            Exactly one says which.
        as_of
            With ``branch``: the last version committed at or before this time, which has a time zone.
        """
        wanted = await queries.resolve(self._context.history, branch, tag, snapshot_id, as_of)
        snapshot = await self._context.assets.snapshot(wanted)
        start_preloading(self._context, snapshot)
        return Session(SessionState(self._context, snapshot, SessionMode.READONLY))

    readonly_session = blocking(readonly_session_async)

    @traced("icechunk.session", mode="writable")
    async def writable_session_async(self, branch: str) -> Session:
        """A session that reads and writes on top of a branch's latest version.

        Raises
        ------
        ReadOnlyError
            If the repository's status or its storage forbids writing.
        """
        context = self._context
        tip = await context.history.writable_branch(ref_name(branch))
        queries.check_storage_writable(context.storage)
        snapshot = await context.assets.snapshot(tip)
        start_preloading(context, snapshot)
        return Session(
            SessionState(
                context, snapshot, SessionMode.WRITABLE, branch, commit_metadata=dict(self._commit_metadata)
            )
        )

    writable_session = blocking(writable_session_async)

    @contextmanager
    def transaction(
        self,
        branch: str,
        *,
        message: str,
        metadata: dict[str, Any] | None = None,
        rebase_with: ConflictSolver | None = None,
        rebase_tries: int = 1_000,
    ) -> Iterator[IcechunkStore]:
        """A writable store for the length of a ``with`` block, committed at its end.

        If the block raises, nothing is committed.
        """
        session = self.writable_session(branch)
        yield session.store
        session.commit(message, metadata, rebase_with=rebase_with, rebase_tries=rebase_tries)
