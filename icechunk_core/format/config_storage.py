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
    """How large objects are read and written in parallel.

    S3, Google Cloud Storage and Azure read large ranges in several requests. Uploads are so on S3 and
    Azure, while Google's protocol sends the parts one after the other. HTTP and local storages read an
    object at once.

    Parameters
    ----------
    max_concurrent_requests_for_object
        Requests at a time for one object.
    ideal_concurrent_request_size
        Bytes of one request. By default the storage's own: 12 MiB in reads from S3, 8 MiB otherwise.
        Parts of an upload to S3 have 5 MiB or more.
    """

    max_concurrent_requests_for_object: int | None = integer(16, minimum=1)
    ideal_concurrent_request_size: int | None = integer(64, minimum=1)


@define(repr=False)
class StorageRetriesSettings(ConfigNode):
    """How failed requests are repeated, with exponential backoff.

    Whether an attempt may be repeated at all, the failure decides: a host that cannot be reached is
    tried three times at most, and no attempt begins after the storage's ``deadline``. What is not set
    here, the storage's own options decide.

    Parameters
    ----------
    max_tries
        Attempts, the first one included.
    initial_backoff_ms, max_backoff_ms
        First and longest wait between attempts, in milliseconds. Each wait is a random part of it.
    """

    max_tries: int | None = integer(16, minimum=1)
    initial_backoff_ms: int | None = integer(32)
    max_backoff_ms: int | None = integer(32)


@define(repr=False)
class StorageTimeoutSettings(ConfigNode):
    """When to give up, in milliseconds; None leaves it to the storage.

    S3, Google Cloud Storage, Azure and HTTP have these limits. For a service of another plugin that has
    none, giving them is a warning; local storages wait for the operating system.

    Parameters
    ----------
    connect_timeout_ms, read_timeout_ms
        For the connection, and for the next bytes of a response.
    operation_timeout_ms, operation_attempt_timeout_ms
        For a request with its repetitions, and for one attempt. Large uploads and long reads take
        several requests.
    """

    connect_timeout_ms: int | None = integer(32)
    read_timeout_ms: int | None = integer(32)
    operation_timeout_ms: int | None = integer(32)
    operation_attempt_timeout_ms: int | None = integer(32)


@define(repr=False)
class StorageSettings(ConfigNode):
    """How a repository uses its storage.

    For `concurrency`, `retries`, `timeouts` and `minimum_size_for_multipart_upload`, an option that the
    storage's URL or constructor gives wins. Stored values of theirs that are Icechunk's defaults count as not
    set, since it stores them with every configuration.

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
        Objects of more bytes are uploaded in parts. By default the storage's own: 16 MiB on S3 and
        Azure, 64 MiB on Google Cloud Storage, where conditional writes are one request up to 256 MiB.
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
