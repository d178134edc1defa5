"""The constructors of stores with version control."""

from __future__ import annotations

from typing import Any

from icechunk_core.classic.control import ClassicControl
from icechunk_core.classic.storage_config import StorageConfig
from icechunk_core.classic.store_config import StoreConfig
from icechunk_core.contract import Storage
from icechunk_core.drive import run
from icechunk_core.errors import (
    ErrorKind,
    InvalidInputError,
    RepositoryNotFoundError,
    StorageConfigError,
)
from icechunk_core.repository.opening import (
    check_commit_safety,
    create_context,
    open_context,
    open_or_create_context,
)
from icechunk_core.repository.queries import check_storage_writable
from icechunk_core.repository.values import SpecVersion
from icechunk_core.session import RepositoryContext, SessionMode, SessionState
from icechunk_core.storage import as_storage
from icechunk_core.store import IcechunkStore

__all__ = ["ClassicFactories"]


class ClassicFactories:
    """Creates and opens repositories, and makes stores on their branch ``main``."""

    def create(self, cls: type[IcechunkStore], storage: Any, read_only: bool, config: Any) -> IcechunkStore:
        opened = _storage(storage)
        return run(self._create(cls, opened, read_only, config), may_suspend=opened.may_suspend)

    async def _create(
        self, cls: type[IcechunkStore], storage: Storage, read_only: bool, config: Any
    ) -> IcechunkStore:
        given = _config(config)
        check_commit_safety(storage)
        context = await create_context(
            storage, given.repository_config(), None, int(SpecVersion.current()), check_clean_root=True
        )
        return await _store(cls, context, given, read_only)

    def open_existing(
        self, cls: type[IcechunkStore], storage: Any, read_only: bool, config: Any
    ) -> IcechunkStore:
        opened = _storage(storage)
        return run(self._open(cls, opened, read_only, config), may_suspend=opened.may_suspend)

    async def _open(
        self, cls: type[IcechunkStore], storage: Storage, read_only: bool, config: Any
    ) -> IcechunkStore:
        given = _config(config)
        try:
            context = await open_context(storage, given.repository_config(), None)
        except RepositoryNotFoundError as error:
            raise InvalidInputError(
                f"no repository exists at the given location ({storage.location}); create one there "
                "with IcechunkStore.create, or change the location",
                kind=ErrorKind.REPOSITORY_NOT_FOUND,
            ) from error
        if not read_only:
            check_commit_safety(storage)
        return await _store(cls, context, given, read_only)

    def open_or_create(
        self, cls: type[IcechunkStore], storage: Any, read_only: bool, config: Any
    ) -> IcechunkStore:
        opened = _storage(storage)
        coroutine = self.open_or_create_async(cls, opened, read_only, config)
        return run(coroutine, may_suspend=opened.may_suspend)

    async def open_or_create_async(
        self, cls: type[IcechunkStore], storage: Any, read_only: bool, config: Any
    ) -> IcechunkStore:
        opened = _storage(storage)
        if read_only:
            return await self._open(cls, opened, read_only, config)
        given = _config(config)
        check_commit_safety(opened)
        context = await open_or_create_context(
            opened, given.repository_config(), None, int(SpecVersion.current()), check_clean_root=True
        )
        return await _store(cls, context, given, read_only)


def _storage(storage: Any) -> Storage:
    return storage.open() if isinstance(storage, StorageConfig) else as_storage(storage)


def _config(config: Any) -> StoreConfig:
    if config is None:
        return StoreConfig()
    if not isinstance(config, StoreConfig):
        raise StorageConfigError(f"'config' must be a StoreConfig, not {type(config).__name__}")
    return config


async def _store(
    cls: type[IcechunkStore], context: RepositoryContext, config: StoreConfig, read_only: bool
) -> IcechunkStore:
    virtual = config.virtual_ref_config
    if virtual is not None:
        context = context.with_open_schemes({"s3": virtual.s3.options()})
    if not read_only:
        check_storage_writable(context.storage)
    snapshot = await context.assets.snapshot(await context.history.branch("main"))
    state = SessionState(context, snapshot, SessionMode.WRITABLE, "main")
    return cls(state, read_only, control=ClassicControl())
