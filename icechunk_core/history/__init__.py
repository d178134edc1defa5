"""Refs and history of a repository, for both specs: `open_history` finds out which one is there."""

from icechunk_core.history.interface import History
from icechunk_core.history.spec1 import RefFilesHistory
from icechunk_core.history.spec2 import RepoObjectHistory

__all__ = ["History", "RefFilesHistory", "RepoObjectHistory"]
