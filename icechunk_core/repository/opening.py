"""Create and open repositories; merge the stored configuration with the caller's."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from icechunk_core.assets.manager import AssetManager
from icechunk_core.assets.pack_config import PackConfig
from icechunk_core.assets.settings import EngineSettings
from icechunk_core.clock import Clock, SystemClock
from icechunk_core.contract import Storage
from icechunk_core.contract.io_stats import IoStats
from icechunk_core.contract.wrappers import for_single_writer, observed
from icechunk_core.drive import pause
from icechunk_core.errors import (
    AlreadyExistsError,
    ErrorKind,
    InvalidInputError,
    RepositoryNotFoundError,
)
from icechunk_core.format.config_codec import (
    decode_config_flexbuffers,
    decode_config_yaml,
    encode_config_flexbuffers,
    encode_config_yaml,
)
from icechunk_core.format.configuration import RepositoryConfig
from icechunk_core.history import RepoObjectHistory
from icechunk_core.history.creation import (
    create_repository_files,
    detect_spec_version,
    find_repository,
)
from icechunk_core.ids import IdSource, SystemIds
from icechunk_core.repository.storage_settings import as_configured
from icechunk_core.session.context import RepositoryContext
from icechunk_core.tracing import traced

__all__ = [
    "create_context",
    "decode_config",
    "encode_config",
    "fit_for_commits",
    "open_context",
    "open_or_create_context",
    "reopened",
]

_log = logging.getLogger(__name__)

_CREATE_ATTEMPTS = 20


def encode_config(config: RepositoryConfig, spec_version: int) -> bytes:
    """The stored form of a configuration (FORMAT.md, section 8)."""
    return encode_config_flexbuffers(config) if spec_version >= 2 else encode_config_yaml(config)


def decode_config(document: bytes | None, spec_version: int) -> RepositoryConfig | None:
    """A configuration from its stored form."""
    if document is None:
        return None
    if spec_version >= 2:
        return decode_config_flexbuffers(document, name="repo (configuration)")
    return decode_config_yaml(document, name="config.yaml")


def fit_for_commits(storage: Storage, *, require_commit_safety: bool) -> Storage:
    """The storage, if it keeps two writers apart; if that is not required, with a stand-in for it.

    Raises
    ------
    InvalidInputError
        If it does not, and that is required.
    """
    if require_commit_safety:
        check_commit_safety(storage)
        return storage
    able = storage.capabilities
    if able.read_only or (able.create and able.update):
        return storage
    return for_single_writer(storage, create=not able.create, update=not able.update)


def check_commit_safety(storage: Storage) -> None:
    """Refuse storages that cannot keep two writers apart."""
    able = storage.capabilities
    if able.read_only or able.commit_safe:
        return
    raise InvalidInputError(
        f"the storage {storage.location} does not declare conditional create and update, so two writers "
        "could lose each other's commits. Use a storage that has them, or open with "
        "require_commit_safety=False if you are sure that there is only one writer",
        kind=ErrorKind.STORAGE_CONFIG,
    )


@traced("icechunk.create")
async def create_context(
    storage: Storage,
    config: RepositoryConfig | None,
    authorized: Mapping[str, Any] | None,
    spec_version: int,
    *,
    check_clean_root: bool,
    clock: Clock | None = None,
    ids: IdSource | None = None,
    packs: PackConfig | bool | None = None,
) -> RepositoryContext:
    """Create a repository and open it."""
    if spec_version not in (1, 2):
        raise InvalidInputError(
            f"spec version {spec_version} is not known; use 1 or 2", kind=ErrorKind.UNSUPPORTED_SPEC_VERSION
        )
    clock, ids = clock or SystemClock(), ids or SystemIds()
    effective = RepositoryConfig.default().merge(config) if config is not None else RepositoryConfig.default()
    storage, io_stats = as_configured(storage, effective, config), IoStats()
    assets = AssetManager(observed(storage, io_stats), EngineSettings.from_config(effective), spec_version)
    document = None if config is None else encode_config(config, spec_version)
    await create_repository_files(
        assets, ids, clock, config_document=document, check_clean_root=check_clean_root
    )
    _log.info("created a repository of spec %d at %s", spec_version, storage.location)
    return RepositoryContext(
        storage,
        effective,
        spec_version,
        authorized=authorized,
        clock=clock,
        ids=ids,
        packs=packs,
        io_stats=io_stats,
    )


@traced("icechunk.open")
async def open_context(
    storage: Storage,
    config: RepositoryConfig | None,
    authorized: Mapping[str, Any] | None,
    *,
    clock: Clock | None = None,
    ids: IdSource | None = None,
    packs: PackConfig | bool | None = None,
) -> RepositoryContext:
    """Open an existing repository.

    Raises
    ------
    RepositoryNotFoundError
        If there is none at this location.
    """
    io_stats = IoStats()
    found = await find_repository(observed(storage, io_stats))
    if found is None:
        raise RepositoryNotFoundError(
            f"there is no repository at {storage.location}; create one with Repository.create, "
            "or check the location"
        )
    _log.debug("opening a repository of spec %d at %s", found.spec_version, storage.location)
    clock, ids = clock or SystemClock(), ids or SystemIds()

    def context_with(merged: RepositoryConfig) -> RepositoryContext:
        return RepositoryContext(
            as_configured(storage, merged, config),
            merged,
            found.spec_version,
            authorized=authorized,
            clock=clock,
            ids=ids,
            packs=packs,
            io_stats=io_stats,
        )

    if found.state is not None:
        document = found.state.info.config
    else:
        document = await context_with(RepositoryConfig.default()).history.stored_config()
    merged = RepositoryConfig.default()
    for layer in (decode_config(document, found.spec_version), config):
        if layer is not None:
            merged = merged.merge(layer)
    context = context_with(merged)
    if found.state is not None and isinstance(context.history, RepoObjectHistory):
        context.history.adopt(found.state)
    return context


def reopened(
    context: RepositoryContext,
    config: RepositoryConfig | None,
    authorized: Mapping[str, Any] | None,
    packs: PackConfig | bool | None = None,
) -> RepositoryContext:
    """The same repository: ``config`` merged over its configuration, the other settings replaced if given."""
    merged = copy.deepcopy(context.config) if config is None else context.config.merge(config)
    storage = context.storage
    if config is not None and config.storage is not None:
        storage = as_configured(storage.unobserved, merged, config)
    return RepositoryContext(
        storage,
        merged,
        context.spec_version,
        authorized=context.authorized if authorized is None else authorized,
        open_schemes=context.open_schemes,
        clock=context.clock,
        ids=context.ids,
        packs=context.packs if packs is None else packs,
    )


async def open_or_create_context(
    storage: Storage,
    config: RepositoryConfig | None,
    authorized: Mapping[str, Any] | None,
    spec_version: int,
    *,
    check_clean_root: bool,
    clock: Clock | None = None,
    ids: IdSource | None = None,
    packs: PackConfig | bool | None = None,
) -> RepositoryContext:
    """Open the repository, or create it; safe when several processes do so at once."""
    clock, ids = clock or SystemClock(), ids or SystemIds()
    for attempt in range(_CREATE_ATTEMPTS):
        try:
            return await open_context(storage, config, authorized, clock=clock, ids=ids, packs=packs)
        except RepositoryNotFoundError:
            pass
        try:
            return await create_context(
                storage, config, authorized, spec_version,
                check_clean_root=check_clean_root, clock=clock, ids=ids, packs=packs,
            )  # fmt: skip
        except (AlreadyExistsError, InvalidInputError) as error:
            # Another process may just be creating it.
            if error.kind != ErrorKind.PARENT_DIRECTORY_NOT_CLEAN:
                raise
            if await detect_spec_version(storage) is None:
                raise
        await pause(0.01 * ids.uniform() * (attempt + 1), clock, may_suspend=storage.may_suspend)
    return await open_context(storage, config, authorized, clock=clock, ids=ids, packs=packs)
