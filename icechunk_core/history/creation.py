"""Find, or start, a repository at a storage location (FORMAT.md, sections 12.1-12.3)."""

from __future__ import annotations

from attrs import frozen

from icechunk_core.assets.conditional import conditional_put
from icechunk_core.assets.manager import AssetManager
from icechunk_core.clock import Clock
from icechunk_core.contract import IF_ABSENT, Storage
from icechunk_core.errors import (
    AlreadyExists,
    AlreadyExistsError,
    ErrorKind,
    InvalidInputError,
    NotFound,
    ReadOnlyError,
)
from icechunk_core.format import layout
from icechunk_core.format.refs_v1 import encode_ref
from icechunk_core.format.repo_info import decode_repo_info, encode_repo_info
from icechunk_core.format.snapshot import initial_snapshot
from icechunk_core.format.transaction_log import empty_log
from icechunk_core.history.spec2 import RepoState
from icechunk_core.ids import IdSource
from icechunk_core.transaction.repo_updates import initial_repo_info

__all__ = ["FoundRepository", "create_repository_files", "detect_spec_version", "find_repository"]

_MAIN_KEY = layout.branch_key("main")


@frozen
class FoundRepository:
    """A repository at a location: its spec version and, in spec 2, its repo object as it was read."""

    spec_version: int
    state: RepoState | None = None


async def find_repository(storage: Storage) -> FoundRepository | None:
    """The repository at this location; ``None`` if there is none."""
    try:
        data, about = await storage.get_range_hook(layout.REPO_KEY, None, None)
    except NotFound:
        return FoundRepository(1) if await storage.exists(_MAIN_KEY) else None
    raw = bytes(data)
    info = decode_repo_info(raw, name=layout.REPO_KEY)
    if about.version is None or info.spec_version < 2:
        return FoundRepository(info.spec_version)
    return FoundRepository(info.spec_version, RepoState(info, raw, about.version))


async def detect_spec_version(storage: Storage) -> int | None:
    """The spec version of the repository at this location; ``None`` if there is none."""
    found = await find_repository(storage)
    return None if found is None else found.spec_version


async def create_repository_files(
    assets: AssetManager,
    ids: IdSource,
    clock: Clock,
    *,
    config_document: bytes | None,
    check_clean_root: bool,
) -> None:
    """Write what a new repository consists of.

    Raises
    ------
    AlreadyExistsError
        If somebody else created one meanwhile.
    InvalidInputError
        If there are other objects at the location.
    ReadOnlyError
        If the storage cannot be written.
    """
    storage = assets.storage
    if storage.capabilities.read_only:
        raise ReadOnlyError(
            "a repository cannot be created on a read-only storage", kind=ErrorKind.READ_ONLY_STORAGE
        )
    if check_clean_root:
        await _check_clean(storage)
    snapshot = initial_snapshot(clock.now_us())
    keys = [await assets.write_snapshot(snapshot)]
    if assets.spec_version >= 2:
        log = assets.encode_transaction_log(empty_log(snapshot.id))
        keys.append(await assets.write_transaction_log(snapshot.id, log))
        info = initial_repo_info(snapshot, config_document, clock.now_us())
        root = encode_repo_info(info, level=assets.settings.repo_compression_level)
        root_key, metadata = layout.REPO_KEY, assets.object_metadata("repo-info")
    else:
        root, root_key, metadata = encode_ref(snapshot.id), _MAIN_KEY, None
    await storage.sync(keys)
    if assets.spec_version == 1 and config_document is not None:
        await conditional_put(
            storage, layout.CONFIG_KEY, config_document, IF_ABSENT, ids=ids, unique=False,
            content_type="application/yaml",
        )  # fmt: skip
    try:
        await conditional_put(storage, root_key, root, IF_ABSENT, ids=ids, unique=False, metadata=metadata)
    except AlreadyExists as error:
        raise AlreadyExistsError(
            "a repository was created at this location meanwhile; open it",
            kind=ErrorKind.PARENT_DIRECTORY_NOT_CLEAN,
        ) from error


async def _has_root(storage: Storage) -> bool:
    return await storage.exists(layout.REPO_KEY) or await storage.exists(_MAIN_KEY)


async def _check_clean(storage: Storage) -> None:
    # What an interrupted creation leaves behind does not count: it would be written again
    # with equivalent content, and nobody could ever finish the creation otherwise.
    harmless = {
        layout.snapshot_key(layout.INITIAL_SNAPSHOT_ID),
        layout.transaction_key(layout.INITIAL_SNAPSHOT_ID),
    }
    async for item in storage.list():
        if item.key in harmless:
            continue
        there = "a repository" if await _has_root(storage) else f"{item.key!r}"
        raise InvalidInputError(
            f"there is already {there} at this location; repositories are created in empty places. "
            "Open it, choose another prefix, or pass check_clean_root=False",
            kind=ErrorKind.PARENT_DIRECTORY_NOT_CLEAN,
        )
