"""Transactional, versioned Zarr storage in which the storage is a plugin.

>>> import icechunk_core, zarr
>>> repo = icechunk_core.Repository.create("memory:")
>>> session = repo.writable_session("main")
>>> root = zarr.create_group(session.store)
>>> snapshot_id = session.commit("Start")
"""

import logging as _logging
import os as _os

from icechunk_core._lazy import lazy as _lazy

# A library does not write to anybody's terminal by itself.
_logging.getLogger(__name__).addHandler(_logging.NullHandler())

# What there is, by the module that has it; ``__init__.pyi`` says the same to type checkers.
_NAMES = {
    "about": (
        "print_debug_info",
        "spec_version",
        "supported_spec_versions",
        "user_agent",
    ),
    "assets.pack_config": ("PackConfig",),
    "classic": (
        "SnapshotMetadata",
        "StorageConfig",
        "StoreConfig",
        "VirtualRefConfig",
    ),
    "contract.io_stats": (
        "IoStats",
        "OperationStats",
    ),
    "credentials": (
        "AnyAzureCredential",
        "AnyAzureStaticCredential",
        "AnyCredential",
        "AnyGcsCredential",
        "AnyGcsStaticCredential",
        "AnyS3Credential",
        "AzureCredentials",
        "AzureRefreshableCredential",
        "AzureStaticCredentials",
        "Credentials",
        "GcsBearerCredential",
        "GcsCredentials",
        "GcsStaticCredentials",
        "S3Credentials",
        "S3StaticCredentials",
        "azure_anonymous_credentials",
        "azure_credentials",
        "azure_from_env_credentials",
        "azure_refreshable_credentials",
        "azure_static_credentials",
        "containers_credentials",
        "gcs_credentials",
        "gcs_from_env_credentials",
        "gcs_refreshable_credentials",
        "gcs_static_credentials",
        "s3_anonymous_credentials",
        "s3_credentials",
        "s3_from_env_credentials",
        "s3_refreshable_credentials",
        "s3_static_credentials",
    ),
    "errors": (
        "AlreadyExistsError",
        "ConflictError",
        "ErrorKind",
        "ExecutorError",
        "FormatError",
        "IcechunkError",
        "InternalError",
        "InvalidInputError",
        "NodeNotFoundError",
        "NotFoundError",
        "OutcomeUnknown",
        "ReadOnlyError",
        "RebaseFailedError",
        "RefNotFoundError",
        "RepositoryNotFoundError",
        "SessionStateError",
        "SnapshotNotFoundError",
        "StorageError",
    ),
    "format.configuration": (
        "CachingConfig",
        "ChecksumAlgorithm",
        "CompressionAlgorithm",
        "CompressionConfig",
        "ManifestConfig",
        "ManifestPreloadCondition",
        "ManifestPreloadConfig",
        "ManifestSplitCondition",
        "ManifestSplitDimCondition",
        "ManifestSplittingConfig",
        "ManifestVirtualChunkLocationCompressionConfig",
        "ObjectStoreConfig",
        "RepositoryConfig",
        "RepoUpdateRetryConfig",
        "S3Options",
        "StorageConcurrencySettings",
        "StorageRetriesSettings",
        "StorageSettings",
        "StorageTimeoutSettings",
        "VirtualChunkContainer",
    ),
    "logs": (
        "initialize_logs",
        "set_logs_filter",
        "shutdown_telemetry",
    ),
    "maintenance": (
        "ChunkStorageStats",
        "CopySummary",
        "GCSummary",
        "PackStats",
        "Progress",
        "RepackSummary",
        "VerifyReport",
    ),
    "repository": (
        "AncestryGraph",
        "Attribution",
        "FeatureFlag",
        "ManifestFileInfo",
        "RepoAvailability",
        "Repository",
        "RepoStatus",
        "SnapshotInfo",
        "SpecVersion",
        "Update",
        "UpdateType",
    ),
    "repository.effective": (
        "EffectiveConfig",
        "EffectiveSetting",
        "SettingSource",
    ),
    "repository.maintenance_methods": ("upgrade_icechunk_repository",),
    "session": (
        "ChunkType",
        "ForkSession",
        "Session",
        "SessionMode",
    ),
    "session.views": (
        "ChunkMap",
        "NodeTree",
    ),
    "storage": (
        "AnyObjectStoreConfig",
        "Storage",
        "azure_storage",
        "gcs_storage",
        "gcs_store",
        "hf_storage",
        "http_storage",
        "http_store",
        "in_memory_storage",
        "local_filesystem_storage",
        "local_filesystem_store",
        "r2_storage",
        "redirect_storage",
        "s3_storage",
        "s3_store",
        "storage_from_url",
        "tigris_storage",
    ),
    "store": (
        "IcechunkStore",
        "VirtualChunkSpec",
    ),
    "transaction.conflicts": (
        "Conflict",
        "ConflictType",
    ),
    "transaction.diff": ("Diff",),
    "transaction.solvers": (
        "BasicConflictSolver",
        "ConflictDetector",
        "ConflictSolver",
        "VersionSelection",
    ),
    "types": ("CommitMethod",),
    "version": ("__version__",),
}
_MODULES = (
    *("about", "assets", "classic", "clock", "contract", "credentials", "drive", "errors", "format"),
    *("history", "html", "ids", "logs", "maintenance", "plugins", "repository", "session", "storage"),
    *("store", "tracing", "transaction", "types", "version"),
)

__all__ = [name for names in _NAMES.values() for name in names]
__getattr__, __dir__ = _lazy(__name__, _NAMES, _MODULES)


if "ICECHUNK_LOG" in _os.environ:
    from icechunk_core.logs import initialize_logs

    initialize_logs()
