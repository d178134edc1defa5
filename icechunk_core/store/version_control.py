"""Version control on the store itself: constructors, commit, checkout, branches, tags.

A store that was made by the constructors here brings its version control along. A store
from ``session.store`` refuses these methods and says what to call instead: there, the
session commits. What the methods do is asked of the store's control object
(see `icechunk_core.store.face`), and the constructors are registered from above.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from icechunk_core.drive import blocking

if TYPE_CHECKING:
    from icechunk_core.store.face import StoreControl
    from icechunk_core.store.session_protocol import StoreSession

__all__ = [
    "StoreFactories",
    "VersionControl",
    "VersionControlActions",
    "refuse_unknown",
    "register_factories",
]

S = TypeVar("S", bound="VersionControl")


class VersionControlActions(Protocol):
    """What version control on a store does."""

    @property
    def branch(self) -> str | None: ...
    @property
    def snapshot_id(self) -> str: ...
    @property
    def has_uncommitted_changes(self) -> bool: ...
    def change_set_bytes(self) -> bytes: ...
    async def commit(self, message: str) -> str: ...
    async def distributed_commit(self, message: str, others: Sequence[bytes]) -> str: ...
    async def merge(self, changes: bytes) -> None: ...
    async def reset(self) -> bytes: ...
    async def checkout(self, snapshot_id: str | None, branch: str | None, tag: str | None) -> None: ...
    async def new_branch(self, name: str) -> str: ...
    async def reset_branch(self, to_snapshot: str) -> None: ...
    async def tag(self, name: str, snapshot_id: str) -> None: ...
    def ancestry(self) -> AsyncIterator[Any]: ...
    def make_writeable(self) -> None: ...


class StoreFactories(Protocol):
    """The constructors of stores with version control."""

    def create(self, cls: type[Any], storage: Any, read_only: bool, config: Any) -> Any: ...
    def open_existing(self, cls: type[Any], storage: Any, read_only: bool, config: Any) -> Any: ...
    def open_or_create(self, cls: type[Any], storage: Any, read_only: bool, config: Any) -> Any: ...
    async def open_or_create_async(
        self, cls: type[Any], storage: Any, read_only: bool, config: Any
    ) -> Any: ...


_factories: StoreFactories | None = None


def register_factories(factories: StoreFactories) -> None:
    """Install the constructors; done once, by `icechunk_core.classic`."""
    global _factories
    _factories = factories


def refuse_unknown(what: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise if arguments are left over: a misspelt name must not be passed over in silence.

    Raises
    ------
    TypeError
        Naming the argument.
    """
    if args:
        raise TypeError(f"{what} got {len(args)} positional arguments too many")
    if kwargs:
        raise TypeError(f"{what} got an unexpected keyword argument {next(iter(kwargs))!r}")


def _registered() -> StoreFactories:
    if _factories is None:
        # They are made of what stands above the store, which nobody may have used yet.
        importlib.import_module("icechunk_core.classic")
    assert _factories is not None
    return _factories


