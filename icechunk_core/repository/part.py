"""What every part of `Repository` builds on."""

from __future__ import annotations

from typing import Any

from icechunk_core.contract.io_stats import IoStats
from icechunk_core.session import RepositoryContext

__all__ = ["RepositoryPart"]


class RepositoryPart:
    """One opened repository. `Repository` is made of parts by topic, which share this state."""

    _context: RepositoryContext
    _commit_metadata: dict[str, Any]

    @property
    def io_stats(self) -> IoStats:
        """What was asked of storages through this object and its sessions: requests, bytes, failures."""
        return self._context.io_stats

    @property
    def _may_suspend(self) -> bool:
        return self._context.storage.may_suspend
