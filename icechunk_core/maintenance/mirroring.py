"""A copy of all of a repository: refs, configuration, status and operations log included.

The target becomes what the source is. It may be empty, or an earlier state of the source;
what somebody else wrote there is never overwritten, unless that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping

from icechunk_core.assets.conditional import conditional_put
from icechunk_core.contract import IF_ABSENT, Condition, IfVersion, Storage, Version
from icechunk_core.errors import AlreadyExists, ConflictError, ErrorKind, NotFound, VersionMismatch
from icechunk_core.format import base32, layout
from icechunk_core.format.refs_v1 import decode_ref
from icechunk_core.format.repo_info import RepoInfo, decode_repo_info
from icechunk_core.history import RepoObjectHistory
from icechunk_core.maintenance import reading
from icechunk_core.maintenance.copying import TARGET_DIFFERS, CopySummary, ObjectCopier
from icechunk_core.session.context import RepositoryContext

__all__ = ["mirror_ref_files", "mirror_repo_object"]


async def mirror_repo_object(
    context: RepositoryContext, target: Storage, copier: ObjectCopier, *, overwrite: bool
) -> CopySummary:
    """Spec 2: everything, then the ``repo`` object as it was read at the beginning."""
    history = context.history
    assert isinstance(history, RepoObjectHistory)
    state = await history.fetch()
    there = await _read(target, layout.REPO_KEY)
    old = None if there is None else decode_repo_info(there[0], name=f"{layout.REPO_KEY} of the target")
    if old is not None and not overwrite:
        await _require_earlier_state(history, old)
    info = state.info
    ids = info.snapshots.ids()
    pruned = {log for item in info.snapshots for log in item.pruned_ancestor_tx_logs}
    await copier.copy_snapshots(ids, {*ids, *pruned})
    await copier.copy_others(layout.OVERWRITTEN_PREFIX)
    if not copier.dry_run and (there is None or there[0] != state.data):
        metadata = context.assets.object_metadata("repo-info") if target.capabilities.metadata else None
        await _put(context, target, layout.REPO_KEY, state.data, there, metadata)
    branches = _changed(info.branches, {} if old is None else old.branches)
    return copier.summary.with_refs(branches, _changed(info.tags, {} if old is None else old.tags))


async def _require_earlier_state(history: RepoObjectHistory, old: RepoInfo) -> None:
    """The newest change of the target has to be one of the source."""
    newest = old.updates[0]
    async for update in history.ops_log():
        if update.updated_at == newest.updated_at and update.kind == newest.kind:
            return
        if update.updated_at < newest.updated_at:
            break
    raise ConflictError(
        "the target is not an earlier state of this repository: it has changes of its own, which would be "
        "lost. Copy chosen branches and tags into it, choose an empty place, or pass overwrite=True",
        kind=TARGET_DIFFERS,
    )


async def mirror_ref_files(
    context: RepositoryContext, target: Storage, copier: ObjectCopier, *, overwrite: bool
) -> CopySummary:
    """Spec 1: everything, then the ref files: tags first, ``main`` last."""
    history, source = context.history, context.storage
    wanted = await _ref_files(source)
    there = await _ref_files(target)
    ids = await reading.reachable(history, source, copier.limits)
    if not overwrite:
        _require_known_tips(there, ids)
    await copier.copy_snapshots(ids, ids)
    await copier.copy_others(layout.CONFIG_KEY)
    changed = [key for key, data in wanted.items() if key not in there or there[key][0] != data[0]]
    gone = [key for key in there if key not in wanted]
    if not copier.dry_run:
        for key in sorted(changed, key=lambda key: (key == layout.branch_key("main"), "/branch." in key)):
            await _put(context, target, key, wanted[key][0], there.get(key), None)
        for result in await target.delete(gone):
            if result.error is not None:
                raise result.error
    parsed = [layout.parse_ref_key(key) for key in changed]
    names = {(ref[0], ref[1]) for ref in parsed if ref is not None and not ref[2]}
    return copier.summary.with_refs(
        [name for kind, name in names if kind == "branch"],
        [name for kind, name in names if kind == "tag"],
    )


async def _ref_files(storage: Storage) -> dict[str, tuple[bytes, Version | None]]:
    found: dict[str, tuple[bytes, Version | None]] = {}
    for key in [item.key async for item in storage.list(layout.REFS_PREFIX)]:
        read = await _read(storage, key)
        if read is not None and layout.parse_ref_key(key) is not None:
            found[key] = read
    return found


def _require_known_tips(there: dict[str, tuple[bytes, Version | None]], known: set[bytes]) -> None:
    for key, (data, _) in there.items():
        parsed = layout.parse_ref_key(key)
        if parsed is None or parsed[2]:
            continue
        tip = decode_ref(data, name=f"{key} of the target")
        if tip not in known:
            raise ConflictError(
                f"{parsed[0]} {parsed[1]!r} of the target points to {base32.encode(tip)}, which this "
                "repository does not have; it would be lost. Copy chosen branches and tags into it, choose "
                "an empty place, or pass overwrite=True",
                kind=TARGET_DIFFERS,
            )


# --- both


async def _read(storage: Storage, key: str) -> tuple[bytes, Version | None] | None:
    try:
        data, about = await storage.get_range_hook(key, None, None)
    except NotFound:
        return None
    return bytes(data), about.version


async def _put(
    context: RepositoryContext,
    target: Storage,
    key: str,
    data: bytes,
    there: tuple[bytes, Version | None] | None,
    metadata: dict[str, str] | None,
) -> None:
    """Replace what was read before, and nothing else."""
    version = None if there is None else there[1]
    condition: Condition = IF_ABSENT if version is None else IfVersion(version)
    try:
        await conditional_put(target, key, data, condition, ids=context.ids, unique=False, metadata=metadata)
    except (AlreadyExists, VersionMismatch) as error:
        raise ConflictError(
            f"{key!r} of the target was changed by somebody else while the repository was copied; copy again",
            kind=ErrorKind.REPO_INFO_UPDATED,
        ) from error


def _changed(new: Mapping[str, bytes], old: Mapping[str, bytes]) -> list[str]:
    return [name for name, tip in new.items() if old.get(name) != tip]
