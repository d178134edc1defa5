"""What the ancestry of a store lists."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

__all__ = ["SnapshotMetadata"]


@frozen
class SnapshotMetadata:
    """One snapshot of the history.

    Attributes
    ----------
    id
        Its id, as text.
    written_at
        When it was committed, in UTC.
    message
        What the commit said.
    """

    id: str
    written_at: datetime
    message: str
