"""Keeping a repository in shape: expiry, garbage collection, statistics, rewriting, migration,
verification, copies.

What is to be done is decided by pure functions of `icechunk_core.transaction`; the functions
here read what those need and carry the decisions out. All of them are bounded in memory and
in concurrent requests, and report what they do to a callback.
"""

from icechunk_core.maintenance.copying import CopySummary
from icechunk_core.maintenance.expiry import expire_snapshots
from icechunk_core.maintenance.garbage_collection import collect_garbage
from icechunk_core.maintenance.limits import GCLimits, ReadLimits
from icechunk_core.maintenance.migrating import migrate
from icechunk_core.maintenance.pack_usage import pack_usage
from icechunk_core.maintenance.progress import OnProgress, Progress, Reporter
from icechunk_core.maintenance.repacking import repack
from icechunk_core.maintenance.rewriting import rewrite_manifests
from icechunk_core.maintenance.statistics import chunk_storage
from icechunk_core.maintenance.values import ChunkStorageStats, GCSummary, PackStats, RepackSummary
from icechunk_core.maintenance.verification import Orphans, Problem, ProblemKind, VerifyReport
from icechunk_core.maintenance.verifying import verify

__all__ = [
    "ChunkStorageStats",
    "CopySummary",
    "GCLimits",
    "GCSummary",
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
    "chunk_storage",
    "collect_garbage",
    "expire_snapshots",
    "migrate",
    "pack_usage",
    "repack",
    "rewrite_manifests",
    "verify",
]
