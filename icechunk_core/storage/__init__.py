"""Storages for repositories: from URLs, and by constructors with the names that Icechunk users know.

Each constructor checks its arguments (`StorageConfigError`, a `ValueError`) and opens the
storage with the installed plugin for its scheme (`PluginError` says what to install). No
network access happens here. The ``with_...`` functions decorate a storage: repeat, bound, count,
delay or break its calls.
"""

from typing import TYPE_CHECKING, TypeAlias

from icechunk_core._lazy import lazy
from icechunk_core.contract import Storage
from icechunk_core.format.configuration import (
    ChecksumAlgorithm,
    ObjectStoreConfig,
    S3Options,
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
)
from icechunk_core.storage._methods import StorageObjectInfo, attach
from icechunk_core.storage._open import (
    StorageLike,
    as_storage,
    in_memory_storage,
    local_filesystem_storage,
    storage_from_url,
)

if TYPE_CHECKING:
    from icechunk_core.contract.wrappers import (
        Call,
        Fault,
        FaultLog,
        RetryPolicy,
        StorageMetrics,
        for_single_writer,
        with_concurrency_limit,
        with_faults,
        with_latency,
        with_metrics,
        with_retries,
    )
    from icechunk_core.storage._cloud import azure_storage, gcs_storage, http_storage, redirect_storage
    from icechunk_core.storage._s3 import (
        hf_storage,
        r2_storage,
        s3_object_store_storage,
        s3_storage,
        tigris_storage,
    )
    from icechunk_core.storage._stores import (
        azure_store,
        gcs_store,
        http_store,
        local_filesystem_store,
        s3_store,
    )
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            ".contract.wrappers": (
                "Call",
                "Fault",
                "FaultLog",
                "RetryPolicy",
                "StorageMetrics",
                "for_single_writer",
                "with_concurrency_limit",
                "with_faults",
                "with_latency",
                "with_metrics",
                "with_retries",
            ),
            "_cloud": ("azure_storage", "gcs_storage", "http_storage", "redirect_storage"),
            "_s3": ("hf_storage", "r2_storage", "s3_object_store_storage", "s3_storage", "tigris_storage"),
            "_stores": ("azure_store", "gcs_store", "http_store", "local_filesystem_store", "s3_store"),
        },
    )

attach()

AnyObjectStoreConfig: TypeAlias = (
    ObjectStoreConfig.InMemory
    | ObjectStoreConfig.LocalFileSystem
    | ObjectStoreConfig.S3
    | ObjectStoreConfig.S3Compatible
    | ObjectStoreConfig.Gcs
    | ObjectStoreConfig.Azure
    | ObjectStoreConfig.Tigris
    | ObjectStoreConfig.Http
)
"""Any of `ObjectStoreConfig`."""

__all__ = [
    "AnyObjectStoreConfig",
    "Call",
    "ChecksumAlgorithm",
    "Fault",
    "FaultLog",
    "ObjectStoreConfig",
    "RetryPolicy",
    "S3Options",
    "Storage",
    "StorageConcurrencySettings",
    "StorageLike",
    "StorageMetrics",
    "StorageObjectInfo",
    "StorageRetriesSettings",
    "StorageSettings",
    "StorageTimeoutSettings",
    "as_storage",
    "azure_storage",
    "azure_store",
    "for_single_writer",
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
    "s3_object_store_storage",
    "s3_storage",
    "s3_store",
    "storage_from_url",
    "tigris_storage",
    "with_concurrency_limit",
    "with_faults",
    "with_latency",
    "with_metrics",
    "with_retries",
]
