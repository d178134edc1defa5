"""Every operation on the repo info of spec 2, as a pure function (FORMAT.md, sections 12.1, 13 and 14).

Each takes the content just read and returns the new content together with the log
entry that describes the change, or raises why the operation is not possible. The
caller adds the entry with `ops_log.record_update`, writes a backup and swaps; when it
loses the race it reads again and calls the same function again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from attrs import evolve

from icechunk_core.errors import (
    AlreadyExistsError,
    ConflictError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    ReadOnlyError,
    RefNotFoundError,
    SessionStateError,
    SnapshotNotFoundError,
)
from icechunk_core.format.base32 import encode
from icechunk_core.format.repo_info import (
    BranchCreated,
    BranchDeleted,
    BranchReset,
    CommitAmended,
    ConfigChanged,
    FeatureFlagChanged,
    MetadataChanged,
    NewCommit,
    NewDetachedSnapshot,
    RepoInfo,
    RepoInitialized,
    RepoStatus,
    RepoStatusChanged,
    SnapshotInfo,
    SnapshotTable,
    TagCreated,
    TagDeleted,
    Update,
    UpdateKind,
)
from icechunk_core.format.snapshot import Snapshot
from icechunk_core.transaction.history import branch_tip, tag_target

__all__ = [
    "FEATURE_FLAGS",
    "MAIN",
    "Decision",
    "create_branch",
    "create_tag",
    "delete_branch",
    "delete_tag",
    "flag_enabled",
    "initial_repo_info",
    "publish_amend",
    "publish_commit",
    "publish_detached",
    "require_online",
    "reset_branch",
    "set_config",
    "set_feature_flag",
    "set_metadata",
    "set_status",
    "snapshot_info",
]

Decision: TypeAlias = tuple[RepoInfo, UpdateKind]
"""New content, with the old log still in it, and the entry to be added to the log."""

MAIN = "main"

FEATURE_FLAGS: Mapping[str, int] = {"move_node": 3, "create_tag": 4, "delete_tag": 5}
"""Names and ids of the feature flags; all are on unless switched off."""


def initial_repo_info(snapshot: Snapshot, config: bytes | None, now_us: int) -> RepoInfo:
    """The repo info of a new repository (FORMAT.md, section 12.1)."""
    return RepoInfo(
        spec_version=2,
        tags={},
        branches={MAIN: snapshot.id},
        deleted_tags=frozenset(),
        snapshots=SnapshotTable.from_infos([snapshot_info(snapshot, None)]),
        status=RepoStatus(availability=0, set_at=now_us, reason=None),
        metadata={},
        updates=(Update(kind=RepoInitialized(), updated_at=now_us, backup_path=None),),
        repo_before_updates=None,
        config=config,
        enabled_flags=None,
        disabled_flags=None,
        extra=None,
    )


def snapshot_info(
    snapshot: Snapshot, parent_id: bytes | None, pruned_ancestor_tx_logs: tuple[bytes, ...] = ()
) -> SnapshotInfo:
    """A snapshot's row in the repo info."""
    return SnapshotInfo(
        id=snapshot.id,
        parent_id=parent_id,
        flushed_at=snapshot.flushed_at,
        message=snapshot.message,
        metadata=snapshot.metadata,
        pruned_ancestor_tx_logs=pruned_ancestor_tx_logs,
    )


# --- checks --------------------------------------------------------------------------


def require_online(info: RepoInfo) -> None:
    """Refuse unless the repository takes changes.

    Raises
    ------
    ReadOnlyError
        ``read-only-repository``, with the reason that was given when the status was set.
    """
    status = info.status
    if status.availability == 1:
        reason = f", reason: {status.reason}" if status.reason else ""
        raise ReadOnlyError(
            f"the repository is read-only since {_text(status.set_at)}{reason}; "
            "set its status to online to change it",
            kind=ErrorKind.READ_ONLY_REPOSITORY,
        )


def _text(time_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).isoformat(sep=" ")


def flag_enabled(info: RepoInfo, flag: str) -> bool:
    """Whether a feature is on: an explicit setting counts, "enabled" before "disabled", else on."""
    flag_id = FEATURE_FLAGS[flag]
    return flag_id in (info.enabled_flags or ()) or flag_id not in (info.disabled_flags or ())


def _require_flag(info: RepoInfo, flag: str) -> None:
    if not flag_enabled(info, flag):
        raise SessionStateError(
            f"the feature flag {flag} of this repository is off; switch it on with set_feature_flag",
            kind=ErrorKind.FEATURE_FLAG_DISABLED,
        )


