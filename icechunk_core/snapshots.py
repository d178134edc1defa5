"""Snapshots as repositories describe them."""

from icechunk_core.repository import AncestryGraph, ManifestFileInfo, SnapshotInfo
from icechunk_core.transaction.diff import Diff

__all__ = ["AncestryGraph", "Diff", "ManifestFileInfo", "SnapshotInfo"]
