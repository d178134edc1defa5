"""What a session may do."""

from __future__ import annotations

import enum

__all__ = ["SessionMode"]


class SessionMode(enum.Enum):
    """Mode of a session. Names in capitals are aliases."""

    readonly = "readonly"
    """Reads one snapshot."""
    writable = "writable"
    """Reads and writes on a branch, until committed."""
    rearrange = "rearrange"
    """Only moves nodes."""

    READONLY = "readonly"
    WRITABLE = "writable"
    REARRANGE = "rearrange"

    def __repr__(self) -> str:
        return f"SessionMode.{self.name}"