def _require_snapshot(info: RepoInfo, snapshot_id: bytes) -> None:
    if snapshot_id not in info.snapshots:
        raise SnapshotNotFoundError(f"no snapshot {encode(snapshot_id)} in this repository")


def _require_tip(info: RepoInfo, branch: str, base_id: bytes) -> None:
    actual = info.branches.get(branch)
    if actual is None:
        raise RefNotFoundError(
            f"branch {branch!r} no longer exists; nothing was committed", kind=ErrorKind.BRANCH_NOT_FOUND
        )
    if actual != base_id:
        raise ConflictError(
            f"branch {branch!r} moved from {encode(base_id)} to {encode(actual)} since this session started; "
            "rebase the session and commit again",
            expected_parent=encode(base_id),
            actual_parent=encode(actual),
        )


def _with_snapshot(info: RepoInfo, new: SnapshotInfo) -> SnapshotTable:
    if new.id in info.snapshots:
        raise FormatError(f"snapshot {encode(new.id)} exists already", kind=ErrorKind.DUPLICATE_SNAPSHOT_ID)
    return info.snapshots.added(new)


def _with(mapping: Mapping[str, bytes], name: str, snapshot_id: bytes) -> dict[str, bytes]:
    return {**mapping, name: snapshot_id}


def _without(mapping: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    return {key: value for key, value in mapping.items() if key != name}


# --- snapshots -----------------------------------------------------------------------


def publish_commit(info: RepoInfo, branch: str, base_id: bytes, new: SnapshotInfo) -> Decision:
    """Add a snapshot whose parent is ``base_id`` and move the branch from there to it.

    Raises
    ------
    RefNotFoundError
        ``branch-not-found``: the branch is gone.
    ConflictError
        The branch does not point to ``base_id`` any more.
    """
    require_online(info)
    _require_tip(info, branch, base_id)
    snapshots = _with_snapshot(info, new if new.parent_id == base_id else evolve(new, parent_id=base_id))
    updated = evolve(info, snapshots=snapshots, branches=_with(info.branches, branch, new.id))
    return updated, NewCommit(branch=branch, new_snap_id=new.id)


def publish_amend(info: RepoInfo, branch: str, base_id: bytes, new: SnapshotInfo) -> Decision:
    """Replace the tip ``base_id`` of a branch: the new snapshot gets its parent and its pruned logs.

    Raises
    ------
    SessionStateError
        ``no-amend-for-initial-commit``.
    RefNotFoundError, ConflictError
        As `publish_commit`.
    """
    require_online(info)
    _require_tip(info, branch, base_id)
    replaced = info.snapshots.get(base_id)
    if replaced is None or replaced.parent_id is None:
        raise SessionStateError(
            "the first snapshot of a repository cannot be amended; make a commit instead",
            kind=ErrorKind.NO_AMEND_FOR_INITIAL_COMMIT,
        )
    amended = evolve(
        new, parent_id=replaced.parent_id, pruned_ancestor_tx_logs=replaced.pruned_ancestor_tx_logs
    )
    updated = evolve(
        info, snapshots=_with_snapshot(info, amended), branches=_with(info.branches, branch, new.id)
    )
    return updated, CommitAmended(branch=branch, previous_snap_id=base_id, new_snap_id=new.id)


def publish_detached(info: RepoInfo, new: SnapshotInfo) -> Decision:
    """Add a snapshot that no branch points to (flush)."""
    require_online(info)
    if new.parent_id is not None:
        _require_snapshot(info, new.parent_id)
    return evolve(info, snapshots=_with_snapshot(info, new)), NewDetachedSnapshot(new_snap_id=new.id)


# --- refs ----------------------------------------------------------------------------


def create_branch(info: RepoInfo, name: str, snapshot_id: bytes) -> Decision:
    """A new branch.

    Raises
    ------
    SnapshotNotFoundError
        If the snapshot is not in the repository.
    AlreadyExistsError
        ``branch-already-exists``.
    """
    require_online(info)
    _require_snapshot(info, snapshot_id)
    if name in info.branches:
        raise AlreadyExistsError(
            f"branch {name!r} exists already, at {encode(info.branches[name])}",
            kind=ErrorKind.BRANCH_ALREADY_EXISTS,
        )
    return evolve(info, branches=_with(info.branches, name, snapshot_id)), BranchCreated(name=name)


def reset_branch(info: RepoInfo, name: str, to: bytes, from_: bytes | None = None) -> Decision:
    """Point a branch elsewhere, with ``from_`` only if it points there now.

    Raises
    ------
    RefNotFoundError
        If there is no such branch.
    SnapshotNotFoundError
        If ``to`` is not in the repository.
    ConflictError
        ``branch-update-conflict``: the branch does not point to ``from_``.
    """
    require_online(info)
    previous = branch_tip(info, name)
    if from_ is not None and previous != from_:
        raise ConflictError(
            f"branch {name!r} points to {encode(previous)}, not to {encode(from_)}; nothing was changed",
            expected_parent=encode(from_),
            actual_parent=encode(previous),
            kind=ErrorKind.BRANCH_UPDATE_CONFLICT,
        )
    _require_snapshot(info, to)
    updated = evolve(info, branches=_with(info.branches, name, to))
    return updated, BranchReset(name=name, previous_snap_id=previous)


def delete_branch(info: RepoInfo, name: str) -> Decision:
    """Remove a branch; its snapshots stay.

    Raises
    ------
    SessionStateError
        ``cannot-delete-main``.
    RefNotFoundError
        If there is no such branch.
    """
    if name == MAIN:
        raise SessionStateError("branch 'main' cannot be deleted", kind=ErrorKind.CANNOT_DELETE_MAIN)
    require_online(info)
    previous = branch_tip(info, name)
    updated = evolve(info, branches=_without(info.branches, name))
    return updated, BranchDeleted(name=name, previous_snap_id=previous)


def create_tag(info: RepoInfo, name: str, snapshot_id: bytes) -> Decision:
    """A new tag. Tags never move, and the name of a deleted one cannot be used again.

    Raises
    ------
    SnapshotNotFoundError
        If the snapshot is not in the repository.
    AlreadyExistsError
        ``tag-already-exists`` or ``tag-previously-deleted``.
    SessionStateError
        ``feature-flag-disabled``.
    """
    require_online(info)
    _require_snapshot(info, snapshot_id)
    _require_flag(info, "create_tag")
    if name in info.tags:
        raise AlreadyExistsError(
            f"tag {name!r} exists already, at {encode(info.tags[name])}; tags never move",
            kind=ErrorKind.TAG_ALREADY_EXISTS,
        )
    if name in info.deleted_tags:
        raise AlreadyExistsError(
            f"a tag {name!r} was deleted; its name cannot be used again",
            kind=ErrorKind.TAG_PREVIOUSLY_DELETED,
        )
    return evolve(info, tags=_with(info.tags, name, snapshot_id)), TagCreated(name=name)


def delete_tag(info: RepoInfo, name: str) -> Decision:
    """Remove a tag for good.

    Raises
    ------
    RefNotFoundError
        If there is no such tag.
    SessionStateError
        ``feature-flag-disabled``.
    """
    require_online(info)
    _require_flag(info, "delete_tag")
    previous = tag_target(info, name)
    updated = evolve(info, tags=_without(info.tags, name), deleted_tags=info.deleted_tags | {name})
    return updated, TagDeleted(name=name, previous_snap_id=previous)


# --- settings ------------------------------------------------------------------------


def set_config(info: RepoInfo, config: bytes | None) -> Decision:
    """Store a configuration (an encoded FlexBuffers document)."""
    require_online(info)
    return evolve(info, config=config), ConfigChanged()


def set_metadata(info: RepoInfo, metadata: Mapping[str, Any], *, merge: bool = False) -> Decision:
    """Replace the repository's metadata, or with ``merge`` add to it key by key."""
    require_online(info)
    merged = {**info.metadata, **metadata} if merge else dict(metadata)
    return evolve(info, metadata=merged), MetadataChanged()


def set_status(info: RepoInfo, status: RepoStatus) -> Decision:
    """Set the repository online or read-only; allowed in any status."""
    return evolve(info, status=status), RepoStatusChanged(status=status)


def set_feature_flag(info: RepoInfo, flag: str, value: bool | None) -> Decision:
    """Switch a feature on or off, or with None back to its default.

    Raises
    ------
    InvalidInputError
        ``invalid-feature-flag``: there is no flag of that name.
    """
    require_online(info)
    flag_id = FEATURE_FLAGS.get(flag)
    if flag_id is None:
        known = ", ".join(sorted(FEATURE_FLAGS))
        raise InvalidInputError(
            f"no feature flag {flag!r}; there are: {known}", kind=ErrorKind.INVALID_FEATURE_FLAG
        )
    enabled = set(info.enabled_flags or ()) - {flag_id}
    disabled = set(info.disabled_flags or ()) - {flag_id}
    if value is not None:
        (enabled if value else disabled).add(flag_id)
    updated = evolve(info, enabled_flags=tuple(sorted(enabled)), disabled_flags=tuple(sorted(disabled)))
    return updated, FeatureFlagChanged(id=flag_id, new_value=value)
