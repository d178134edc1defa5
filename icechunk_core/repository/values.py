"""Values that a repository hands out."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from attrs import field, frozen

from icechunk_core.clock import SystemClock, datetime_from_us, us_from_datetime
from icechunk_core.format import base32, repo_info
from icechunk_core.format.manifest_files import ManifestFileInfo as ManifestFileRecord
from icechunk_core.repository.display import Described
from icechunk_core.transaction.repo_updates import FEATURE_FLAGS

__all__ = [
    "FeatureFlag",
    "ManifestFileInfo",
    "RepoAvailability",
    "RepoStatus",
    "SnapshotInfo",
    "SpecVersion",
]


class SpecVersion(enum.IntEnum):
    """Version of the on-disk format."""

    v1 = 1
    v2 = 2

    @staticmethod
    def current() -> SpecVersion:
        """The version that new repositories get."""
        return SpecVersion.v2


_Values = tuple[str, str | None, datetime, str, dict[str, Any]]


class SnapshotInfo(Described):
    """One entry of the history. It is read from the history when it is first looked at.

    Attributes
    ----------
    id, parent_id
        Snapshot ids; the first snapshot has no parent.
    written_at
        When it was committed, in UTC.
    message, metadata
        What the committer said about it.
    """

    __slots__ = ("_block", "_place", "_values")

    def __init__(
        self, id: str, parent_id: str | None, written_at: datetime, message: str, metadata: dict[str, Any]
    ) -> None:
        self._block: Sequence[repo_info.SnapshotInfo] = ()
        self._place = 0
        self._values: _Values | None = (id, parent_id, written_at, message, metadata)

    @classmethod
    def lazily(cls, block: Sequence[repo_info.SnapshotInfo]) -> list[SnapshotInfo]:
        """The public forms of history entries, which are taken from the block when they are looked at."""
        found: list[SnapshotInfo] = []
        for place in range(len(block)):
            made = cls.__new__(cls)
            made._block, made._place, made._values = block, place, None
            found.append(made)
        return found

    @classmethod
    def from_record(cls, record: repo_info.SnapshotInfo) -> SnapshotInfo:
        """The public form of a history entry."""
        return cls(*_snapshot_values(record))

    def _all(self) -> _Values:
        values = self._values
        if values is None:
            values = self._values = _snapshot_values(self._block[self._place])
        return values

    @property
    def id(self) -> str:
        return self._all()[0]

    @property
    def parent_id(self) -> str | None:
        return self._all()[1]

    @property
    def written_at(self) -> datetime:
        return self._all()[2]

    @property
    def message(self) -> str:
        return self._all()[3]

    @property
    def metadata(self) -> dict[str, Any]:
        return self._all()[4]

    def _described(self) -> list[tuple[str, Any]]:
        names = ("id", "parent_id", "written_at", "message", "metadata")
        return list(zip(names, self._all(), strict=True))

    def __eq__(self, other: object) -> bool:
        return self._all() == other._all() if isinstance(other, SnapshotInfo) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> tuple[type[SnapshotInfo], _Values]:
        return SnapshotInfo, self._all()


def _snapshot_values(record: repo_info.SnapshotInfo) -> _Values:
    return (
        base32.encode(record.id),
        None if record.parent_id is None else base32.encode(record.parent_id),
        datetime_from_us(record.flushed_at),
        record.message,
        dict(record.metadata),
    )


@frozen(repr=False)
class ManifestFileInfo(Described):
    """A manifest file that a snapshot uses.

    Attributes
    ----------
    id
        The manifest's id.
    size_bytes
        Size of its object on storage.
    num_chunk_refs
        How many chunks it lists.
    """

    id: str
    size_bytes: int
    num_chunk_refs: int

    @classmethod
    def from_record(cls, record: ManifestFileRecord) -> ManifestFileInfo:
        """The public form of a snapshot's entry."""
        return cls(base32.encode(record.id), record.size_bytes, record.num_chunk_refs)


class RepoAvailability(enum.IntEnum):
    """What a repository may be used for."""

    online = 0
    """Reading and writing."""

    read_only = 1
    """Reading only: no sessions to write, no changes of refs, metadata or configuration, no maintenance."""

    def __repr__(self) -> str:
        return f"RepoAvailability.{self.name}"


def _availability(value: Any) -> RepoAvailability:
    if not isinstance(value, RepoAvailability):
        raise TypeError(f"availability must be a RepoAvailability, not {type(value).__name__}")
    return value


def _set_at(value: datetime | None) -> datetime:
    if value is None:
        return datetime_from_us(SystemClock().now_us())
    if value.tzinfo is None:
        raise TypeError("set_at must have a time zone, for example datetime.now(timezone.utc)")
    # Storage has microseconds in UTC; so has the value, to equal what comes back.
    return datetime_from_us(us_from_datetime(value))


@frozen(repr=False)
class RepoStatus(Described):
    """Whether a repository may be changed, since when, and why.

    Parameters
    ----------
    availability
        Online or read-only.
    set_at
        When this was decided, with a time zone; now, if not given.
    limited_availability_reason
        Shown to those whose changes are refused.

    >>> RepoStatus(RepoAvailability.read_only, limited_availability_reason="moving").availability.name
    'read_only'
    """

    availability: RepoAvailability = field(converter=_availability)
    set_at: datetime = field(default=None, converter=_set_at)
    limited_availability_reason: str | None = None

    @classmethod
    def from_record(cls, record: repo_info.RepoStatus) -> RepoStatus:
        """The public form of a stored status."""
        availability = RepoAvailability.read_only if record.is_read_only else RepoAvailability.online
        return cls(availability, datetime_from_us(record.set_at), record.reason)

    def to_record(self) -> repo_info.RepoStatus:
        """The stored form."""
        return repo_info.RepoStatus(
            int(self.availability), us_from_datetime(self.set_at), self.limited_availability_reason
        )


@frozen(repr=False)
class FeatureFlag(Described):
    """A feature of a repository that can be switched off.

    Attributes
    ----------
    id, name
        How it is stored, and what it is called.
    default_enabled
        Whether it is on unless set.
    setting
        What was set: on, off, or None.
    enabled
        Whether it is on.
    """

    id: int
    name: str
    default_enabled: bool
    setting: bool | None
    enabled: bool

    @staticmethod
    def all_of(info: repo_info.RepoInfo) -> list[FeatureFlag]:
        """All flags of a repository, by id."""
        flags = []
        for name, number in sorted(FEATURE_FLAGS.items(), key=lambda item: item[1]):
            setting = (
                True
                if number in (info.enabled_flags or ())
                else False
                if number in (info.disabled_flags or ())
                else None
            )
            flags.append(FeatureFlag(number, name, True, setting, setting is not False))
        return flags
