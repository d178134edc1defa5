"""`Session`: the public face of one reader's or writer's view of a repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icechunk_core.drive import blocking
from icechunk_core.errors import ErrorKind, InvalidInputError, NodeNotFoundError, ReadOnlyError
from icechunk_core.format import base32
from icechunk_core.format.json_values import json_object
from icechunk_core.html import facts, fold, page
from icechunk_core.session.chunk_methods import ChunkMethods
from icechunk_core.session.commit import CommitKind, commit
from icechunk_core.session.modes import SessionMode
from icechunk_core.session.moves import move
from icechunk_core.session.paths import absolute_path
from icechunk_core.session.pickling import restore_state, save_state
from icechunk_core.session.rebase import rebase
from icechunk_core.session.state import SessionState
from icechunk_core.session.view_methods import ViewMethods
from icechunk_core.store import IcechunkStore

if TYPE_CHECKING:
    from icechunk_core.format.configuration import RepositoryConfig
    from icechunk_core.session.forks import ForkSession
    from icechunk_core.transaction.diff import Diff
    from icechunk_core.transaction.solvers import ConflictSolver

__all__ = ["Session"]


class Session(ChunkMethods, ViewMethods):
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
        from icechunk_core.transaction.diff import status_diff

        state = self._state
        with state.lock:
            return status_diff(state.changes, state.base.nodes)

    def discard_changes(self) -> None:
        """Forget all uncommitted changes; `ReadOnlyError` if the session is read-only."""
        if self.read_only:
            raise ReadOnlyError("a read-only session has no changes to discard")
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
            JSON values to keep with the snapshot. NaN and infinities become ``None``. The key
            ``__icechunk`` is used by the library.
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
        TypeError
            If the metadata holds something else.
        SessionStateError
            If there are no changes, or the session is read-only or a fork.
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
        self, message: str, *, metadata: dict[str, Any] | None = None, allow_empty: bool = False
    ) -> str:
        """Replace the branch's latest commit by one that has its changes and this session's.

        Message and metadata are the new ones. A commit that moved nodes can be amended by a
        rearrange session only, and the repository's first one not at all.

        Parameters
        ----------
        allow_empty
            Amend even if nothing changed, for a new message or metadata.

        Raises
        ------
        FormatError
            In a repository of spec 1.
        SessionStateError
            If the session or the commit does not allow it, or there are no changes.
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
        """Save the changes, if any, as a snapshot that no branch points to; gives its id.

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
        own = {} if given is None else json_object(given)
        return {**self._state.commit_metadata, **own}

    # --- nodes

    async def get_node_id_async(self, path: str) -> str:
        """Id of the node at an absolute path; it stays the same when the node moves.

        Raises
        ------
        NodeNotFoundError
            If there is no node.
        """
        node = await self._state.get_node(absolute_path(path))
        if node is None:
            raise NodeNotFoundError(f"there is no node at {path!r}")
        return base32.encode(node.id)

    get_node_id = blocking(get_node_id_async)

    async def move_async(self, from_path: str, to_path: str) -> None:
        """Move or rename a group or array, with all below it. No data is copied.

        >>> import icechunk_core, zarr
        >>> repo = icechunk_core.Repository.create("memory:")
        >>> with repo.transaction("main", message="raw data") as store:
        ...     group = zarr.create_group(store, path="data/raw")
        >>> session = repo.rearrange_session("main")
        >>> session.move("/data/raw", "/data/v1")
        >>> snapshot_id = session.commit("renamed")

        Parameters
        ----------
        from_path, to_path
            Absolute paths. There must be no node at the new one, and a group above it.

        Raises
        ------
        SessionStateError
            If this is not a rearrange session, or the new path is inside the node or not in a group.
        NodeNotFoundError, AlreadyExistsError
            If there is no node at ``from_path``, or one at ``to_path``.
        """
        move(self._state, from_path, to_path)

    move = blocking(move_async)

    # --- distributed writing

    async def fork_async(self) -> ForkSession:
        """A session for a worker in another process, which `merge` adds to this one afterwards.

        The fork sees this session's uncommitted changes. It pickles while writable, as does its
        store; one fork may be sent to many workers, each gets a copy of its own. Merge those that
        come back, then commit this session.

        Garbage collection does not know about work in progress: what a fork writes, and the
        snapshot of uncommitted changes that it may start from, can be deleted by one that removes
        objects younger than the oldest fork. Let it spare as much time as your jobs take.

        >>> import icechunk_core, pickle, zarr
        >>> repo = icechunk_core.Repository.create("memory:")
        >>> session = repo.writable_session("main")
        >>> array = zarr.create_array(session.store, name="a", shape=(4,), chunks=(2,), dtype="i4")
        >>> fork = session.fork()
        >>> zarr.open_array(fork.store, path="a")[:2] = 1  # a worker would do this
        >>> session.merge(fork)
        >>> snapshot_id = session.commit("written by workers")

        Raises
        ------
        SessionStateError
            If this session is read-only: those pickle as they are.
        """
        from icechunk_core.session.forks import ForkSession, fork_state

        return ForkSession(await fork_state(self._state))

    fork = blocking(fork_async)

    async def merge_async(self, *others: Session) -> None:
        """Add the changes of forks, one after the other.

        Where two wrote the same chunk, the one merged later counts. Changes of nodes that exclude
        each other are refused.

        Raises
        ------
        SessionStateError
            ``merge-failed``, naming the paths: two made a node at one path or changed the metadata of
            one, or one deleted what another changed. What was merged before that one stays merged.
        ReadOnlyError
            If this session is read-only.
        """
        from icechunk_core.session.forks import merge_states

        for other in others:
            await merge_states(self._state, other._state)

    merge = blocking(merge_async)

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
                "commit. Pass a read-only session (Repository.readonly_session) to readers, and a fork "
                "(Session.fork) to writers",
                kind=ErrorKind.PICKLE,
            )
        return {"state": save_state(self._state)}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(restore_state(saved["state"]))  # type: ignore[misc]

    def _shown(self) -> list[tuple[str, object]]:
        shown: list[tuple[str, object]] = [("read_only", self.read_only), ("snapshot_id", self.snapshot_id)]
        if not self.read_only:
            shown += [("branch", self.branch), ("has_uncommitted_changes", self.has_uncommitted_changes)]
        return shown

    def __repr__(self) -> str:
        lines = [f"{name}: {value}" for name, value in self._shown()]
        return "\n".join([f"<icechunk_core.{type(self).__name__}>", *lines])

    def _repr_html_(self) -> str:
        shown = facts((name.replace("_", " "), value) for name, value in self._shown())
        requests = fold("<span class='icck-mute'>requests so far</span>", self.io_stats._repr_html_())
        return page(type(self).__name__, shown, requests)
