"""Amazon S3 and services that speak its protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from icechunk_core.contract import Storage
from icechunk_core.credentials import AnyS3Credential, S3StaticCredentials, s3_credentials
from icechunk_core.errors import StorageConfigError
from icechunk_core.format.configuration import ChecksumAlgorithm
from icechunk_core.plugins import open_storage
from icechunk_core.storage._options import (
    checked_choice,
    checked_endpoint,
    checked_seconds,
    checked_text,
    checked_texts,
    given,
)

__all__ = [
    "hf_storage",
    "r2_storage",
    "s3_object_store_storage",
    "s3_options",
    "s3_storage",
    "tigris_storage",
]

TIGRIS_ENDPOINT = "https://t3.storage.dev"


def s3_options(
    *,
    bucket: str,
    prefix: str | None,
    credentials: AnyS3Credential,
    region: str | None = None,
    endpoint_url: str | None = None,
    allow_http: bool = False,
    force_path_style: bool = False,
    network_stream_timeout_seconds: int | None = None,
    requester_pays: bool = False,
    checksum_algorithm: ChecksumAlgorithm | None = None,
    legacy_rooted_keys: bool | None = None,
    read_headers: Mapping[str, str] | None = None,
    write_headers: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Checked options of an S3 backend; those that are at their default are left out.

    Raises
    ------
    StorageConfigError
        Naming the option that is wrong. Also a `ValueError`.
    """
    if legacy_rooted_keys and prefix:
        raise StorageConfigError("'legacy_rooted_keys' goes with an empty prefix only")
    options = given(
        bucket=checked_text("bucket", bucket),
        prefix=None if prefix is None else checked_text("prefix", prefix, empty=True) or None,
        credentials=credentials,
        region=None if region is None else checked_text("region", region),
        endpoint_url=checked_endpoint("endpoint_url", endpoint_url, allow_http=allow_http),
        allow_http=allow_http,
        force_path_style=force_path_style,
        network_stream_timeout_seconds=checked_seconds(
            "network_stream_timeout_seconds", network_stream_timeout_seconds
        ),
        requester_pays=requester_pays,
        checksum_algorithm=checked_choice("checksum_algorithm", checksum_algorithm, ChecksumAlgorithm),
        read_headers=checked_texts("read_headers", read_headers),
        write_headers=checked_texts("write_headers", write_headers),
        headers=checked_texts("headers", headers),
    )
    if legacy_rooted_keys is not None:
        options["legacy_rooted_keys"] = legacy_rooted_keys
    return options


