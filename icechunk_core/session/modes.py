"""What a session may do."""

from __future__ import annotations

import enum

__all__ = ["SessionMode"]


class SessionMode(enum.Enum):
    """Mode of a session."""

    READONLY = "readonly"
    """Reads one snapshot."""
    WRITABLE = "writable"
    """Reads and writes on a branch, until committed."""
    REARRANGE = "rearrange"
    """Only moves nodes."""
