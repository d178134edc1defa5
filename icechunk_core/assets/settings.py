"""Engine settings: a repository's configuration with the defaults filled in (FORMAT.md, section 8)."""

from __future__ import annotations

from attrs import frozen

from icechunk_core.format.configuration import RepositoryConfig, RetrySettings
from icechunk_core.format.locations import LocationCompression

__all__ = ["EngineSettings", "backoff_seconds"]

_DEFAULT_LEVEL = 3
# The repo object is written whole with every commit, and most of what is not constant in it are random ids:
# at this level it takes a third of the time of the default one and gets a fifth larger. Any other level
# was somebody's choice (the default may be stored as if it were one) and holds for the repo object too.
_FAST_LEVEL = -3


@frozen
class EngineSettings:
    """What the engine needs of a `RepositoryConfig`.

    Attributes
    ----------
    inline_threshold
        Chunks of up to this many bytes are stored in the manifest.
    compression_level
        zstd level of metadata files.
    repo_compression_level
        The same of the repo object.
    updates_per_page
        Ops log entries kept in the repo object.
    use_metadata
        Whether user metadata may be set on objects.
    """

    retry: RetrySettings
    location_compression: LocationCompression
    inline_threshold: int = 512
    compression_level: int = 3
    repo_compression_level: int = -3
    max_concurrent_requests: int = 256
    snapshot_cache_nodes: int = 500_000
    manifest_cache_refs: int = 15_000_000
    chunk_cache_bytes: int = 0
    updates_per_page: int = 1000
    use_metadata: bool = True
    metadata_storage_class: str | None = None
    chunks_storage_class: str | None = None
    storage_class: str | None = None

    @classmethod
    def from_config(cls, config: RepositoryConfig) -> EngineSettings:
        """Fill the defaults into a configuration."""
        caching = config.effective_caching()
        storage = config.storage
        level = config.effective_compression_level()
        fallback = storage.storage_class if storage else None
        return cls(
            inline_threshold=config.effective_inline_threshold(),
            compression_level=level,
            repo_compression_level=_FAST_LEVEL if level == _DEFAULT_LEVEL else level,
            max_concurrent_requests=config.effective_max_concurrent_requests(),
            snapshot_cache_nodes=caching.num_snapshot_nodes or 0,
            manifest_cache_refs=caching.num_chunk_refs or 0,
            chunk_cache_bytes=caching.num_bytes_chunks or 0,
            updates_per_page=config.effective_num_updates_per_repo_info_file(),
            use_metadata=not storage or storage.unsafe_use_metadata is not False,
            metadata_storage_class=(storage.metadata_storage_class if storage else None) or fallback,
            chunks_storage_class=(storage.chunks_storage_class if storage else None) or fallback,
            storage_class=fallback,
            retry=config.effective_repo_update_retries(),
            location_compression=config.effective_location_compression(),
        )


def backoff_seconds(retry: RetrySettings, failures: int, uniform: float, took: float = 0.0) -> float:
    """How long to wait after so many failures (1 for the first): full jitter from the first one on.

    Each failure of a compare-and-swap means that another writer succeeded, so long waits
    only waste time: the ceiling stops doubling after five failures. But who waits for less than
    a few tries take is always in the way of the others: where a hundred writers
    make each other's tries slow, the ceiling grows with these.

    Parameters
    ----------
    took
        Seconds of the try that failed.

    Examples
    --------
    >>> backoff_seconds(RetrySettings(100, 50, 30_000), 1, 0.5)
    0.025
    >>> backoff_seconds(RetrySettings(100, 50, 30_000), 3, 0.5, took=1.0)
    4.0
    """
    ceiling = max(retry.initial_backoff_ms * 2 ** min(failures - 1, 5), took * 1000 * 2 ** min(failures, 3))
    return float(uniform * min(retry.max_backoff_ms, ceiling) / 1000)
