"""Empty repositories on the storages that the store is tested on."""

from __future__ import annotations

from pathlib import Path

from icechunk_core.repository import Repository
from icechunk_core.storage import in_memory_storage, local_filesystem_storage

__all__ = ["filesystem_repository", "memory_repository"]


def memory_repository() -> Repository:
    """A new repository in memory."""
    return Repository.create(in_memory_storage())


def filesystem_repository(root: Path) -> Repository:
    """A new repository in a directory."""
    return Repository.create(local_filesystem_storage(str(root)))
