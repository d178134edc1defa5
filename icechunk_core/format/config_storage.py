"""How a repository uses its storage (FORMAT.md, section 8, the keys under ``storage``)."""

# ruff: noqa: RUF009 - the calls make attrs fields

from __future__ import annotations

from attrs import define

from icechunk_core.format.config_base import ConfigNode, flag, integer, node, text

__all__ = [
    "StorageConcurrencySettings",
    "StorageRetriesSettings",
    "StorageSettings",
    "StorageTimeoutSettings",
]


@define(repr=False)
class StorageConcurrencySettings(ConfigNode):
    """How large objects are read in parallel.

    Parameters
    ----------
    max_concurrent_requests_for_object
        Requests at a time for one object (effective default 18).
    ideal_concurrent_request_size
        Bytes to ask for in one request (effective default 12 MiB).
    """

    max_concurrent_requests_for_object: int | None = integer(16, minimum=1)
    ideal_concurrent_request_size: int | None = integer(64, minimum=1)


@define(repr=False)
class StorageRetriesSettings(ConfigNode):
    """How failed requests are repeated, with exponential backoff.

    Parameters
    ----------
    max_tries
        Attempts, the first one included.
    initial_backoff_ms, max_backoff_ms
        First and longest wait between attempts, in milliseconds.
    """

    max_tries: int | None = integer(16, minimum=1)
    initial_backoff_ms: int | None = integer(32)
    max_backoff_ms: int | None = integer(32)


@define(repr=False)
class StorageTimeoutSettings(ConfigNode):
    """When to give up, in milliseconds; None leaves it to the storage client.

    Parameters
    ----------
    connect_timeout_ms, read_timeout_ms
        For the connection, and for a response.
    operation_timeout_ms, operation_attempt_timeout_ms
        For an operation with its retries, and for one attempt.
    """

    connect_timeout_ms: int | None = integer(32)
    read_timeout_ms: int | None = integer(32)
    operation_timeout_ms: int | None = integer(32)
    operation_attempt_timeout_ms: int | None = integer(32)


@define(repr=False)
class StorageSettings(ConfigNode):
    """How a repository uses its storage.

    Parameters
    ----------
    concurrency, retries, timeouts
        See their classes.
    unsafe_use_conditional_create, unsafe_use_conditional_update
        False gives up the guarantee that concurrent writers do not overwrite each other.
    unsafe_use_metadata
        False writes objects without user metadata.
    storage_class, metadata_storage_class, chunks_storage_class
        The provider's name of the storage class for all objects, and for the two kinds.
    minimum_size_for_multipart_upload
        Objects of more bytes are uploaded in parts (effective default 100 MiB).
    """

    concurrency: StorageConcurrencySettings | None = node(StorageConcurrencySettings)
    retries: StorageRetriesSettings | None = node(StorageRetriesSettings)
    unsafe_use_conditional_create: bool | None = flag()
    unsafe_use_conditional_update: bool | None = flag()
    unsafe_use_metadata: bool | None = flag()
    storage_class: str | None = text()
    metadata_storage_class: str | None = text()
    chunks_storage_class: str | None = text()
    minimum_size_for_multipart_upload: int | None = integer(64)
    timeouts: StorageTimeoutSettings | None = node(StorageTimeoutSettings)
