"""Copy chosen branches and tags into a repository that has a life of its own."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

from icechunk_core.assets.manager import AssetManager
from icechunk_core.errors import (
    AlreadyExistsError,
    ConflictError,
    ErrorKind,
    FormatError,
    RefNotFoundError,
)
from icechunk_core.format import base32
from icechunk_core.format.repo_info import (
    BranchCreated,
    BranchReset,
    NewCommit,
    RepoInfo,
    SnapshotInfo,
    SnapshotTable,
    TagCreated,
)
from icechunk_core.history import RepoObjectHistory
from icechunk_core.history.creation import create_repository_files, detect_spec_version
from icechunk_core.maintenance.copying import TARGET_DIFFERS, CopySummary, ObjectCopier
from icechunk_core.session.context import RepositoryContext
from icechunk_core.transaction.repo_updates import MAIN, Decision, require_online

__all__ = ["ChosenRefs", "copy_refs"]


@frozen
class ChosenRefs:
    """What to copy: branches and tags by name, and where they point."""

    branches: Mapping[str, bytes]
    tags: Mapping[str, bytes]


@frozen
class _Past:
    """The snapshots of the chosen refs, ancestors included."""

    infos: Mapping[bytes, SnapshotInfo]

    def leads_to(self, tip: bytes, wanted: bytes) -> bool:
        """Whether ``wanted`` is ``tip`` or an ancestor of it."""
        current: bytes | None = tip
        while current is not None and current in self.infos:
            if current == wanted:
                return True
            current = self.infos[current].parent_id
        return current == wanted


async def copy_refs(
    context: RepositoryContext, copier: ObjectCopier, chosen: ChosenRefs, *, overwrite: bool
) -> CopySummary:
    """Copy the history of the chosen refs, then create or move the refs in the target, one by one.

    Raises
    ------
    ConflictError
        If a branch of the target has commits that the source's has not, or a tag points elsewhere.
    FormatError
        If the target is of the other spec version.
    """
    version = await detect_spec_version(copier.target)
    if version not in (None, context.spec_version):
        raise FormatError(
            f"the target is a repository of spec {version}, this one is of spec {context.spec_version}; "
            "migrate the older one first (upgrade_icechunk_repository)",
            kind=ErrorKind.UNSUPPORTED_SPEC_VERSION,
        )
    past = _Past(await _past(context, chosen))
    logs = {log for info in past.infos.values() for log in info.pruned_ancestor_tx_logs}
    await copier.copy_snapshots(past.infos, {*past.infos, *logs})
    fresh = version is None
    if copier.dry_run:
        return copier.summary.with_refs(chosen.branches, chosen.tags)
    target = RepositoryContext(
        copier.target, context.config, context.spec_version, clock=context.clock, ids=context.ids
    )
    if fresh:
        await _create(context, target.assets)
    publisher = _Publisher(target, past, overwrite, fresh)
    branches = [name for name, tip in sorted(chosen.branches.items()) if await publisher.branch(name, tip)]
    tags = [name for name, tip in sorted(chosen.tags.items()) if await publisher.tag(name, tip)]
    return copier.summary.with_refs(branches, tags)


async def _past(context: RepositoryContext, chosen: ChosenRefs) -> dict[bytes, SnapshotInfo]:
    found: dict[bytes, SnapshotInfo] = {}
    for tip in {*chosen.branches.values(), *chosen.tags.values()}:
        async for info in context.history.ancestry(tip):
            if info.id in found:
                break
            found[info.id] = info
    return found


async def _create(context: RepositoryContext, assets: AssetManager) -> None:
    """A repository with the source's configuration and the first snapshot only."""
    await create_repository_files(
        assets,
        context.ids,
        context.clock,
        config_document=await context.history.stored_config(),
        check_clean_root=False,
    )


@frozen
class _Publisher:
    """Creates and moves refs of the target."""

    target: RepositoryContext
    past: _Past
    overwrite: bool
    fresh: bool

    async def branch(self, name: str, tip: bytes) -> bool:
        """Point a branch to ``tip``; false if it does already."""
        history = self.target.history
        if (await history.branches()).get(name) == tip:
            return False
        if isinstance(history, RepoObjectHistory):
            await history.update(lambda info: self._branch_decision(info, name, tip))
            return True
        try:
            old = await history.branch(name)
        except RefNotFoundError:
            await history.create_branch(name, tip)
            return True
        self._require_moves(name, old, tip)
        await history.reset_branch(name, tip, old)
        return True

    def _branch_decision(self, info: RepoInfo, name: str, tip: bytes) -> Decision:
        require_online(info)
        old = info.branches.get(name)
        new = evolve(info, snapshots=self._with_past(info), branches={**info.branches, name: tip})
        if old is None:
            return new, BranchCreated(name=name)
        if self.past.leads_to(tip, old):
            return new, NewCommit(branch=name, new_snap_id=tip)
        self._require_moves(name, old, tip)
        return new, BranchReset(name=name, previous_snap_id=old)

    def _require_moves(self, name: str, old: bytes, tip: bytes) -> None:
        """Refuse to take commits out of a branch's history."""
        if self.overwrite or (self.fresh and name == MAIN) or self.past.leads_to(tip, old):
            return
        raise ConflictError(
            f"branch {name!r} of the target points to {base32.encode(old)}, which is not in the history of "
            f"{base32.encode(tip)}; its commits would be lost. Copy to a branch of another name, or pass "
            "overwrite=True",
            kind=TARGET_DIFFERS,
        )

    async def tag(self, name: str, tip: bytes) -> bool:
        """Create a tag; false if it is there already."""
        history = self.target.history
        existing = (await history.tags()).get(name)
        if existing == tip:
            return False
        if existing is not None:
            raise ConflictError(
                f"tag {name!r} of the target points to {base32.encode(existing)}; tags never move. "
                "Leave it out",
                kind=TARGET_DIFFERS,
            )
        if isinstance(history, RepoObjectHistory):
            await history.update(lambda info: self._tag_decision(info, name, tip))
        else:
            await history.create_tag(name, tip)
        return True

    def _tag_decision(self, info: RepoInfo, name: str, tip: bytes) -> Decision:
        require_online(info)
        if name in info.tags or name in info.deleted_tags:
            raise AlreadyExistsError(
                f"tag {name!r} exists or existed in the target; tags are never used again",
                kind=ErrorKind.TAG_ALREADY_EXISTS,
            )
        new = evolve(info, snapshots=self._with_past(info), tags={**info.tags, name: tip})
        return new, TagCreated(name=name)

    def _with_past(self, info: RepoInfo) -> SnapshotTable:
        new = [item for snapshot_id, item in self.past.infos.items() if snapshot_id not in info.snapshots]
        return SnapshotTable.from_infos([*info.snapshots, *new]) if new else info.snapshots
