"""Repositories: create, open, branches, tags, history, sessions."""

from icechunk_core.repository.repository import Repository
from icechunk_core.repository.values import SnapshotInfo, SpecVersion

__all__ = ["Repository", "SnapshotInfo", "SpecVersion"]
