"""History of spec 1: a small JSON file per ref, parents inside snapshots (FORMAT.md, sections 2, 14)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from icechunk_core.assets.conditional import conditional_put
from icechunk_core.assets.manager import AssetManager
from icechunk_core.clock import Clock
from icechunk_core.contract import ALWAYS, IF_ABSENT, Condition, IfVersion, Version
from icechunk_core.errors import (
    AlreadyExists,
    AlreadyExistsError,
    ConflictError,
    Corrupt,
    ErrorKind,
    FormatError,
    NotFound,
    OutcomeUnknown,
    RefNotFoundError,
    SessionStateError,
    VersionMismatch,
)
from icechunk_core.format import base32, layout
from icechunk_core.format.refs_v1 import decode_ref, encode_ref
from icechunk_core.format.repo_info import RepoInfo, SnapshotInfo, UpdateLog
from icechunk_core.format.snapshot import Snapshot
from icechunk_core.history.interface import Decide, History, OnSynced, WriteFiles
from icechunk_core.ids import IdSource
from icechunk_core.transaction.repo_updates import snapshot_info

__all__ = ["RefFilesHistory"]

_MAX_HISTORY = 10_000_000


class RefFilesHistory(History):
    """History in ``refs/``."""

    spec_version = 1

    def __init__(self, assets: AssetManager, ids: IdSource, clock: Clock) -> None:
        self._assets = assets
        self._storage = assets.storage
        self._settings = assets.settings
        self._ids = ids
        self._clock = clock

    # --- reading

    def branch_object(self, name: str) -> str:
        return layout.branch_key(name)

    async def branches(self) -> dict[str, bytes]:
        return (await self.refs())[0]

    async def tags(self) -> dict[str, bytes]:
        return (await self.refs())[1]

    async def refs(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        names: dict[str, set[str]] = {"branch": set(), "tag": set()}
        dead: set[str] = set()
        async for item in self._storage.list(layout.REFS_PREFIX):
            parsed = layout.parse_ref_key(item.key)
            if parsed is None:
                raise Corrupt("neither a branch nor a tag of spec 1", object_name=item.key)
            kind, name, is_tombstone = parsed
            if is_tombstone:
                dead.add(name)
            else:
                names[kind].add(name)
        branches: dict[str, bytes] = {}
        for name in sorted(names["branch"]):
            found = await self._read(layout.branch_key(name))
            if found is not None:
                branches[name] = found[0]
        tags: dict[str, bytes] = {}
        for name in sorted(names["tag"] - dead):
            found = await self._read(layout.tag_key(name))
            if found is not None:
                tags[name] = found[0]
        return branches, tags

    async def _read(self, key: str) -> tuple[bytes, Version | None] | None:
        try:
            data, about = await self._storage.get_range_hook(key, None, None)
        except NotFound:
            return None
        return decode_ref(bytes(data), name=key), about.version

    async def branch(self, name: str) -> bytes:
        return (await self._branch_state(name))[0]

    async def _branch_state(self, name: str) -> tuple[bytes, Version]:
        found = await self._read(layout.branch_key(name))
        if found is None or found[1] is None:
            raise RefNotFoundError(f"there is no branch {name!r}")
        return found[0], found[1]

    async def tag(self, name: str) -> bytes:
        found = await self._read(layout.tag_key(name))
        if found is None or await self._storage.exists(layout.tombstone_key(name)):
            raise RefNotFoundError(f"there is no tag {name!r}")
        return found[0]

    async def snapshot_info(self, snapshot_id: bytes) -> SnapshotInfo:
        snapshot = await self._assets.snapshot(snapshot_id, fresh=True)
        return snapshot_info(snapshot, snapshot.parent_id)

    async def ancestry(self, snapshot_id: bytes) -> AsyncIterator[SnapshotInfo]:
        seen: set[bytes] = set()
        current: bytes | None = snapshot_id
        while current is not None:
            if current in seen or len(seen) > _MAX_HISTORY:
                raise Corrupt("the history runs in a circle", object_name=layout.snapshot_key(current))
            seen.add(current)
            info = await self.snapshot_info(current)
            yield info
            current = info.parent_id

    async def all_snapshots(self) -> list[SnapshotInfo]:
        found: dict[bytes, SnapshotInfo] = {}
        branches, tags = await self.refs()
        for tip in {*branches.values(), *tags.values()}:
            async for info in self.ancestry(tip):
                if info.id in found:
                    break
                found[info.id] = info
        return [found[key] for key in sorted(found)]

    async def stored_config(self) -> bytes | None:
        try:
            data, _ = await self._storage.get_range_hook(layout.CONFIG_KEY, None, None)
        except NotFound:
            return None
        return bytes(data)

    async def check_writable(self) -> None:
        """Spec 1 has no status."""

    def info_of(self, snapshot: Snapshot, parent_id: bytes | None) -> SnapshotInfo:
        return snapshot_info(snapshot, parent_id)

    # --- commits

    async def publish_commit(
        self, branch: str, base_id: bytes, new: SnapshotInfo, write: WriteFiles, on_synced: OnSynced
    ) -> None:
        await self._write_durably(write, on_synced)
        try:
            tip, version = await self._branch_state(branch)
        except RefNotFoundError as error:
            raise _moved(branch, base_id, None) from error
        if tip != base_id:
            raise _moved(branch, base_id, tip)
        try:
            await self._put_ref(layout.branch_key(branch), new.id, IfVersion(version), unique=True)
        except VersionMismatch:
            tip = await self.branch(branch)
            if not await self._is_ancestor(tip, new.id):
                raise _moved(branch, base_id, tip) from None
        except OutcomeUnknown as error:
            tip = await self.branch(branch)
            if not await self._is_ancestor(tip, new.id):
                error.snapshot_id = base32.encode(new.id)
                raise

    async def _is_ancestor(self, tip: bytes, wanted: bytes) -> bool:
        async for info in self.ancestry(tip):
            if info.id == wanted:
                return True
        return False

    async def publish_amend(
        self, branch: str, base_id: bytes, new: SnapshotInfo, write: WriteFiles, on_synced: OnSynced
    ) -> None:
        raise _needs_spec_2("amend needs spec 2; commit instead, or migrate the repository")

    async def publish_detached(self, new: SnapshotInfo, write: WriteFiles, on_synced: OnSynced) -> None:
        await self._write_durably(write, on_synced)

    async def _write_durably(self, write: WriteFiles, on_synced: OnSynced) -> None:
        keys = await write()
        await self._storage.sync(keys)
        on_synced(keys)

    # --- refs

    async def create_branch(self, name: str, snapshot_id: bytes) -> None:
        await self.snapshot_info(snapshot_id)
        layout.validate_ref_name_v1(name)
        try:
            await self._put_ref(layout.branch_key(name), snapshot_id, IF_ABSENT, unique=False)
        except AlreadyExists as error:
            found = await self._read(layout.branch_key(name))
            raise ConflictError(
                f"branch {name!r} exists already",
                actual_parent=None if found is None else base32.encode(found[0]),
                kind=ErrorKind.BRANCH_UPDATE_CONFLICT,
            ) from error

    async def reset_branch(self, name: str, snapshot_id: bytes, from_id: bytes | None) -> None:
        await self.snapshot_info(snapshot_id)
        tip, version = await self._branch_state(name)
        if from_id is not None and tip != from_id:
            raise _reset_conflict(name, from_id, tip)
        try:
            await self._put_ref(layout.branch_key(name), snapshot_id, IfVersion(version), unique=False)
        except VersionMismatch:
            raise _reset_conflict(name, tip, await self.branch(name)) from None

    async def delete_branch(self, name: str) -> None:
        if name == "main":
            raise SessionStateError("branch 'main' cannot be deleted", kind=ErrorKind.CANNOT_DELETE_MAIN)
        await self._branch_state(name)
        for result in await self._storage.delete([layout.branch_key(name)]):
            if result.error is not None:
                raise result.error

    async def create_tag(self, name: str, snapshot_id: bytes) -> None:
        await self.snapshot_info(snapshot_id)
        layout.validate_ref_name_v1(name)
        try:
            await self._put_ref(layout.tag_key(name), snapshot_id, IF_ABSENT, unique=False)
        except AlreadyExists as error:
            raise AlreadyExistsError(
                f"tag {name!r} exists or existed; tags are never used again",
                kind=ErrorKind.TAG_ALREADY_EXISTS,
            ) from error

    async def delete_tag(self, name: str) -> None:
        await self.tag(name)
        try:
            await conditional_put(
                self._storage, layout.tombstone_key(name), b"", IF_ABSENT, ids=self._ids, unique=False
            )
        except AlreadyExists as error:
            raise RefNotFoundError(f"there is no tag {name!r}") from error

    async def _put_ref(self, key: str, snapshot_id: bytes, condition: Condition, *, unique: bool) -> None:
        await conditional_put(
            self._storage,
            key,
            encode_ref(snapshot_id),
            condition,
            ids=self._ids,
            unique=unique,
            content_type="application/json",
            storage_class=self._settings.storage_class,
        )

    # --- what only spec 2 has

    async def info(self) -> RepoInfo:
        raise _needs_spec_2()

    async def root(self) -> tuple[bytes, RepoInfo]:
        raise _needs_spec_2()

    async def update(self, decide: Decide) -> RepoInfo:
        raise _needs_spec_2()

    def ops_log_pages(self) -> AsyncIterator[UpdateLog]:
        raise _needs_spec_2()

    # --- configuration

    async def save_config(self, document: bytes) -> None:
        try:
            old, about = await self._storage.get_range_hook(layout.CONFIG_KEY, None, None)
        except NotFound:
            condition: Condition = IF_ABSENT
        else:
            assert about.version is not None
            condition = IfVersion(about.version)
            name = layout.backup_name(layout.CONFIG_KEY, self._clock.now_us(), self._ids.object_id())
            key = layout.OVERWRITTEN_PREFIX + name
            await self._storage.put_hook(key, [old], ALWAYS, None, None, self._settings.storage_class)
            await self._storage.sync([key])
        try:
            await conditional_put(
                self._storage,
                layout.CONFIG_KEY,
                document,
                condition,
                ids=self._ids,
                unique=False,
                content_type="application/yaml",
                storage_class=self._settings.storage_class,
            )
        except (AlreadyExists, VersionMismatch) as error:
            raise ConflictError(
                "the configuration was changed by somebody else; reopen the repository and save again",
                kind=ErrorKind.CONFIG_UPDATED,
            ) from error


def _moved(branch: str, base_id: bytes, tip: bytes | None) -> ConflictError:
    expected = base32.encode(base_id)
    if tip is None:
        return ConflictError(
            f"branch {branch!r} no longer exists; nothing was committed. Create it again, or write "
            "to another branch",
            expected_parent=expected,
        )
    actual = base32.encode(tip)
    return ConflictError(
        f"branch {branch!r} points to {actual}, this session is based on {expected}; "
        "rebase the session and commit again",
        expected_parent=expected,
        actual_parent=actual,
    )


def _reset_conflict(name: str, expected: bytes, actual: bytes) -> ConflictError:
    return ConflictError(
        f"branch {name!r} points to {base32.encode(actual)}, not to {base32.encode(expected)}; "
        "look at it again before resetting",
        expected_parent=base32.encode(expected),
        actual_parent=base32.encode(actual),
        kind=ErrorKind.BRANCH_UPDATE_CONFLICT,
    )


def _needs_spec_2(message: str | None = None) -> FormatError:
    return FormatError(
        message or "this needs spec 2; spec 1 has no metadata, status, feature flags or operations log",
        kind=ErrorKind.UNSUPPORTED_SPEC_VERSION,
    )
