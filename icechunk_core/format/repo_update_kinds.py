"""What can happen to a repository: the entries of its operations log (FORMAT.md, section 6.5)."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

__all__ = [
    "BranchCreated",
    "BranchDeleted",
    "BranchReset",
    "CommitAmended",
    "ConfigChanged",
    "ExpirationRan",
    "FeatureFlagChanged",
    "GCRan",
    "MetadataChanged",
    "NewCommit",
    "NewDetachedSnapshot",
    "RepoInitialized",
    "RepoMigrated",
    "RepoStatus",
    "RepoStatusChanged",
    "TagCreated",
    "TagDeleted",
    "UnknownUpdate",
    "Update",
    "UpdateKind",
]

READ_ONLY = 1


@frozen
class RepoStatus:
    """Whether a repository may be changed.

    Attributes
    ----------
    availability
        As stored: 0 online, 1 read-only. Other values count as online.
    set_at
        When it was set, in µs since 1970.
    reason
        Free text, or None.
    """

    availability: int
    set_at: int
    reason: str | None

    @property
    def is_read_only(self) -> bool:
        """Whether changes are refused."""
        return self.availability == READ_ONLY


@frozen
class RepoInitialized:
    """The repository was created."""


@frozen
class RepoMigrated:
    """The repository was migrated between spec versions."""

    from_version: int
    to_version: int


@frozen
class ConfigChanged:
    """The stored configuration was replaced."""


@frozen
class MetadataChanged:
    """The repository's metadata changed."""


@frozen
class TagCreated:
    """A tag was created."""

    name: str


@frozen
class TagDeleted:
    """A tag that pointed to ``previous_snap_id`` was deleted."""

    name: str
    previous_snap_id: bytes


@frozen
class BranchCreated:
    """A branch was created."""

    name: str


@frozen
class BranchDeleted:
    """A branch that pointed to ``previous_snap_id`` was deleted."""

    name: str
    previous_snap_id: bytes


@frozen
class BranchReset:
    """A branch that pointed to ``previous_snap_id`` was moved."""

    name: str
    previous_snap_id: bytes


@frozen
class NewCommit:
    """A snapshot was committed to a branch."""

    branch: str
    new_snap_id: bytes


@frozen
class CommitAmended:
    """The tip of a branch was replaced."""

    branch: str
    previous_snap_id: bytes
    new_snap_id: bytes


@frozen
class NewDetachedSnapshot:
    """A snapshot was added that no ref points to."""

    new_snap_id: bytes


@frozen
class GCRan:
    """Garbage was collected."""


@frozen
class ExpirationRan:
    """Old snapshots were removed from history."""


@frozen
class FeatureFlagChanged:
    """A feature flag was switched; ``new_value`` None returned it to its default."""

    id: int
    new_value: bool | None


@frozen
class RepoStatusChanged:
    """The availability of the repository changed."""

    status: RepoStatus


@frozen
class UnknownUpdate:
    """Something that a newer version wrote. It can be shown, but not written again."""

    code: int


UpdateKind: TypeAlias = (
    RepoInitialized
    | RepoMigrated
    | ConfigChanged
    | MetadataChanged
    | TagCreated
    | TagDeleted
    | BranchCreated
    | BranchDeleted
    | BranchReset
    | NewCommit
    | CommitAmended
    | NewDetachedSnapshot
    | GCRan
    | ExpirationRan
    | FeatureFlagChanged
    | RepoStatusChanged
    | UnknownUpdate
)


@frozen
class Update:
    """One entry of the operations log.

    Attributes
    ----------
    kind
        What happened.
    updated_at
        When, in µs since 1970; strictly decreasing down the log.
    backup_path
        File name, below ``overwritten/``, of the copy of the repo info whose newest entry is this one. None
        on the newest entry of a file, and on entries made up by a migration.
    """

    kind: UpdateKind
    updated_at: int
    backup_path: str | None
