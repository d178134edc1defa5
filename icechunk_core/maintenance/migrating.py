"""Turn a repository of spec 1 into one of spec 2 (FORMAT.md, section 21)."""

from __future__ import annotations

from icechunk_core.assets.conditional import conditional_put
from icechunk_core.contract import IF_ABSENT
from icechunk_core.errors import (
    Corrupt,
    ErrorKind,
    NotFound,
    ReadOnlyError,
    SessionStateError,
)
from icechunk_core.format import layout
from icechunk_core.format.config_codec import decode_config_yaml, encode_config_flexbuffers
from icechunk_core.format.refs_v1 import decode_ref
from icechunk_core.format.repo_info import RepoInfo, encode_repo_info
from icechunk_core.maintenance import reading
from icechunk_core.maintenance.progress import OnProgress, Reporter
from icechunk_core.session.context import RepositoryContext
from icechunk_core.tracing import traced
from icechunk_core.transaction.migration import RefFiles, migrated_repo_info
from icechunk_core.transaction.repo_updates import MAIN

__all__ = ["migrate"]


@traced("icechunk.migrate")
async def migrate(
    context: RepositoryContext,
    *,
    dry_run: bool,
    delete_unused_v1_files: bool = True,
    prefetch_concurrency: int = 64,
    progress: OnProgress | None = None,
) -> RepositoryContext:
    """Write the ``repo`` object and check it, then delete what only spec 1 needs.

    No snapshot, manifest, log or chunk changes. Nobody else may write meanwhile.

    Returns
    -------
    The repository as it is to be used from now on; the same one after a dry run.

    Raises
    ------
    SessionStateError
        ``invalid-repository-migration``: it is not of spec 1.
    ReadOnlyError
        If the storage cannot be written.
    AlreadyExists
        If somebody else has migrated it meanwhile.
    """
    if context.spec_version != 1:
        raise SessionStateError(
            f"this repository is of spec {context.spec_version}; only those of spec 1 are migrated",
            kind=ErrorKind.INVALID_REPOSITORY_MIGRATION,
        )
    storage = context.storage
    if storage.capabilities.read_only:
        raise ReadOnlyError(
            f"the storage {storage.location} is read-only, so the repository cannot be migrated",
            kind=ErrorKind.READ_ONLY_STORAGE,
        )
    info = await _new_root(context, prefetch_concurrency, Reporter(progress))
    data = encode_repo_info(info, level=context.settings.repo_compression_level)
    if dry_run:
        return context
    migrated = RepositoryContext(
        storage,
        context.config,
        2,
        authorized=context.authorized,
        open_schemes=context.open_schemes,
        clock=context.clock,
        ids=context.ids,
        packs=context.packs,
    )
    await _write_root(migrated, data, info)
    if delete_unused_v1_files:
        await _delete_old_files(context)
    return migrated


async def _new_root(context: RepositoryContext, concurrency: int, reporter: Reporter) -> RepoInfo:
    storage = context.storage
    refs = await _read_refs(context)
    reporter.start("snapshots")
    snapshots = await reading.snapshot_chains(storage, refs.tips(), at_once=concurrency)
    reporter.advance(len(snapshots))
    document = await context.history.stored_config()
    config = None
    if document is not None:
        config = encode_config_flexbuffers(decode_config_yaml(document, name=layout.CONFIG_KEY))
    return migrated_repo_info(refs, snapshots, config, context.clock.now_us())


async def _read_refs(context: RepositoryContext) -> RefFiles:
    """All refs, deleted tags included."""
    storage, history = context.storage, context.history
    deleted: dict[str, bytes] = {}
    async for item in storage.list(layout.REFS_PREFIX):
        parsed = layout.parse_ref_key(item.key)
        if parsed is None or not parsed[2]:
            continue
        key = layout.tag_key(parsed[1])
        try:
            data, _ = await storage.get_range_hook(key, None, None)
        except NotFound:
            continue
        deleted[parsed[1]] = decode_ref(bytes(data), name=key)
    return RefFiles(await history.branches(), await history.tags(), deleted)


async def _write_root(migrated: RepositoryContext, data: bytes, info: RepoInfo) -> None:
    storage = migrated.storage
    await conditional_put(
        storage,
        layout.REPO_KEY,
        data,
        IF_ABSENT,
        ids=migrated.ids,
        unique=True,
        metadata=migrated.assets.object_metadata("repo-info"),
        storage_class=migrated.settings.storage_class,
    )
    await storage.sync([layout.REPO_KEY])
    try:
        if await migrated.history.branches() != dict(info.branches):
            raise Corrupt("not what the migration wrote", object_name=layout.REPO_KEY)
    except BaseException:
        # As long as it is there, nobody can use the repository through the refs of spec 1.
        await storage.delete([layout.REPO_KEY])
        raise


async def _delete_old_files(context: RepositoryContext) -> None:
    """The branch ``main`` first: without it, nobody takes the rest for a repository of spec 1."""
    storage = context.storage
    main = layout.branch_key(MAIN)
    others = [item.key async for item in storage.list(layout.REFS_PREFIX) if item.key != main]
    for keys in ([main], [*others, layout.CONFIG_KEY]):
        for result in await storage.delete(keys):
            if result.error is not None:
                raise result.error
