"""What was done to a repository: its operations log, and the summary of a garbage collection."""

from icechunk_core.maintenance import GCSummary
from icechunk_core.repository import Update, UpdateType

__all__ = ["GCSummary", "Update", "UpdateType"]
