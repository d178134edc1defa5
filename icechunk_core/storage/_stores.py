"""What virtual chunk containers read from: `ObjectStoreConfig` under the names that Icechunk users know."""

from __future__ import annotations

import os

from icechunk_core.format.configuration import ChecksumAlgorithm, ObjectStoreConfig, S3Options
from icechunk_core.storage._options import checked_endpoint, checked_text, checked_texts

__all__ = ["azure_store", "gcs_store", "http_store", "local_filesystem_store", "s3_store"]


def s3_store(
    region: str | None = None,
    endpoint_url: str | None = None,
    allow_http: bool = False,
    anonymous: bool = False,
    s3_compatible: bool = False,
    force_path_style: bool = False,
    network_stream_timeout_seconds: int = 60,
    requester_pays: bool = False,
    checksum_algorithm: ChecksumAlgorithm | None = None,
) -> ObjectStoreConfig.S3Compatible | ObjectStoreConfig.S3:
    """Amazon S3, or with ``s3_compatible`` another service that speaks its protocol.

    The other parameters are those of `S3Options`.
    """
    options = S3Options(
        region=region,
        endpoint_url=checked_endpoint("endpoint_url", endpoint_url, allow_http=allow_http),
        allow_http=allow_http,
        anonymous=anonymous,
        force_path_style=force_path_style,
        network_stream_timeout_seconds=network_stream_timeout_seconds,
        requester_pays=requester_pays,
        checksum_algorithm=checksum_algorithm,
    )
    return ObjectStoreConfig.S3Compatible(options) if s3_compatible else ObjectStoreConfig.S3(options)


def gcs_store(opts: dict[str, str] | None = None) -> ObjectStoreConfig.Gcs:
    """Google Cloud Storage, with options of its client."""
    return ObjectStoreConfig.Gcs(checked_texts("opts", opts))


def azure_store(*, account: str, config: dict[str, str] | None = None) -> ObjectStoreConfig.Azure:
    """An account of Azure Blob Storage, with options of its client."""
    return ObjectStoreConfig.Azure(
        {"account": checked_text("account", account), **(checked_texts("config", config) or {})}
    )


def http_store(
    opts: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> ObjectStoreConfig.Http:
    """Web servers, with options of the client and headers for every request."""
    return ObjectStoreConfig.Http(checked_texts("opts", opts), checked_texts("headers", headers))


def local_filesystem_store(path: str | os.PathLike[str]) -> ObjectStoreConfig.LocalFileSystem:
    """A directory of this machine."""
    return ObjectStoreConfig.LocalFileSystem(checked_text("path", os.fspath(path)))
