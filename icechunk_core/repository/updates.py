"""The operations log as a repository hands it out: what happened, and when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

import attrs
from attrs import frozen

from icechunk_core.clock import datetime_from_us
from icechunk_core.errors import Corrupt
from icechunk_core.format import base32, repo_info
from icechunk_core.repository.display import Described
from icechunk_core.repository.values import RepoStatus

__all__ = ["Update", "UpdateType"]


class UpdateType:
    """What was done to a repository; each kind is a class of its own below this one.

    >>> kind = UpdateType.BranchReset(name="main", previous_snap_id="1CECHNKREP0F1RSTCMT0")
    >>> match kind:
    ...     case UpdateType.BranchReset(name=name):
    ...         print(name, "was reset")
    main was reset
    """

    RepoInitialized: ClassVar[type[_RepoInitialized]]
    RepoMigrated: ClassVar[type[_RepoMigrated]]
    ConfigChanged: ClassVar[type[_ConfigChanged]]
    MetadataChanged: ClassVar[type[_MetadataChanged]]
    TagCreated: ClassVar[type[_TagCreated]]
    TagDeleted: ClassVar[type[_TagDeleted]]
    BranchCreated: ClassVar[type[_BranchCreated]]
    BranchDeleted: ClassVar[type[_BranchDeleted]]
    BranchReset: ClassVar[type[_BranchReset]]
    NewCommit: ClassVar[type[_NewCommit]]
    CommitAmended: ClassVar[type[_CommitAmended]]
    NewDetachedSnapshot: ClassVar[type[_NewDetachedSnapshot]]
    GCRan: ClassVar[type[_GCRan]]
    ExpirationRan: ClassVar[type[_ExpirationRan]]
    FeatureFlagChanged: ClassVar[type[_FeatureFlagChanged]]
    RepoStatusChanged: ClassVar[type[_RepoStatusChanged]]
    Unknown: ClassVar[type[_Unknown]]


@frozen
class _RepoInitialized(UpdateType):
    """The repository was created."""


@frozen
class _RepoMigrated(UpdateType):
    """The repository was migrated to another version of the format."""

    from_version: int
    to_version: int


@frozen
class _ConfigChanged(UpdateType):
    """A configuration was saved."""


@frozen
class _MetadataChanged(UpdateType):
    """The repository's metadata was changed."""


@frozen
class _TagCreated(UpdateType):
    """A tag was created."""

    name: str


@frozen
class _TagDeleted(UpdateType):
    """A tag was deleted."""

    name: str
    previous_snap_id: str


@frozen
class _BranchCreated(UpdateType):
    """A branch was created."""

    name: str


@frozen
class _BranchDeleted(UpdateType):
    """A branch was deleted."""

    name: str
    previous_snap_id: str


@frozen
class _BranchReset(UpdateType):
    """A branch was pointed to another snapshot."""

    name: str
    previous_snap_id: str


@frozen
class _NewCommit(UpdateType):
    """A snapshot was committed to a branch."""

    branch: str
    new_snap_id: str


@frozen
class _CommitAmended(UpdateType):
    """The newest snapshot of a branch was replaced."""

    branch: str
    previous_snap_id: str
    new_snap_id: str


@frozen
class _NewDetachedSnapshot(UpdateType):
    """A snapshot was made that is on no branch."""

    new_snap_id: str


@frozen
class _GCRan(UpdateType):
    """Garbage was collected."""


@frozen
class _ExpirationRan(UpdateType):
    """Old snapshots were expired."""


@frozen
class _FeatureFlagChanged(UpdateType):
    """A feature flag was switched; None means back to its default."""

    id: int
    new_value: bool | None


@frozen
class _RepoStatusChanged(UpdateType):
    """The repository's status was set."""

    status: RepoStatus


@frozen
class _Unknown(UpdateType):
    """Something that only a newer version of the format knows."""

    code: int


