"""Repositories: create, open, branches, tags, history, status, sessions."""

from typing import TYPE_CHECKING

from icechunk_core._lazy import lazy

if TYPE_CHECKING:
    from icechunk_core.repository.attribution import Attribution
    from icechunk_core.repository.graph import AncestryGraph
    from icechunk_core.repository.repository import Repository
    from icechunk_core.repository.updates import Update, UpdateType
    from icechunk_core.repository.values import (
        FeatureFlag,
        ManifestFileInfo,
        RepoAvailability,
        RepoStatus,
        SnapshotInfo,
        SpecVersion,
    )
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "attribution": ("Attribution",),
            "graph": ("AncestryGraph",),
            "repository": ("Repository",),
            "updates": ("Update", "UpdateType"),
            "values": (
                "FeatureFlag",
                "ManifestFileInfo",
                "RepoAvailability",
                "RepoStatus",
                "SnapshotInfo",
                "SpecVersion",
            ),
        },
    )

__all__ = [
    "AncestryGraph",
    "Attribution",
    "FeatureFlag",
    "ManifestFileInfo",
    "RepoAvailability",
    "RepoStatus",
    "Repository",
    "SnapshotInfo",
    "SpecVersion",
    "Update",
    "UpdateType",
]
