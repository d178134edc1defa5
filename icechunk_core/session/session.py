"""`Session`: the public face of one reader's or writer's view of a repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icechunk_core.drive import blocking
from icechunk_core.errors import InvalidInputError, NodeNotFoundError
from icechunk_core.format import base32
from icechunk_core.session.commit import CommitKind, commit
from icechunk_core.session.modes import SessionMode
from icechunk_core.session.pickling import restore_state, save_state
from icechunk_core.session.rebase import rebase
from icechunk_core.session.state import SessionState
from icechunk_core.store import IcechunkStore
from icechunk_core.transaction.diff import Diff, status_diff

if TYPE_CHECKING:
    from icechunk_core.format.configuration import RepositoryConfig
    from icechunk_core.transaction.solvers import ConflictSolver

__all__ = ["Session"]


class Session:
    """Reads one snapshot of a repository and, if writable, collects changes to commit.

    Made by ``Repository.readonly_session`` and ``Repository.writable_session``. All
    blocking methods have a twin ``..._async``.
    """

    def __init__(self, state: SessionState) -> None:
        self._state = state
        state.facade = lambda: self

    @property
    def _may_suspend(self) -> bool:
        return self._state.may_suspend

    # --- what it is

    @property
    def read_only(self) -> bool:
        """Whether the session refuses writes (opened so, or committed)."""
        return self._state.read_only

    @property
    def mode(self) -> SessionMode:
        """What the session may do."""
        return self._state.mode

    @property
    def snapshot_id(self) -> str:
        """Id of the snapshot that the session is based on."""
        return base32.encode(self._state.base.id)

    @property
    def branch(self) -> str | None:
        """Branch that a commit goes to; ``None`` if the session is read-only."""
        return self._state.branch

    @property
    def has_uncommitted_changes(self) -> bool:
        """Whether there is something to commit."""
        return not self._state.changes.is_empty()

    @property
    def config(self) -> RepositoryConfig:
        """The repository's effective configuration."""
        return self._state.context.config

    @property
    def store(self) -> IcechunkStore:
        """The Zarr store to read, and if writable to write, arrays and groups with.

        >>> import icechunk_core, zarr
        >>> repo = icechunk_core.Repository.create("memory:")
        >>> session = repo.writable_session("main")
        >>> root = zarr.create_group(session.store)
        """
        return IcechunkStore(self._state)

    def status(self) -> Diff:
        """What has changed since the session's snapshot and is not committed."""
        state = self._state
        with state.lock:
            return status_diff(state.changes, state.base.nodes)

    def discard_changes(self) -> None:
        """Forget all uncommitted changes."""
        self._state.discard_changes()

    # --- commit

    async def commit_async(
        self,
        message: str,
        metadata: dict[str, Any] | None = None,
        *,
        rebase_with: ConflictSolver | None = None,
        rebase_tries: int = 1_000,
        allow_empty: bool = False,
    ) -> str:
        """Publish the changes as a new snapshot on the branch.

        Afterwards the session is read-only, at the new snapshot.

        Parameters
        ----------
        message
            What was done.
        metadata
            JSON values to keep with the snapshot.
        rebase_with
            If others have committed meanwhile: rebase with this solver and try again.
        rebase_tries
            How often to do that.
        allow_empty
            Commit even if nothing changed.

        Returns
        -------
        str
            Id of the new snapshot.

        Raises
        ------
        ConflictError
            If others have committed and ``rebase_with`` was not given. Nothing is lost:
            rebase and commit again.
        RebaseFailedError
            If the changes clash with theirs.
        OutcomeUnknown
            If the storage did not say whether the commit was published. Its
            ``snapshot_id`` tells what to look for in the history.
        """
        return base32.encode(
            await commit(
                self._state,
                message,
                self._metadata(metadata),
                rebase_with=rebase_with,
                rebase_tries=rebase_tries,
                allow_empty=allow_empty,
            )
        )

    commit = blocking(commit_async)

    async def amend_async(
        self, message: str, metadata: dict[str, Any] | None = None, *, allow_empty: bool = False
    ) -> str:
        """Replace the branch's latest commit by one that has its changes and this session's.

        Raises
        ------
        ConflictError
            If the branch has moved since the session began.
        """
        return base32.encode(
            await commit(
                self._state,
                message,
                self._metadata(metadata),
                kind=CommitKind.AMEND,
                allow_empty=allow_empty,
            )
        )

    amend = blocking(amend_async)

    async def flush_async(self, message: str, *, metadata: dict[str, Any] | None = None) -> str:
        """Save the changes as a snapshot that no branch points to; gives its id.

        Afterwards the session is read-only, at the new snapshot.
        """
        return base32.encode(
            await commit(self._state, message, self._metadata(metadata), kind=CommitKind.FLUSH)
        )

    flush = blocking(flush_async)

    async def rebase_async(self, solver: ConflictSolver) -> None:
        """Move the session on top of what others have committed to the branch meanwhile.

        Raises
        ------
        RebaseFailedError
            If the changes clash, naming the commit and the conflicts. The session keeps its changes.
        """
        await rebase(self._state, solver)

    rebase = blocking(rebase_async)

    def _metadata(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        return {**self._state.commit_metadata, **(given or {})}

    # --- nodes and chunks

    async def get_node_id_async(self, path: str) -> str:
        """Id of the node at a path; it stays the same when the node moves."""
        node = await self._state.get_node("/" + path.strip("/"))
        if node is None:
            raise NodeNotFoundError(f"there is no node at {path!r}")
        return base32.encode(node.id)

    get_node_id = blocking(get_node_id_async)

    # --- copies

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Session):
            return NotImplemented
        return self._state.same_view(other._state)

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        if not self.read_only:
            raise InvalidInputError(
                "a writable session cannot be pickled: what its copy writes would not be part of the "
                "commit. Pass a read-only session (Repository.readonly_session) to readers"
            )
        return {"state": save_state(self._state)}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(restore_state(saved["state"]))  # type: ignore[misc]

    def __repr__(self) -> str:
        lines = [
            "<icechunk_core.Session>",
            f"read_only: {self.read_only}",
            f"snapshot_id: {self.snapshot_id}",
        ]
        if self.branch is not None:
            lines += [f"branch: {self.branch}", f"has_uncommitted_changes: {self.has_uncommitted_changes}"]
        return "\n".join(lines)