_KINDS: dict[type[Any], Callable[..., UpdateType]] = {
    repo_info.RepoInitialized: _RepoInitialized,
    repo_info.RepoMigrated: _RepoMigrated,
    repo_info.ConfigChanged: _ConfigChanged,
    repo_info.MetadataChanged: _MetadataChanged,
    repo_info.TagCreated: _TagCreated,
    repo_info.TagDeleted: _TagDeleted,
    repo_info.BranchCreated: _BranchCreated,
    repo_info.BranchDeleted: _BranchDeleted,
    repo_info.BranchReset: _BranchReset,
    repo_info.NewCommit: _NewCommit,
    repo_info.CommitAmended: _CommitAmended,
    repo_info.NewDetachedSnapshot: _NewDetachedSnapshot,
    repo_info.GCRan: _GCRan,
    repo_info.ExpirationRan: _ExpirationRan,
    repo_info.FeatureFlagChanged: _FeatureFlagChanged,
    repo_info.RepoStatusChanged: _RepoStatusChanged,
    repo_info.UnknownUpdate: _Unknown,
}


# The same with the names of the attributes, which both classes list in one order.
_FORMS = {
    stored: (kind, [attribute.name for attribute in attrs.fields(stored)]) for stored, kind in _KINDS.items()
}


def _publish(kind: Any) -> None:
    """Make a kind known under its public name, ``UpdateType.<name>``."""
    name = kind.__name__.removeprefix("_")
    kind.__name__, kind.__qualname__ = name, f"UpdateType.{name}"
    setattr(UpdateType, name, kind)


for _kind in _KINDS.values():
    _publish(_kind)


def _public(value: Any) -> Any:
    if isinstance(value, bytes):
        return base32.encode(value)
    return RepoStatus.from_record(value) if isinstance(value, repo_info.RepoStatus) else value


class Update(Described):
    """One entry of the operations log. It is read from the log when it is first looked at.

    Attributes
    ----------
    kind
        What was done.
    updated_at
        When, in UTC.
    backup_path
        Name, below ``overwritten/``, of the copy of the repository object from before the *next* change;
        None for the newest entry.
    """

    __slots__ = ("_page", "_place", "_values")

    def __init__(self, kind: UpdateType, updated_at: datetime, backup_path: str | None) -> None:
        self._page: _Page | None = None
        self._place = 0
        self._values: _Values | None = (kind, updated_at, backup_path)

    @classmethod
    def lazily(cls, log: repo_info.UpdateLog) -> list[Update]:
        """The public forms of a page of the log, which is decoded when one of them is looked at."""
        page = _Page(log)
        found: list[Update] = []
        for place in range(len(log)):
            made = cls.__new__(cls)
            made._page, made._place, made._values = page, place, None
            found.append(made)
        return found

    @classmethod
    def from_record(cls, record: repo_info.Update) -> Update:
        """The public form of an entry."""
        return cls(*_update_values(record))

    def _all(self) -> _Values:
        values = self._values
        if values is None:
            assert self._page is not None
            values = self._values = _update_values(self._page.record(self._place))
        return values

    @property
    def kind(self) -> UpdateType:
        return self._all()[0]

    @property
    def updated_at(self) -> datetime:
        return self._all()[1]

    @property
    def backup_path(self) -> str | None:
        return self._all()[2]

    def _described(self) -> list[tuple[str, Any]]:
        return list(zip(("kind", "updated_at", "backup_path"), self._all(), strict=True))

    def __eq__(self, other: object) -> bool:
        return self._all() == other._all() if isinstance(other, Update) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._all())

    def __reduce__(self) -> tuple[type[Update], _Values]:
        return Update, self._all()


_Values = tuple[UpdateType, datetime, str | None]


class _Page:
    """A page of the log, decoded when an entry is looked at."""

    __slots__ = ("_log", "_records")

    def __init__(self, log: repo_info.UpdateLog) -> None:
        self._log = log
        self._records: list[repo_info.Update] | None = None

    def record(self, place: int) -> repo_info.Update:
        """An entry; `Corrupt` if it is damaged, whatever the others are."""
        if self._records is None:
            try:
                self._records = list(self._log)
            except Corrupt:
                return self._log[place]
        return self._records[place]


def _update_values(record: repo_info.Update) -> _Values:
    stored = record.kind
    kind, names = _FORMS[type(stored)]
    values = [_public(getattr(stored, name)) for name in names]
    return kind(*values), datetime_from_us(record.updated_at), record.backup_path