class VersionControl:
    """The version control methods of `IcechunkStore`."""

    if TYPE_CHECKING:
        _session: StoreSession
        _control: StoreControl
        _read_only: bool

        @property
        def _may_suspend(self) -> bool: ...

        def _check_writable(self) -> None: ...

        def with_read_only(self: S, read_only: bool = False) -> S: ...

    @property
    def _actions(self) -> VersionControlActions:
        return self._control.version_control(self._session)

    def _writing_actions(self) -> VersionControlActions:
        actions = self._actions
        self._check_writable()
        return actions

    # --- constructors

    @classmethod
    def create(
        cls: type[S], storage: Any, read_only: bool = False, config: Any = None, *args: Any, **kwargs: Any
    ) -> S:
        """Create a repository and open a store on its branch ``main``.

        Parameters
        ----------
        storage
            A `StorageConfig`, a storage, a URL or a path.
        read_only
            Refuse writes through this store until ``set_writeable``.
        config
            A `StoreConfig`.
        args, kwargs
            Nothing more is taken: a `TypeError` names what is too much.

        Raises
        ------
        InvalidInputError
            If there is something at that location already.
        """
        refuse_unknown("IcechunkStore.create", args, kwargs)
        store: S = _registered().create(cls, storage, read_only, config)
        return store

    @classmethod
    def open_existing(
        cls: type[S], storage: Any, read_only: bool = False, config: Any = None, *args: Any, **kwargs: Any
    ) -> S:
        """Open a store on branch ``main`` of an existing repository.

        Raises
        ------
        ValueError
            If there is no repository at that location.
        """
        refuse_unknown("IcechunkStore.open_existing", args, kwargs)
        store: S = _registered().open_existing(cls, storage, read_only, config)
        return store

    @classmethod
    def open_or_create(
        cls: type[S], *, storage: Any, read_only: bool = False, config: Any = None, **kwargs: Any
    ) -> S:
        """Open the repository at a location or create it; with ``read_only`` only open it."""
        refuse_unknown("IcechunkStore.open_or_create", (), kwargs)
        store: S = _registered().open_or_create(cls, storage, read_only, config)
        return store

    @classmethod
    async def open(cls: type[S], *args: Any, **kwargs: Any) -> S:
        """As `open_or_create`, for zarr, which awaits it. With ``store``, opens that session's store."""
        store: Any = cls(*args, **kwargs) if "store" in kwargs else await cls._open_async(*args, **kwargs)
        await store._open()
        opened: S = store
        return opened

    @classmethod
    async def _open_async(
        cls: type[S], storage: Any, read_only: bool = False, config: Any = None, *args: Any, **kwargs: Any
    ) -> S:
        refuse_unknown("IcechunkStore.open", args, kwargs)
        store: S = await _registered().open_or_create_async(cls, storage, read_only, config)
        return store

    # --- state

    @property
    def branch(self) -> str | None:
        """The branch that a commit goes to; ``None`` on a tag or a snapshot."""
        return self._actions.branch

    @property
    def snapshot_id(self) -> str:
        """Id of the snapshot that the store shows, below its uncommitted changes."""
        return self._actions.snapshot_id

    @property
    def has_uncommitted_changes(self) -> bool:
        """Whether there is something to commit."""
        return self._actions.has_uncommitted_changes

    def set_read_only(self) -> None:
        """Refuse writes through this store from now on."""
        _ = self._actions  # a session's store is as writable as its session
        self._read_only = True

    def set_writeable(self) -> None:
        """Allow writes through this store again, for example after a checkout.

        Raises
        ------
        ReadOnlyError
            If the storage itself cannot be written.
        """
        self._actions.make_writeable()
        self._read_only = False

    def as_read_only(self: S) -> S:
        """Another store on the same view that refuses writes."""
        _ = self._actions
        return self.with_read_only(True)

    def as_writeable(self: S) -> S:
        """Another store on the same view that takes writes; they are seen through this one too."""
        self._actions.make_writeable()
        return self.with_read_only(False)

    @contextmanager
    def preserve_read_only(self) -> Iterator[None]:
        """While in the block, a pickled copy of this store keeps ``read_only`` as it is here.

        Otherwise copies come back read-only. Use it to send a writable store to workers; get
        their changes back with `change_set_bytes`.
        """
        control = self._control
        self._control = control.preserving_read_only()
        try:
            yield
        finally:
            self._control = control

    # --- commits

    async def async_commit(self, message: str) -> str:
        """Commit to the branch; the store stays on it, at the new snapshot, writable.

        Returns
        -------
        str
            Id of the new snapshot.

        Raises
        ------
        SessionStateError
            If the store is not on a branch, or there is nothing to commit.
        ReadOnlyError
            If the store is read-only.
        ConflictError
            If others have committed to the branch since it was checked out. Nothing is lost: take the
            changes with ``reset``, check the branch out again, ``set_writeable``, ``merge`` them and
            commit.
        """
        return await self._writing_actions().commit(message)

    commit = blocking(async_commit)

    async def async_distributed_commit(self, message: str, other_change_set_bytes: Sequence[bytes]) -> str:
        """Merge the changes of other writers (their `change_set_bytes`) and commit everything at once."""
        return await self._writing_actions().distributed_commit(message, other_change_set_bytes)

    distributed_commit = blocking(async_distributed_commit)

    async def async_merge(self, changes: bytes) -> None:
        """Add another writer's changes to this store's uncommitted ones; nothing is committed yet.

        Merging the same changes twice changes nothing more. Where both wrote the same chunk,
        the merged one stays.

        Raises
        ------
        Corrupt
            If these are not the bytes of a change set.
        SessionStateError
            If the two clash: nodes made, changed or deleted differently.
        ReadOnlyError
            If the store is read-only.
        """
        await self._writing_actions().merge(changes)

    merge = blocking(async_merge)

    def change_set_bytes(self) -> bytes:
        """The uncommitted changes as bytes, for `merge` and `distributed_commit` anywhere."""
        return self._actions.change_set_bytes()

    async def async_reset(self) -> bytes:
        """Drop the uncommitted changes, and return them as `change_set_bytes` would have."""
        return await self._actions.reset()

    reset = blocking(async_reset)

    # --- versions

    async def async_checkout(
        self, snapshot_id: str | None = None, branch: str | None = None, tag: str | None = None
    ) -> None:
        """Show another version; exactly one argument says which.

        The store is read-only afterwards, until `set_writeable`. Commits are possible on a
        branch only.

        Raises
        ------
        ValueError
            Unless exactly one argument is given.
        SessionStateError
            If there are uncommitted changes.
        """
        await self._actions.checkout(snapshot_id, branch, tag)
        self._read_only = True

    checkout = blocking(async_checkout)

    async def async_new_branch(self, branch_name: str) -> str:
        """Create a branch at the current snapshot and switch to it; gives the snapshot's id.

        A read-only store may do so too, and stays read-only.

        Raises
        ------
        SessionStateError
            If there are uncommitted changes.
        """
        return await self._actions.new_branch(branch_name)

    new_branch = blocking(async_new_branch)

    async def async_reset_branch(self, to_snapshot: str) -> None:
        """Point the current branch, and this store, to another snapshot.

        This edits history: commits may become unreachable.

        Raises
        ------
        SessionStateError
            If there are uncommitted changes, or the store is not on a branch.
        ConflictError
            If others have committed to the branch meanwhile; check it out again to see what would be lost.
        ReadOnlyError
            If the store is read-only.
        """
        await self._writing_actions().reset_branch(to_snapshot)

    reset_branch = blocking(async_reset_branch)

    async def async_tag(self, tag_name: str, snapshot_id: str) -> None:
        """Give a snapshot a name for good. A read-only store may do so too."""
        await self._actions.tag(tag_name, snapshot_id)

    tag = blocking(async_tag)

    async def async_ancestry(self) -> AsyncIterator[Any]:
        """The current snapshot and its ancestors, newest first (`SnapshotMetadata`)."""
        async for item in self._actions.ancestry():
            yield item

    async def _ancestry_async(self) -> list[Any]:
        """The current snapshot and its ancestors, newest first (list of `SnapshotMetadata`)."""
        return [item async for item in self._actions.ancestry()]

    ancestry = blocking(_ancestry_async)

    # --- virtual refs

    async def async_set_virtual_ref(self, key: str, location: str, *, offset: int, length: int) -> None:
        """Store a reference to a part of another object as a chunk.

        Parameters
        ----------
        key
            The chunk, e.g. ``"array/c/0/0"``.
        location
            URL of the object, e.g. ``"s3://bucket/file.nc"``.
        offset, length
            Bytes of the object.
        """
        await self.set_virtual_ref_async(key, location, offset=offset, length=length)  # type: ignore[attr-defined]
