"""History of spec 2: everything is in the one mutable object ``repo`` (FORMAT.md, sections 12-14).

Each change is one compare-and-swap: read, decide (a pure function of
`icechunk_core.transaction.repo_updates`), back the old object up, replace it. A lost race
starts over with what is there now.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from attrs import define, evolve, field, frozen

from icechunk_core.assets.conditional import conditional_put
from icechunk_core.assets.manager import AssetManager
from icechunk_core.assets.settings import backoff_seconds
from icechunk_core.clock import Clock
from icechunk_core.contract import ALWAYS, IfVersion, Version
from icechunk_core.drive import gather, pause
from icechunk_core.errors import (
    ConflictError,
    Corrupt,
    ErrorKind,
    IcechunkError,
    NotFound,
    OutcomeUnknown,
    SnapshotNotFoundError,
    StorageError,
    VersionMismatch,
)
from icechunk_core.format import base32, layout
from icechunk_core.format.repo_info import (
    RepoInfo,
    SnapshotBlock,
    SnapshotInfo,
    SnapshotOutlines,
    Update,
    UpdateKind,
    UpdateLog,
    decode_repo_info,
    decode_updates,
    encode_and_keep,
)
from icechunk_core.format.snapshot import Snapshot
from icechunk_core.history.interface import Decide, History, OnSynced, WriteFiles
from icechunk_core.ids import IdSource
from icechunk_core.transaction import history as walk
from icechunk_core.transaction import repo_updates
from icechunk_core.transaction.ops_log import record_update

__all__ = ["RepoObjectHistory", "RepoState"]

_log = logging.getLogger(__name__)

_AMBIGUOUS_TRIES = 4


@frozen
class RepoState:
    """The repo object as it was read."""

    info: RepoInfo
    data: bytes
    version: Version


@define
class _Known:
    """The repo object as it was read last, by whoever looks at this history."""

    state: RepoState | None = None


class RepoObjectHistory(History):
    """History in the ``repo`` object."""

    spec_version = 2

    def __init__(self, assets: AssetManager, ids: IdSource, clock: Clock) -> None:
        self._assets = assets
        self._storage = assets.storage
        self._settings = assets.settings
        self._ids = ids
        self._clock = clock
        self._known = _Known()

    # --- reading

    def adopt(self, state: RepoState) -> None:
        """Know the repo object as somebody has just read it; it is not decoded again while it is the same."""
        self._known.state = state

    async def fetch(self) -> RepoState:
        """Read the repo object; it is decoded only if it changed."""
        data, about = await self._storage.get_range_hook(layout.REPO_KEY, None, None)
        if about.version is None:
            raise StorageError(
                "the storage gave no version with the repo object, so it cannot be updated safely; "
                "its backend must return one from get_range",
                key=layout.REPO_KEY,
            )
        last = self._known.state
        if last is not None and last.version == about.version:
            return last
        raw = bytes(data)
        state = RepoState(decode_repo_info(raw, name=layout.REPO_KEY), raw, about.version)
        self._known.state = state
        return state

    async def info(self) -> RepoInfo:
        """The current repo info."""
        return (await self.fetch()).info

    async def root(self) -> tuple[bytes, RepoInfo]:
        state = await self.fetch()
        return state.data, state.info

    async def branches(self) -> dict[str, bytes]:
        return dict((await self.info()).branches)

    async def tags(self) -> dict[str, bytes]:
        return dict((await self.info()).tags)

    async def branch(self, name: str) -> bytes:
        return walk.branch_tip(await self.info(), name)

    async def writable_branch(self, name: str) -> bytes:
        info = await self.info()
        repo_updates.require_online(info)
        return walk.branch_tip(info, name)

    def branch_object(self, name: str) -> str:
        return layout.REPO_KEY

    async def branch_ancestry(self, name: str) -> AsyncIterator[SnapshotInfo]:
        info = await self.info()
        for item in walk.ancestry(info.snapshots, walk.branch_tip(info, name)):
            yield item

    async def tag(self, name: str) -> bytes:
        return walk.tag_target(await self.info(), name)

    async def snapshot_info(self, snapshot_id: bytes) -> SnapshotInfo:
        found = (await self.info()).snapshots.get(snapshot_id)
        if found is None:
            raise SnapshotNotFoundError(f"snapshot {base32.encode(snapshot_id)} is not in this repository")
        return found

    async def ancestry(self, snapshot_id: bytes) -> AsyncIterator[SnapshotInfo]:
        table = (await self.info()).snapshots
        for item in walk.ancestry(table, snapshot_id):
            yield item

    async def lineage(self, snapshot_id: bytes) -> AsyncIterator[SnapshotBlock]:
        table = (await self.info()).snapshots
        for block in walk.lineage(table, snapshot_id):
            yield block

    async def outlines(self, snapshot_id: bytes) -> SnapshotOutlines:
        return walk.outlines((await self.info()).snapshots, snapshot_id)

    async def all_outlines(self) -> SnapshotOutlines:
        return (await self.info()).snapshots.outlines()

    async def refs(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        info = await self.info()
        return dict(info.branches), dict(info.tags)

    async def all_snapshots(self) -> list[SnapshotInfo]:
        return list((await self.info()).snapshots)

    async def stored_config(self) -> bytes | None:
        return (await self.info()).config

    async def check_writable(self) -> None:
        repo_updates.require_online(await self.info())

    async def ops_log_pages(self) -> AsyncIterator[UpdateLog]:
        """The log, page by page: older pages are in the backups (FORMAT.md, section 13.3)."""
        info = await self.info()
        page: tuple[UpdateLog, str | None] | None = (info.updates, info.repo_before_updates)
        name: str | None = None
        seen: set[str] = set()
        while page is not None:
            updates, older = page
            if name is not None and updates:
                # The newest entry of a backup does not know its own file's name.
                newest: tuple[Update, ...] = (evolve(updates[0], backup_path=name),)
                updates = newest + updates[1:]
            yield updates
            name = older
            if name is None:
                return
            if name in seen:
                raise Corrupt("the operations log runs in a circle", object_name=name)
            seen.add(name)
            page = await self._backup(name)

    async def _backup(self, name: str) -> tuple[UpdateLog, str | None] | None:
        """The log in a copy of an earlier repo object, and what is before it; None if it was cleaned up."""
        key = layout.OVERWRITTEN_PREFIX + name
        try:
            data, _ = await self._storage.get_range_hook(key, None, None)
        except NotFound:
            return None
        return decode_updates(bytes(data), name=key)

    def info_of(self, snapshot: Snapshot, parent_id: bytes | None) -> SnapshotInfo:
        return repo_updates.snapshot_info(snapshot, parent_id)

    # --- commits

    async def publish_commit(
        self, branch: str, base_id: bytes, new: SnapshotInfo, write: WriteFiles, on_synced: OnSynced
    ) -> None:
        def decide(info: RepoInfo) -> tuple[RepoInfo, UpdateKind]:
            return repo_updates.publish_commit(info, branch, base_id, new)

        await self._publish(branch, new, decide, write, on_synced)

    async def publish_amend(
        self, branch: str, base_id: bytes, new: SnapshotInfo, write: WriteFiles, on_synced: OnSynced
    ) -> None:
        def decide(info: RepoInfo) -> tuple[RepoInfo, UpdateKind]:
            return repo_updates.publish_amend(info, branch, base_id, new)

        await self._publish(branch, new, decide, write, on_synced)

    async def publish_detached(self, new: SnapshotInfo, write: WriteFiles, on_synced: OnSynced) -> None:
        def decide(info: RepoInfo) -> tuple[RepoInfo, UpdateKind]:
            return repo_updates.publish_detached(info, new)

        await self._publish(None, new, decide, write, on_synced)

    async def _publish(
        self,
        branch: str | None,
        new: SnapshotInfo,
        decide: Decide,
        write: WriteFiles,
        on_synced: OnSynced,
    ) -> None:
        seen: list[RepoInfo] = []

        def remembering(info: RepoInfo) -> tuple[RepoInfo, UpdateKind]:
            seen[:] = [info]
            return decide(info)

        try:
            await self.update(remembering, write=write, on_synced=on_synced)
        except OutcomeUnknown as error:
            error.snapshot_id = base32.encode(new.id)
            raise
        except ConflictError:
            # Somebody may have committed on top of a commit of ours whose answer got lost.
            if branch is not None and any(walk.own_commit_status(info, branch, new.id) for info in seen):
                return
            raise

    # --- refs and configuration

    async def create_branch(self, name: str, snapshot_id: bytes) -> None:
        await self.update(lambda info: repo_updates.create_branch(info, name, snapshot_id))

    async def reset_branch(self, name: str, snapshot_id: bytes, from_id: bytes | None) -> None:
        await self.update(lambda info: repo_updates.reset_branch(info, name, snapshot_id, from_id))

    async def delete_branch(self, name: str) -> None:
        await self.update(lambda info: repo_updates.delete_branch(info, name))

    async def create_tag(self, name: str, snapshot_id: bytes) -> None:
        await self.update(lambda info: repo_updates.create_tag(info, name, snapshot_id))

    async def delete_tag(self, name: str) -> None:
        await self.update(lambda info: repo_updates.delete_tag(info, name))

    async def save_config(self, document: bytes) -> None:
        await self.update(lambda info: repo_updates.set_config(info, document))

    # --- the compare-and-swap loop (FORMAT.md, 13.2)

    async def update(
        self, decide: Decide, *, write: WriteFiles | None = None, on_synced: OnSynced = lambda keys: None
    ) -> RepoInfo:
        """Replace the repo object by what ``decide`` makes of the current one.

        Parameters
        ----------
        write
            Writes what the new content refers to. That happens once, beside the first look at the repo
            object and its backup where the storage can do several things at once, and all of it is durable
            before the repo object is replaced.

        Raises
        ------
        ConflictError
            After too many lost races, or when ``decide`` finds one.
        OutcomeUnknown
            If the storage did not say whether the last try landed.
        """
        retry = self._settings.retry
        may_suspend = self._storage.may_suspend
        tries = _Tries()
        for failures in range(retry.max_tries):
            if failures:
                wait = backoff_seconds(retry, failures, self._ids.uniform())
                await pause(wait, self._clock, may_suspend=may_suspend)
            unsynced: list[str] = []
            if write is None:
                plan = await self._prepare(decide, tries)
            else:
                plan, unsynced = await self._prepare_beside(write, decide, tries)
            if plan.data is None:
                return plan.new
            await self._storage.sync([*unsynced, plan.backup_key])
            if write is not None:
                on_synced(unsynced)
                write = None
            if await self._replace(plan.old, plan.new, plan.data, tries):
                return plan.new
            _log.debug("another writer updated the repository first; try %d", failures + 2)
        raise ConflictError(
            f"the repository was updated by others {retry.max_tries} times in a row; try again later",
            kind=ErrorKind.UPDATE_ATTEMPTS_EXHAUSTED,
        )

    async def _prepare_beside(
        self, write: WriteFiles, decide: Decide, tries: _Tries
    ) -> tuple[_Plan, list[str]]:
        """`_prepare` while files are written; in direct mode after that, so that the look is a late one."""
        keys: list[str] = []
        plans: list[_Plan] = []

        async def files() -> None:
            keys.extend(await write())

        async def plan() -> None:
            plans.append(await self._prepare(decide, tries))

        await gather([files, plan], may_suspend=self._storage.may_suspend)
        return plans[0], keys

    async def _prepare(self, decide: Decide, tries: _Tries) -> _Plan:
        """Look at the repo object, decide, and back it up; nobody else sees anything of it."""
        state = await self.fetch()
        if tries.landed(state.info):
            return _Plan(state, state.info)
        decided, kind = decide(state.info)
        now = self._clock.now_us()
        backup = layout.backup_name("repo", now, self._ids.object_id())
        new = record_update(decided, kind, now, backup, self._settings.updates_per_page)
        data, new = encode_and_keep(new, level=self._settings.repo_compression_level)
        key = layout.OVERWRITTEN_PREFIX + backup
        await self._storage.put_hook(key, [state.data], ALWAYS, None, None, self._settings.storage_class)
        tries.since_us = tries.since_us or now
        tries.backups.add(backup)
        return _Plan(state, new, data, key)

    async def _replace(self, state: RepoState, new: RepoInfo, data: bytes, tries: _Tries) -> bool:
        """Swap the repo object; false if the race was lost.

        Where the answer is missing, what the storage shows settles it: our update in the
        log means success; another version without it means that our put, conditional on
        the old one, can never land any more; the old version means that the same put may
        safely be repeated.
        """
        for _ in range(_AMBIGUOUS_TRIES):
            try:
                version = await conditional_put(
                    self._storage,
                    layout.REPO_KEY,
                    data,
                    IfVersion(state.version),
                    ids=self._ids,
                    unique=True,
                    metadata=self._assets.object_metadata("repo-info"),
                    storage_class=self._settings.storage_class,
                )
            except VersionMismatch:
                return False
            except OutcomeUnknown as error:
                unknown = error
            else:
                self._known.state = RepoState(new, data, version)
                return True
            try:
                current = await self.fetch()
            except IcechunkError as error:
                raise unknown from error
            if current.version != state.version:
                return tries.landed(current.info)
        raise unknown


@frozen
class _Plan:
    """A replacement of the repo object, whose backup is written; without data, one that has landed before."""

    old: RepoState
    new: RepoInfo
    data: bytes | None = None
    backup_key: str = ""


@define
class _Tries:
    """What this operation has tried to write: names of backups, and when it first did."""

    backups: set[str] = field(factory=set)
    since_us: int = 0

    def landed(self, info: RepoInfo) -> bool:
        """Whether one of them, known by the backup that it names, is in the log."""
        if not self.backups:
            return False
        if info.repo_before_updates in self.backups:
            return True
        for update in info.updates:
            # The entry below ours names our backup, and it is the first that may be older.
            if update.backup_path in self.backups:
                return True
            if update.updated_at < self.since_us:
                return False
        return False
