"""Transactional, versioned Zarr storage in which the storage is a plugin.

>>> import icechunk_core, zarr
>>> repo = icechunk_core.Repository.create("memory:")
>>> session = repo.writable_session("main")
>>> root = zarr.create_group(session.store)
>>> snapshot_id = session.commit("Start")
"""

from icechunk_core.errors import (
    AlreadyExistsError,
    ConflictError,
    ErrorKind,
    FormatError,
    IcechunkError,
    InternalError,
    InvalidInputError,
    NodeNotFoundError,
    NotFoundError,
    OutcomeUnknown,
    ReadOnlyError,
    RebaseFailedError,
    RefNotFoundError,
    RepositoryNotFoundError,
    SessionStateError,
    SnapshotNotFoundError,
    StorageError,
)
from icechunk_core.format.configuration import (
    CachingConfig,
    ChecksumAlgorithm,
    CompressionAlgorithm,
    CompressionConfig,
    ManifestConfig,
    ManifestPreloadCondition,
    ManifestPreloadConfig,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    ManifestSplittingConfig,
    ManifestVirtualChunkLocationCompressionConfig,
    ObjectStoreConfig,
    RepositoryConfig,
    RepoUpdateRetryConfig,
    S3Options,
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
    VirtualChunkContainer,
)
from icechunk_core.repository import Repository, SnapshotInfo, SpecVersion
from icechunk_core.repository.graph import AncestryGraph
from icechunk_core.session import Session, SessionMode
from icechunk_core.storage import (
    Storage,
    in_memory_storage,
    local_filesystem_storage,
    storage_from_url,
)
from icechunk_core.store import IcechunkStore
from icechunk_core.transaction.conflicts import Conflict, ConflictType
from icechunk_core.transaction.diff import Diff
from icechunk_core.transaction.solvers import (
    BasicConflictSolver,
    ConflictDetector,
    ConflictSolver,
    VersionSelection,
)

__version__ = "0.1.0"

__all__ = [
    "AlreadyExistsError",
    "AncestryGraph",
    "BasicConflictSolver",
    "CachingConfig",
    "ChecksumAlgorithm",
    "CompressionAlgorithm",
    "CompressionConfig",
    "Conflict",
    "ConflictDetector",
    "ConflictError",
    "ConflictSolver",
    "ConflictType",
    "Diff",
    "ErrorKind",
    "FormatError",
    "IcechunkError",
    "IcechunkStore",
    "InternalError",
    "InvalidInputError",
    "ManifestConfig",
    "ManifestPreloadCondition",
    "ManifestPreloadConfig",
    "ManifestSplitCondition",
    "ManifestSplitDimCondition",
    "ManifestSplittingConfig",
    "ManifestVirtualChunkLocationCompressionConfig",
    "NodeNotFoundError",
    "NotFoundError",
    "ObjectStoreConfig",
    "OutcomeUnknown",
    "ReadOnlyError",
    "RebaseFailedError",
    "RefNotFoundError",
    "RepoUpdateRetryConfig",
    "Repository",
    "RepositoryConfig",
    "RepositoryNotFoundError",
    "S3Options",
    "Session",
    "SessionMode",
    "SessionStateError",
    "SnapshotInfo",
    "SnapshotNotFoundError",
    "SpecVersion",
    "Storage",
    "StorageConcurrencySettings",
    "StorageError",
    "StorageRetriesSettings",
    "StorageSettings",
    "StorageTimeoutSettings",
    "VersionSelection",
    "VirtualChunkContainer",
    "__version__",
    "in_memory_storage",
    "local_filesystem_storage",
    "storage_from_url",
]
