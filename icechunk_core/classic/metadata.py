"""What the ancestry of a store lists."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

__all__ = ["SnapshotMetadata"]


@frozen
class SnapshotMetadata:
    """One snapshot of the history: its id, when it was written (UTC), and its message."""

    id: str
    written_at: datetime
    message: str
