"""The configuration of a repository (FORMAT.md, section 8).

Every value may be None: "not set here". Opening a repository merges three layers with
`RepositoryConfig.merge` (the storage's defaults, what is stored in the repository, what the caller passes);
the ``effective_`` methods then give the values to use.
"""

# ruff: noqa: RUF009 - the calls make attrs fields

from __future__ import annotations

from enum import Enum
from typing import Any

import attrs
from attrs import define, frozen

from icechunk_core.format.config_base import (
    Codec,
    ConfigNode,
    InvalidTree,
    choice,
    custom,
    integer,
    invalid,
    node,
    text,
)
from icechunk_core.format.config_conditions import (
    ManifestPreloadCondition,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
)
from icechunk_core.format.config_containers import (
    ChecksumAlgorithm,
    ObjectStoreConfig,
    S3Options,
    VirtualChunkContainer,
)
from icechunk_core.format.config_manifest import (
    ManifestConfig,
    ManifestPreloadConfig,
    ManifestSplittingConfig,
    ManifestVirtualChunkLocationCompressionConfig,
    SplitSizes,
)
from icechunk_core.format.config_storage import (
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
)
from icechunk_core.format.locations import LocationCompression

__all__ = [
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
    "RepoUpdateRetryConfig",
    "RepositoryConfig",
    "RetrySettings",
    "S3Options",
    "StorageConcurrencySettings",
    "StorageRetriesSettings",
    "StorageSettings",
    "StorageTimeoutSettings",
    "VirtualChunkContainer",
]

Tree = Any


class CompressionAlgorithm(Enum):
    """How metadata files are compressed."""

    Zstd = 0

    @staticmethod
    def default() -> CompressionAlgorithm:
        """The only one there is."""
        return CompressionAlgorithm.Zstd


@define(repr=False)
class CompressionConfig(ConfigNode):
    """How metadata files are compressed.

    Parameters
    ----------
    algorithm
        There is one (effective default zstd).
    level
        zstd level, 0 to 22 (effective default 3). At 3, the repository object, which every commit writes
        anew, is compressed faster than that.
    """

    algorithm: CompressionAlgorithm | None = choice({CompressionAlgorithm.Zstd: "zstd"})
    level: int | None = integer(8)

    @staticmethod
    def default() -> CompressionConfig:
        """A configuration that sets nothing."""
        return CompressionConfig()


@define(repr=False)
class CachingConfig(ConfigNode):
    """How much of what was read a repository object keeps in memory, for all its sessions.

    Parameters
    ----------
    num_snapshot_nodes
        Groups and arrays of snapshots (effective default 500,000).
    num_chunk_refs
        References in manifests (effective default 15,000,000).
    num_transaction_changes
        Changes in transaction logs (effective default 0).
    num_bytes_attributes
        Bytes of attributes (effective default 0).
    num_bytes_chunks
        Bytes of chunks (effective default 0: none).
    """

    num_snapshot_nodes: int | None = integer(64)
    num_chunk_refs: int | None = integer(64)
    num_transaction_changes: int | None = integer(64)
    num_bytes_attributes: int | None = integer(64)
    num_bytes_chunks: int | None = integer(64)

    @staticmethod
    def default() -> CachingConfig:
        """A configuration that sets nothing."""
        return CachingConfig()


@define(repr=False)
class RepoUpdateRetryConfig(ConfigNode):
    """How updates of the repository object are repeated when others update it too.

    Parameters
    ----------
    default
        For updates of every kind (effective defaults: 100 tries, 50 ms first and 30 s longest wait).
    """

    default: StorageRetriesSettings | None = node(StorageRetriesSettings)


@frozen
class RetrySettings:
    """Retry settings with every value filled in; times in milliseconds."""

    max_tries: int
    initial_backoff_ms: int
    max_backoff_ms: int


