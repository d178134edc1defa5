"""Keeping a repository in shape: expiry, garbage collection, statistics, rewriting, migration,
verification, copies.

What is to be done is decided by pure functions of `icechunk_core.transaction`; the functions
here read what those need and carry the decisions out. All of them are bounded in memory and
in concurrent requests, and report what they do to a callback.
"""

from typing import TYPE_CHECKING

from icechunk_core._lazy import lazy

if TYPE_CHECKING:
    from icechunk_core.maintenance.copying import CopySummary, ObjectCopier
    from icechunk_core.maintenance.copying_refs import ChosenRefs, copy_refs
    from icechunk_core.maintenance.expiry import expire_snapshots
    from icechunk_core.maintenance.fanning import check_executor
    from icechunk_core.maintenance.garbage_collection import collect_garbage
    from icechunk_core.maintenance.limits import GCLimits, ReadLimits
    from icechunk_core.maintenance.migrating import migrate
    from icechunk_core.maintenance.mirroring import mirror_ref_files, mirror_repo_object
    from icechunk_core.maintenance.pack_usage import usage_of_packs
    from icechunk_core.maintenance.progress import OnProgress, Progress, Reporter
    from icechunk_core.maintenance.repacking import repack
    from icechunk_core.maintenance.rewriting import rewrite_manifests
    from icechunk_core.maintenance.statistics import chunk_storage
    from icechunk_core.maintenance.values import ChunkStorageStats, GCSummary, PackStats, RepackSummary
    from icechunk_core.maintenance.verification import Orphans, Problem, ProblemKind, VerifyReport
    from icechunk_core.maintenance.verifying import verify
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "copying": ("CopySummary", "ObjectCopier"),
            "copying_refs": ("ChosenRefs", "copy_refs"),
            "expiry": ("expire_snapshots",),
            "fanning": ("check_executor",),
            "garbage_collection": ("collect_garbage",),
            "limits": ("GCLimits", "ReadLimits"),
            "migrating": ("migrate",),
            "mirroring": ("mirror_ref_files", "mirror_repo_object"),
            "pack_usage": ("usage_of_packs",),
            "progress": ("OnProgress", "Progress", "Reporter"),
            "repacking": ("repack",),
            "rewriting": ("rewrite_manifests",),
            "statistics": ("chunk_storage",),
            "values": ("ChunkStorageStats", "GCSummary", "PackStats", "RepackSummary"),
            "verification": ("Orphans", "Problem", "ProblemKind", "VerifyReport"),
            "verifying": ("verify",),
        },
    )

__all__ = [
    "ChosenRefs",
    "ChunkStorageStats",
    "CopySummary",
    "GCLimits",
    "GCSummary",
    "ObjectCopier",
    "OnProgress",
    "Orphans",
    "PackStats",
    "Problem",
    "ProblemKind",
    "Progress",
    "ReadLimits",
    "RepackSummary",
    "Reporter",
    "VerifyReport",
    "check_executor",
    "chunk_storage",
    "collect_garbage",
    "copy_refs",
    "expire_snapshots",
    "migrate",
    "mirror_ref_files",
    "mirror_repo_object",
    "repack",
    "rewrite_manifests",
    "usage_of_packs",
    "verify",
]
