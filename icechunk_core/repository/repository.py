"""`Repository`: the public face of one repository."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from icechunk_core.contract import Storage
from icechunk_core.drive import blocking, blocking_iterator, blocking_opener
from icechunk_core.format import base32
from icechunk_core.format.configuration import RepositoryConfig
from icechunk_core.history.creation import detect_spec_version
from icechunk_core.repository import opening, queries
from icechunk_core.repository.graph import AncestryGraph, history_graph
from icechunk_core.repository.values import SnapshotInfo, SpecVersion
from icechunk_core.session import RepositoryContext, Session, SessionMode, SessionState
from icechunk_core.storage import StorageLike, as_storage
from icechunk_core.transaction.diff import Diff

if TYPE_CHECKING:
    from icechunk_core.store import IcechunkStore
    from icechunk_core.transaction.solvers import ConflictSolver

__all__ = ["Repository"]

_opener = blocking_opener(as_storage)


class Repository:
    """A versioned Zarr hierarchy on a storage: branches, tags, history, and sessions to read and write.

    ``storage`` is everywhere a `Storage`, a URL (``"file:///data/repo"``, ``"memory:"``),
    or a path. Blocking methods have a twin ``..._async``.

    >>> repo = Repository.create("memory:")
    >>> sorted(repo.list_branches())
    ['main']
    """

    def __init__(self, context: RepositoryContext) -> None:
        self._context = context
        self._commit_metadata: dict[str, Any] = {}

    @property
    def _may_suspend(self) -> bool:
        return self._context.storage.may_suspend

    # --- create and open

    @classmethod
    async def create_async(
        cls,
        storage: StorageLike,
        config: RepositoryConfig | None = None,
        authorize_virtual_chunk_access: dict[str, Any] | None = None,
        spec_version: SpecVersion | int | None = None,
        check_clean_root: bool = True,
        *,
        require_commit_safety: bool = True,
    ) -> Repository:
        """Create a repository in an empty place.

        Parameters
        ----------
        storage
            Where: a `Storage`, a URL or a path.
        config
            Stored with the repository; the defaults apply where it says nothing.
        authorize_virtual_chunk_access
            URL prefixes of virtual chunk containers that may be read, with credentials.
        spec_version
            Version of the on-disk format, by default the current one.
        check_clean_root
            Refuse a place that holds other objects.
        require_commit_safety
            Refuse storages without conditional writes.

        Raises
        ------
        InvalidInputError
            If there is something at the location already.
        """
        opened = as_storage(storage)
        if require_commit_safety:
            opening.check_commit_safety(opened)
        version = int(spec_version) if spec_version is not None else int(SpecVersion.current())
        return cls(
            await opening.create_context(
                opened, config, authorize_virtual_chunk_access, version, check_clean_root=check_clean_root
            )
        )

    create = _opener(create_async)

    @classmethod
    async def open_async(
        cls,
        storage: StorageLike,
        config: RepositoryConfig | None = None,
        authorize_virtual_chunk_access: dict[str, Any] | None = None,
        *,
        require_commit_safety: bool = True,
    ) -> Repository:
        """Open an existing repository.

        Parameters
        ----------
        config
            Overrides the stored configuration, setting by setting, for this object only.

        Raises
        ------
        RepositoryNotFoundError
            If there is none at the location.
        """
        opened = as_storage(storage)
        if require_commit_safety:
            opening.check_commit_safety(opened)
        return cls(await opening.open_context(opened, config, authorize_virtual_chunk_access))

    open = _opener(open_async)

    @classmethod
    async def open_or_create_async(
        cls,
        storage: StorageLike,
        config: RepositoryConfig | None = None,
        authorize_virtual_chunk_access: dict[str, Any] | None = None,
        create_version: SpecVersion | int | None = None,
        check_clean_root: bool = True,
        *,
        require_commit_safety: bool = True,
    ) -> Repository:
        """Open the repository or create it; several processes may do so at once."""
        opened = as_storage(storage)
        if require_commit_safety:
            opening.check_commit_safety(opened)
        version = int(create_version) if create_version is not None else int(SpecVersion.current())
        return cls(
            await opening.open_or_create_context(
                opened, config, authorize_virtual_chunk_access, version, check_clean_root=check_clean_root
            )
        )

    open_or_create = _opener(open_or_create_async)

    @classmethod
    async def exists_async(cls, storage: StorageLike) -> bool:
        """Whether there is a repository at the location."""
        return await detect_spec_version(as_storage(storage)) is not None

    exists = _opener(exists_async)

    @classmethod
    async def fetch_spec_version_async(cls, storage: StorageLike) -> SpecVersion | None:
        """Format version of the repository at the location; ``None`` if there is none."""
        found = await detect_spec_version(as_storage(storage))
        return None if found is None else SpecVersion(found)

    fetch_spec_version = _opener(fetch_spec_version_async)

    @classmethod
    async def fetch_config_async(cls, storage: StorageLike) -> RepositoryConfig | None:
        """The stored configuration; ``None`` if none was stored."""
        context = await opening.open_context(as_storage(storage), None, None)
        document = await context.history.stored_config()
        return opening.decode_config(document, context.spec_version)

    fetch_config = _opener(fetch_config_async)

    # --- what it is

    @property
    def spec_version(self) -> SpecVersion:
        """Version of the on-disk format."""
        return SpecVersion(self._context.spec_version)

    @property
    def storage(self) -> Storage:
        """The storage it is on."""
        return self._context.storage

    @property
    def config(self) -> RepositoryConfig:
        """The effective configuration."""
        return self._context.config

    async def save_config_async(self) -> None:
        """Store the effective configuration, for everybody who opens the repository from now on."""
        document = opening.encode_config(self._context.config, self._context.spec_version)
        await self._context.history.save_config(document)

    save_config = blocking(save_config_async)

    def set_default_commit_metadata(self, metadata: dict[str, Any]) -> None:
        """Metadata that sessions opened from now on add to each commit."""
        self._commit_metadata = dict(metadata)

    def default_commit_metadata(self) -> dict[str, Any]:
        """What `set_default_commit_metadata` was given."""
        return dict(self._commit_metadata)

    # --- branches and tags

    async def list_branches_async(self) -> set[str]:
        """Names of all branches."""
        return set(await self._context.history.branches())

    list_branches = blocking(list_branches_async)

    async def lookup_branch_async(self, branch: str) -> str:
        """Id of the snapshot that a branch points to; `RefNotFoundError` if there is no such branch."""
        return base32.encode(await self._context.history.branch(branch))

    lookup_branch = blocking(lookup_branch_async)

    async def create_branch_async(self, branch: str, snapshot_id: str) -> None:
        """Create a branch at a snapshot.

        Raises
        ------
        AlreadyExistsError
            If the name is taken (`ConflictError` in spec 1).
        SnapshotNotFoundError
            If there is no such snapshot.
        """
        await self._context.history.create_branch(branch, base32.decode(snapshot_id))

    create_branch = blocking(create_branch_async)

    async def reset_branch_async(
        self, branch: str, snapshot_id: str, *, from_snapshot_id: str | None = None
    ) -> None:
        """Point a branch to another snapshot; its later commits may become unreachable.

        Parameters
        ----------
        from_snapshot_id
            Only if the branch points there now; else `ConflictError`.
        """
        expected = None if from_snapshot_id is None else base32.decode(from_snapshot_id)
        await self._context.history.reset_branch(branch, base32.decode(snapshot_id), expected)

    reset_branch = blocking(reset_branch_async)

    async def delete_branch_async(self, branch: str) -> None:
        """Delete a branch (never ``main``)."""
        await self._context.history.delete_branch(branch)

    delete_branch = blocking(delete_branch_async)

    async def list_tags_async(self) -> set[str]:
        """Names of all tags."""
        return set(await self._context.history.tags())

    list_tags = blocking(list_tags_async)

    async def lookup_tag_async(self, tag: str) -> str:
        """Id of the snapshot that a tag points to; `RefNotFoundError` if there is no such tag."""
        return base32.encode(await self._context.history.tag(tag))

    lookup_tag = blocking(lookup_tag_async)

    async def create_tag_async(self, tag: str, snapshot_id: str) -> None:
        """Give a snapshot a name for good.

        Raises
        ------
        AlreadyExistsError
            If the name is, or was ever, used for a tag.
        """
        await self._context.history.create_tag(tag, base32.decode(snapshot_id))

    create_tag = blocking(create_tag_async)

    async def delete_tag_async(self, tag: str) -> None:
        """Delete a tag; its name cannot be used again."""
        await self._context.history.delete_tag(tag)

    delete_tag = blocking(delete_tag_async)

    # --- history

    async def lookup_snapshot_async(self, snapshot_id: str) -> SnapshotInfo:
        """When, why and on top of what a snapshot was committed."""
        record = await self._context.history.snapshot_info(base32.decode(snapshot_id))
        return SnapshotInfo.from_record(record)

    lookup_snapshot = blocking(lookup_snapshot_async)

    async def async_ancestry(
        self, *, branch: str | None = None, tag: str | None = None, snapshot_id: str | None = None
    ) -> AsyncIterator[SnapshotInfo]:
        """A snapshot and its ancestors, newest first, down to the first one.

        Exactly one of the arguments says where to start.
        """
        start = await queries.resolve(self._context.history, branch, tag, snapshot_id)
        async for record in self._context.history.ancestry(start):
            yield SnapshotInfo.from_record(record)

    ancestry = blocking_iterator(async_ancestry)

    async def ancestry_graph_async(self) -> AncestryGraph:
        """All branches and tags as one graph: text in a terminal."""
        return await history_graph(self._context.history)

    ancestry_graph = blocking(ancestry_graph_async)

    async def diff_async(
        self,
        *,
        from_branch: str | None = None,
        from_tag: str | None = None,
        from_snapshot_id: str | None = None,
        to_branch: str | None = None,
        to_tag: str | None = None,
        to_snapshot_id: str | None = None,
    ) -> Diff:
        """What was done between two versions, the first of which is an ancestor of the second.

        Raises
        ------
        InvalidInputError
            If it is not.
        """
        history = self._context.history
        start = await queries.resolve(history, from_branch, from_tag, from_snapshot_id)
        end = await queries.resolve(history, to_branch, to_tag, to_snapshot_id)
        return await queries.diff(self._context, start, end)

    diff = blocking(diff_async)

    # --- sessions

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
            With ``branch``: the last version committed at or before this time.
        """
        wanted = await queries.resolve(self._context.history, branch, tag, snapshot_id, as_of)
        snapshot = await self._context.assets.snapshot(wanted)
        return Session(SessionState(self._context, snapshot, SessionMode.READONLY))

    readonly_session = blocking(readonly_session_async)

    async def writable_session_async(self, branch: str) -> Session:
        """A session that reads and writes on top of a branch's latest version.

        Raises
        ------
        ReadOnlyError
            If the repository's status or its storage forbids writing.
        """
        context = self._context
        await context.history.check_writable()
        queries.check_storage_writable(context.storage)
        snapshot = await context.assets.snapshot(await context.history.branch(branch))
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

    # --- copies

    def __getstate__(self) -> dict[str, Any]:
        return {"context": self._context, "commit_metadata": self._commit_metadata}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self._context = saved["context"]
        self._commit_metadata = saved["commit_metadata"]

    def __repr__(self) -> str:
        return f"<icechunk_core.Repository (spec {self._context.spec_version}) on {self.storage!r}>"
