"""The differences from Icechunk 2.3.0's public names that are meant, each with its reason.

`docs/reference/differences.md` is written from this list by ``python -m tests.api.page``.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from attrs import frozen

__all__ = ["ACCEPTED", "Accepted"]


@frozen
class Accepted:
    """One accepted difference.

    Attributes
    ----------
    names
        Patterns of the names it is about (``*`` stands for anything).
    difference
        What is otherwise, as the comparison says it; a beginning is enough.
    reason
        Why, and what to do instead.
    """

    names: tuple[str, ...]
    difference: str
    reason: str

    def covers(self, name: str, difference: str) -> bool:
        """Whether it is about that difference."""
        return difference.startswith(self.difference) and any(
            fnmatchcase(name, pattern) for pattern in self.names
        )


ACCEPTED = (
    Accepted(
        ("Repository.()", "Session.()", "ForkSession.()"),
        "no parameter",
        "The constructors wrap a handle of the library's inside, which is another one here. "
        "Repositories are made by `create` and `open`, sessions by repositories.",
    ),
    Accepted(
        ("IcechunkStore.()",),
        "parameter read_only is False by default",
        "The store's own `read_only`; `None` means the same. The store of a read-only session is always so.",
    ),
    Accepted(
        (
            "ManifestSplitCondition.AnyArray",
            "ManifestSplitCondition.Or",
            "ManifestSplitCondition.And",
            "ManifestSplitCondition.PathMatches",
            "ManifestSplitCondition.NameMatches",
            "ManifestPreloadCondition.Or",
            "ManifestPreloadCondition.And",
            "ManifestPreloadCondition.PathMatches",
            "ManifestPreloadCondition.NameMatches",
            "ManifestPreloadCondition.NumRefs",
            "ManifestPreloadCondition.True",
            "ManifestPreloadCondition.False",
        ),
        "",
        "Classes of the compiled module that its stub does not document. "
        "Conditions are made by functions (`name_matches`, `and_conditions`), which are the same.",
    ),
    Accepted(
        (
            "S3StaticCredentials.*",
            "AzureRefreshableCredential.*",
            "S3Credentials.Refreshable.*",
            "GcsCredentials.Refreshable.*",
            "AzureCredentials.Refreshable.*",
            "RepoStatus.*",
        ),
        "cannot be set",
        "Credentials and states of a repository are values: they do not change, and are equal and hashable "
        "by content. Make a new one.",
    ),
    Accepted(
        ("AnyObjectStoreConfig",),
        "is ObjectStoreConfig.Azure | ObjectStoreConfig.Gcs | ObjectStoreConfig.Http",
        "`ObjectStoreConfig.Http` belongs to it here.",
    ),
    Accepted(
        ("storage:ChunkType",),
        "missing",
        "It is about sessions: `icechunk_core.ChunkType`, `icechunk_core.session.ChunkType`.",
    ),
    Accepted(
        ("config:from_dict", "from_dict", "config:to_dict", "to_dict"),
        "missing",
        "Implementations of `ManifestSplittingConfig.from_dict` and `.to_dict`, which are the same.",
    ),
    Accepted(
        (
            "dask:SimpleGraph",
            "dask:merge_sessions_array_kwargs",
            "merge_sessions_array_kwargs",
            "xarray:LazyArrayWriter",
            "LazyArrayWriter",
            "xarray:is_dask_collection",
            "is_dask_collection",
        ),
        "missing",
        "Inner parts of `store_dask` and `to_icechunk`, which are the same.",
    ),
)

NOT_WALKED = (
    (
        "`icechunk.testing.*`",
        "Of the submodules for testing only `testing.LatencyStorage` has a counterpart; the others "
        "are tools for testing Icechunk itself.",
    ),
    (
        "`set_logs_filter`, `initialize_logs`",
        "They set levels of Python's `logging`, whose loggers are `icechunk_core` and below; of the filter "
        "language they know levels and modules, not spans and fields. Importing starts the output only if "
        "`ICECHUNK_LOG` is set.",
    ),
    (
        "`shutdown_telemetry`",
        "There is no export of traces; it ends what `initialize_logs` began.",
    ),
    (
        "`user_agent()`, `Storage.default_settings()`, every `repr`",
        "They name this library; settings have no defaults that depend on the storage, backends have "
        "their own.",
    ),
    (
        "`StorageSettings`",
        "They work on S3, Google Cloud Storage, Azure and HTTP; in Icechunk, `timeouts` are for S3 "
        "alone. An option in the storage's URL or constructor wins over `retries`, `timeouts`, "
        "`concurrency` and `minimum_size_for_multipart_upload`. Stored values of these that are "
        "Icechunk's defaults count as not set, since it stores them with every configuration, also those "
        "for local directories (requests of 4 KiB); whoever passes them gets them. A service of a plugin "
        "that has no such time limit warns. On local directories, `unsafe_use_conditional_update=False` "
        "counts only if the caller passes it: Icechunk stores it with every configuration there, since "
        "it has no conditional updates. All settings: [Configuration](configuration.md).",
    ),
)