def _check_containers(value: Any) -> dict[str, VirtualChunkContainer]:
    containers = dict(value)
    for container in containers.values():
        if not isinstance(container, VirtualChunkContainer):
            raise TypeError(f"expected a VirtualChunkContainer, not {type(container).__name__}")
    return containers


def _containers_to_tree(containers: dict[str, VirtualChunkContainer]) -> Tree:
    return {prefix: container.to_tree() for prefix, container in containers.items()}


def _containers_from_tree(tree: Tree) -> dict[str, VirtualChunkContainer]:
    if not isinstance(tree, dict):
        raise InvalidTree("expected a map")
    containers = {}
    for prefix, container in tree.items():
        try:
            containers[prefix] = VirtualChunkContainer.from_tree(container)
        except InvalidTree as error:
            raise error.below(str(prefix)) from None
    return containers


@define(repr=False)
class RepositoryConfig(ConfigNode):
    """Settings of a repository; None means "not set here".

    Parameters
    ----------
    inline_chunk_threshold_bytes
        Chunks up to this size go into the manifest (effective default 512).
    get_partial_values_concurrency
        Reads at a time for a batch of keys (effective default 10).
    compression, caching, storage, manifest, repo_update_retries
        See their classes.
    max_concurrent_requests
        Requests to the storage at a time (effective default 256).
    virtual_chunk_containers
        By URL prefix. Change them with `set_virtual_chunk_container`, which checks.
    num_updates_per_repo_info_file
        Entries of the operations log per file (effective default 1000).
    max_concurrent_decodes
        Metadata files to decode at a time.
    """

    inline_chunk_threshold_bytes: int | None = integer(16)
    get_partial_values_concurrency: int | None = integer(16)
    compression: CompressionConfig | None = node(CompressionConfig)
    max_concurrent_requests: int | None = integer(16)
    caching: CachingConfig | None = node(CachingConfig)
    storage: StorageSettings | None = node(StorageSettings)
    virtual_chunk_containers: dict[str, VirtualChunkContainer] | None = custom(
        Codec(_check_containers, _containers_to_tree, _containers_from_tree)
    )
    manifest: ManifestConfig | None = node(ManifestConfig)
    repo_update_retries: RepoUpdateRetryConfig | None = node(RepoUpdateRetryConfig)
    num_updates_per_repo_info_file: int | None = integer(16)
    max_concurrent_decodes: int | None = integer(16)
    previous_file: str | None = text(init=False)

    @staticmethod
    def default() -> RepositoryConfig:
        """A configuration that sets nothing."""
        return RepositoryConfig()

    def merge(self, other: RepositoryConfig) -> RepositoryConfig:
        """A new configuration: this one with what ``other`` sets.

        Nested settings merge key by key, except `virtual_chunk_containers`, `manifest.preload` and
        `manifest.splitting`, which are replaced whole.

        >>> one = RepositoryConfig(inline_chunk_threshold_bytes=1)
        >>> both = one.merge(RepositoryConfig(max_concurrent_requests=2))
        >>> both.inline_chunk_threshold_bytes, both.max_concurrent_requests
        (1, 2)
        """
        return self.merged_with(other)

    # --- virtual chunk containers ---

    def get_virtual_chunk_container(self, name: str) -> VirtualChunkContainer | None:
        """The container with that URL prefix, or else with that name."""
        containers = self.virtual_chunk_containers or {}
        return containers.get(name) or next((c for c in containers.values() if c.name == name), None)

    def set_virtual_chunk_container(self, cont: VirtualChunkContainer) -> None:
        """Add a container, or replace the one with the same name or the same URL prefix.

        Raises
        ------
        InvalidInputError
            The container cannot be used; the message says why.
        """
        problem = cont.problem()
        if problem is not None:
            raise invalid(f"invalid virtual chunk container: {problem}")
        containers = self.virtual_chunk_containers or {}
        kept = {
            prefix: other
            for prefix, other in containers.items()
            if cont.name is None or other.name != cont.name
        }
        self.virtual_chunk_containers = kept | {cont.url_prefix: cont}

    def clear_virtual_chunk_containers(self) -> None:
        """Remove all containers. Merged over another configuration, this removes that one's too."""
        self.virtual_chunk_containers = {}

    def effective_virtual_chunk_containers(self) -> dict[str, VirtualChunkContainer]:
        """The usable containers by URL prefix; a missing ``/`` at the end of a prefix is added."""
        usable = {}
        for container in (self.virtual_chunk_containers or {}).values():
            prefix = container.url_prefix
            closed = attrs.evolve(container, url_prefix=prefix if prefix.endswith("/") else f"{prefix}/")
            if closed.problem() is None:
                usable[closed.url_prefix] = closed
        return usable

    # --- effective values ---

    def effective_inline_threshold(self) -> int:
        """Largest chunk, in bytes, that is stored inline."""
        return _or(self.inline_chunk_threshold_bytes, 512)

    def effective_compression_level(self) -> int:
        """zstd level of metadata files."""
        return _or(self.compression.level if self.compression else None, 3)

    def effective_max_concurrent_requests(self) -> int:
        """Requests to the storage at a time."""
        return max(1, _or(self.max_concurrent_requests, 256))

    def effective_get_partial_values_concurrency(self) -> int:
        """Values that one call for several of them reads at a time."""
        return max(1, _or(self.get_partial_values_concurrency, 10))

    def effective_num_updates_per_repo_info_file(self) -> int:
        """Entries of the operations log per file, at least 1."""
        return max(1, _or(self.num_updates_per_repo_info_file, 1000))

    def effective_repo_update_retries(self) -> RetrySettings:
        """How updates of the repository object are repeated."""
        retries = (self.repo_update_retries or RepoUpdateRetryConfig()).default or StorageRetriesSettings()
        return RetrySettings(
            _or(retries.max_tries, 100),
            _or(retries.initial_backoff_ms, 50),
            _or(retries.max_backoff_ms, 30_000),
        )

    def effective_storage_retries(self) -> RetrySettings:
        """How requests to the storage are repeated."""
        retries = (self.storage or StorageSettings()).retries or StorageRetriesSettings()
        return RetrySettings(
            _or(retries.max_tries, 10),
            _or(retries.initial_backoff_ms, 100),
            _or(retries.max_backoff_ms, 180_000),
        )

    def effective_caching(self) -> CachingConfig:
        """Cache sizes with every value filled in."""
        defaults = CachingConfig(500_000, 15_000_000, 0, 0, 0)
        return defaults if self.caching is None else defaults.merged_with(self.caching)

    def effective_split_sizes(self) -> SplitSizes:
        """Rules for splitting manifests; none means one manifest per array."""
        splitting = self.manifest.splitting if self.manifest else None
        return (splitting.split_sizes if splitting else None) or ()

    def effective_preload(self) -> ManifestPreloadConfig:
        """Which manifests are loaded as a session starts."""
        return (self.manifest.preload if self.manifest else None) or ManifestPreloadConfig()

    def splits_automatically(self) -> bool:
        """Whether manifests are split where they get large: if there is no `ManifestSplittingConfig`.

        An empty one, ``ManifestSplittingConfig.from_dict({})``, keeps one manifest per array.
        """
        return not self.manifest or self.manifest.splitting is None

    def effective_location_compression(self) -> LocationCompression:
        """How locations of virtual chunks are compressed."""
        given = self.manifest.virtual_chunk_location_compression if self.manifest else None
        given = given or ManifestVirtualChunkLocationCompressionConfig()
        return LocationCompression(
            _or(given.min_num_chunks, 1000),
            _or(given.dictionary_max_training_samples, 100),
            _or(given.dictionary_max_size_bytes, 2048),
            _or(given.compression_level, 3),
        )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
