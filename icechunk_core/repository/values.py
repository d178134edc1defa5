"""Values that a repository hands out."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from attrs import frozen

from icechunk_core.clock import datetime_from_us
from icechunk_core.format import base32, repo_info

__all__ = ["SnapshotInfo", "SpecVersion"]


class SpecVersion(enum.IntEnum):
    """Version of the on-disk format."""

    v1 = 1
    v2 = 2

    @staticmethod
    def current() -> SpecVersion:
        """The version that new repositories get."""
        return SpecVersion.v2


@frozen
class SnapshotInfo:
    """One entry of the history.

    Attributes
    ----------
    id, parent_id
        Snapshot ids; the first snapshot has no parent.
    written_at
        When it was committed, in UTC.
    message, metadata
        What the committer said about it.
    """

    id: str
    parent_id: str | None
    written_at: datetime
    message: str
    metadata: dict[str, Any]

    @classmethod
    def from_record(cls, record: repo_info.SnapshotInfo) -> SnapshotInfo:
        """The public form of a history entry."""
        return cls(
            base32.encode(record.id),
            None if record.parent_id is None else base32.encode(record.parent_id),
            datetime_from_us(record.flushed_at),
            record.message,
            dict(record.metadata),
        )
