"""What configures a repository, and the logs of the library."""

from __future__ import annotations

from typing import TypeAlias

from icechunk_core.format.configuration import (
    CachingConfig,
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
)
from icechunk_core.logs import initialize_logs, set_logs_filter, shutdown_telemetry
from icechunk_core.repository import Attribution, FeatureFlag

ManifestSplitValues: TypeAlias = "dict[ManifestSplitDimCondition, int]"
"""Chunks per manifest along the dimensions that a condition selects."""

SplitSizesDict: TypeAlias = "dict[ManifestSplitCondition, ManifestSplitValues]"
"""How arrays are split: the first condition that holds for an array decides."""

__all__ = [
    "Attribution",
    "CachingConfig",
    "CompressionAlgorithm",
    "CompressionConfig",
    "FeatureFlag",
    "ManifestConfig",
    "ManifestPreloadCondition",
    "ManifestPreloadConfig",
    "ManifestSplitCondition",
    "ManifestSplitDimCondition",
    "ManifestSplitValues",
    "ManifestSplittingConfig",
    "ManifestVirtualChunkLocationCompressionConfig",
    "ObjectStoreConfig",
    "RepoUpdateRetryConfig",
    "RepositoryConfig",
    "SplitSizesDict",
    "initialize_logs",
    "set_logs_filter",
    "shutdown_telemetry",
]