def s3_storage(
    *,
    bucket: str,
    prefix: str | None,
    region: str | None = None,
    endpoint_url: str | None = None,
    allow_http: bool = False,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    session_token: str | None = None,
    expires_after: datetime | None = None,
    anonymous: bool | None = None,
    from_env: bool | None = None,
    get_credentials: Callable[[], S3StaticCredentials] | None = None,
    scatter_initial_credentials: bool = False,
    force_path_style: bool = False,
    network_stream_timeout_seconds: int = 60,
    requester_pays: bool = False,
    checksum_algorithm: ChecksumAlgorithm | None = None,
    legacy_rooted_keys: bool | None = None,
    read_headers: dict[str, str] | None = None,
    write_headers: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Storage:
    """A prefix of a bucket of Amazon S3, or of a service that speaks its protocol.

    Without credentials they come from the environment.

    Parameters
    ----------
    bucket, prefix
        Where the repository is; an empty prefix or ``None`` is the root of the bucket.
    region
        The bucket's region.
    endpoint_url
        Address of a compatible service, e.g. ``http://localhost:9000``.
    allow_http
        Accept an ``http://`` address.
    access_key_id, secret_access_key, session_token, expires_after
        A fixed access key.
    anonymous
        Do not sign requests.
    from_env
        Take credentials from the environment.
    get_credentials, scatter_initial_credentials
        A picklable function that renews credentials; see
        `icechunk_core.credentials.s3_refreshable_credentials`.
    force_path_style
        Address buckets in the path instead of the host name.
    network_stream_timeout_seconds
        Give up when nothing arrives for so long; 0 waits for ever.
    requester_pays
        Accept the costs of requests.
    checksum_algorithm
        Of uploads; the SDK chooses by default.
    legacy_rooted_keys
        Keys begin with a slash, as old versions wrote them at the root of a bucket;
        ``None`` finds out.
    read_headers, write_headers, headers
        Extra HTTP headers for reads, for writes, for both.

    Raises
    ------
    StorageConfigError, InvalidInputError
        If an argument is wrong; both are a `ValueError`.
    PluginError
        If the S3 plugin is missing; says what to install.
    """
    credentials = s3_credentials(
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        session_token=session_token,
        expires_after=expires_after,
        anonymous=anonymous,
        from_env=from_env,
        get_credentials=get_credentials,
        scatter_initial_credentials=scatter_initial_credentials,
    )
    options = s3_options(
        bucket=bucket,
        prefix=prefix,
        credentials=credentials,
        region=region,
        endpoint_url=endpoint_url,
        allow_http=allow_http,
        force_path_style=force_path_style,
        network_stream_timeout_seconds=network_stream_timeout_seconds,
        requester_pays=requester_pays,
        checksum_algorithm=checksum_algorithm,
        legacy_rooted_keys=legacy_rooted_keys,
        read_headers=read_headers,
        write_headers=write_headers,
        headers=headers,
    )
    return open_storage({"scheme": "s3", **options})


def s3_object_store_storage(
    *,
    bucket: str,
    prefix: str | None,
    region: str | None = None,
    endpoint_url: str | None = None,
    allow_http: bool = False,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    session_token: str | None = None,
    expires_after: datetime | None = None,
    anonymous: bool | None = None,
    from_env: bool | None = None,
    force_path_style: bool = False,
    read_headers: dict[str, str] | None = None,
    write_headers: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Storage:
    """The same as `s3_storage`, with fewer parameters: there is one S3 backend here."""
    return s3_storage(
        bucket=bucket,
        prefix=prefix,
        region=region,
        endpoint_url=endpoint_url,
        allow_http=allow_http,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        session_token=session_token,
        expires_after=expires_after,
        anonymous=anonymous,
        from_env=from_env,
        force_path_style=force_path_style,
        read_headers=read_headers,
        write_headers=write_headers,
        headers=headers,
    )


def tigris_storage(
    *,
    bucket: str,
    prefix: str | None,
    region: str | None = None,
    endpoint_url: str | None = None,
    use_weak_consistency: bool = False,
    allow_http: bool = False,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    session_token: str | None = None,
    expires_after: datetime | None = None,
    anonymous: bool | None = None,
    from_env: bool | None = None,
    get_credentials: Callable[[], S3StaticCredentials] | None = None,
    scatter_initial_credentials: bool = False,
    network_stream_timeout_seconds: int = 60,
    checksum_algorithm: ChecksumAlgorithm | None = None,
    legacy_rooted_keys: bool | None = None,
    read_headers: dict[str, str] | None = None,
    write_headers: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Storage:
    """A prefix of a bucket of Tigris.

    Parameters
    ----------
    use_weak_consistency
        Read from the nearest region, which may be behind. The storage is read-only then.
    bucket, prefix, region, endpoint_url, allow_http, access_key_id, secret_access_key
        As for `s3_storage`; so are all others.

    Raises
    ------
    StorageConfigError, InvalidInputError, PluginError
        As for `s3_storage`. One region (or weak consistency) must be chosen: reads are
        consistent within a region only.
    """
    if region is None and not use_weak_consistency:
        raise StorageConfigError(
            "Tigris reads are consistent within one region only: pass 'region', or "
            "use_weak_consistency=True for reading"
        )
    credentials = s3_credentials(
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        session_token=session_token,
        expires_after=expires_after,
        anonymous=anonymous,
        from_env=from_env,
        get_credentials=get_credentials,
        scatter_initial_credentials=scatter_initial_credentials,
    )
    options = s3_options(
        bucket=bucket,
        prefix=prefix,
        credentials=credentials,
        region=region,
        endpoint_url=endpoint_url if endpoint_url is not None else TIGRIS_ENDPOINT,
        allow_http=allow_http,
        network_stream_timeout_seconds=network_stream_timeout_seconds,
        checksum_algorithm=checksum_algorithm,
        legacy_rooted_keys=legacy_rooted_keys,
        read_headers=read_headers,
        write_headers=write_headers,
        headers=headers,
    )
    return open_storage({"scheme": "tigris", **options, **given(use_weak_consistency=use_weak_consistency)})


def r2_storage(
    *,
    bucket: str | None = None,
    prefix: str | None = None,
    account_id: str | None = None,
    endpoint_url: str | None = None,
    region: str | None = None,
    allow_http: bool = False,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    session_token: str | None = None,
    expires_after: datetime | None = None,
    anonymous: bool | None = None,
    from_env: bool | None = None,
    get_credentials: Callable[[], S3StaticCredentials] | None = None,
    scatter_initial_credentials: bool = False,
    network_stream_timeout_seconds: int = 60,
    checksum_algorithm: ChecksumAlgorithm | None = None,
    legacy_rooted_keys: bool | None = None,
    read_headers: dict[str, str] | None = None,
    write_headers: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Storage:
    """A prefix of a bucket of Cloudflare R2.

    Parameters
    ----------
    bucket
        The bucket; ``None`` takes the first part of the prefix.
    account_id
        Of the Cloudflare account; its address is made from it.
    endpoint_url
        The address, instead of ``account_id``.
    prefix, region, allow_http, access_key_id, secret_access_key
        As for `s3_storage`; so are all others.

    Raises
    ------
    StorageConfigError, InvalidInputError, PluginError
        As for `s3_storage`.
    """
    bucket, prefix = _r2_location(bucket, prefix)
    if endpoint_url is None:
        if not account_id:
            raise StorageConfigError("R2 storage needs 'account_id' or 'endpoint_url'")
        endpoint_url = f"https://{checked_text('account_id', account_id)}.r2.cloudflarestorage.com"
    credentials = s3_credentials(
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        session_token=session_token,
        expires_after=expires_after,
        anonymous=anonymous,
        from_env=from_env,
        get_credentials=get_credentials,
        scatter_initial_credentials=scatter_initial_credentials,
    )
    options = s3_options(
        bucket=bucket,
        prefix=prefix,
        credentials=credentials,
        region=region if region is not None else "auto",
        endpoint_url=endpoint_url,
        allow_http=allow_http,
        force_path_style=True,
        network_stream_timeout_seconds=network_stream_timeout_seconds,
        checksum_algorithm=checksum_algorithm,
        legacy_rooted_keys=legacy_rooted_keys,
        read_headers=read_headers,
        write_headers=write_headers,
        headers=headers,
    )
    return open_storage({"scheme": "s3", **options})


def _r2_location(bucket: str | None, prefix: str | None) -> tuple[str, str | None]:
    if bucket is not None:
        return bucket, prefix
    first, _, rest = (prefix or "").partition("/")
    if not first:
        raise StorageConfigError("R2 storage needs 'bucket', or a prefix that begins with the bucket's name")
    return first, rest or None


def hf_storage(
    *,
    bucket: str,
    prefix: str | None,
    namespace: str,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    session_token: str | None = None,
    expires_after: datetime | None = None,
    from_env: bool | None = None,
    get_credentials: Callable[[], S3StaticCredentials] | None = None,
    scatter_initial_credentials: bool = False,
    network_stream_timeout_seconds: int = 60,
    legacy_rooted_keys: bool | None = None,
    read_headers: dict[str, str] | None = None,
    write_headers: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Storage:
    """A prefix of a Hugging Face storage bucket.

    Parameters
    ----------
    bucket
        Name of the bucket, without the namespace.
    namespace
        Its owner: a user or an organisation.
    prefix, access_key_id, secret_access_key
        As for `s3_storage`; so are all others.

    Raises
    ------
    StorageConfigError, InvalidInputError, PluginError
        As for `s3_storage`.
    """
    if "/" in checked_text("bucket", bucket):
        raise StorageConfigError("'bucket' is the name without the namespace; pass that as 'namespace'")
    credentials = s3_credentials(
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        session_token=session_token,
        expires_after=expires_after,
        from_env=from_env,
        get_credentials=get_credentials,
        scatter_initial_credentials=scatter_initial_credentials,
    )
    options = s3_options(
        bucket=bucket,
        prefix=prefix,
        credentials=credentials,
        region="us-east-1",
        endpoint_url=f"https://s3.hf.co/{checked_text('namespace', namespace)}",
        force_path_style=True,
        network_stream_timeout_seconds=network_stream_timeout_seconds,
        legacy_rooted_keys=legacy_rooted_keys,
        read_headers=read_headers,
        write_headers=write_headers,
        headers=headers,
    )
    return open_storage({"scheme": "hf", **options})
