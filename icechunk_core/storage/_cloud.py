"""Google Cloud Storage, Azure Blob Storage, and web servers."""

from __future__ import annotations

from collections.abc import Callable

from icechunk_core.contract import Storage
from icechunk_core.credentials import GcsBearerCredential, azure_credentials, gcs_credentials
from icechunk_core.plugins import open_storage
from icechunk_core.storage._options import checked_endpoint, checked_text, checked_texts, given

__all__ = ["azure_storage", "gcs_storage", "http_storage", "redirect_storage"]


def gcs_storage(
    *,
    bucket: str,
    prefix: str | None,
    service_account_file: str | None = None,
    service_account_key: str | None = None,
    application_credentials: str | None = None,
    bearer_token: str | None = None,
    anonymous: bool | None = None,
    from_env: bool | None = None,
    config: dict[str, str] | None = None,
    get_credentials: Callable[[], GcsBearerCredential] | None = None,
    scatter_initial_credentials: bool = False,
    read_headers: dict[str, str] | None = None,
    write_headers: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Storage:
    """A prefix of a bucket of Google Cloud Storage.

    Without credentials they come from the environment.

    Parameters
    ----------
    bucket, prefix
        Where the repository is; an empty prefix or ``None`` is the root of the bucket.
    service_account_file, service_account_key, application_credentials, bearer_token
        A fixed credential: path of a service account's file, its JSON text, path of an
        application default credentials file, or a token.
    anonymous
        Do not sign requests.
    from_env
        Take credentials from the environment.
    config
        Options of the client.
    get_credentials, scatter_initial_credentials
        A picklable function that renews the token; see
        `icechunk_core.credentials.gcs_refreshable_credentials`.
    read_headers, write_headers, headers
        Extra HTTP headers for reads, for writes, for both.

    Raises
    ------
    StorageConfigError, InvalidInputError
        If an argument is wrong; both are a `ValueError`.
    PluginError
        If the plugin is missing; says what to install.
    """
    credentials = gcs_credentials(
        service_account_file=service_account_file,
        service_account_key=service_account_key,
        application_credentials=application_credentials,
        bearer_token=bearer_token,
        from_env=from_env,
        anonymous=anonymous,
        get_credentials=get_credentials,
        scatter_initial_credentials=scatter_initial_credentials,
    )
    options = given(
        bucket=checked_text("bucket", bucket),
        prefix=None if prefix is None else checked_text("prefix", prefix, empty=True) or None,
        credentials=credentials,
        config=checked_texts("config", config),
        read_headers=checked_texts("read_headers", read_headers),
        write_headers=checked_texts("write_headers", write_headers),
        headers=checked_texts("headers", headers),
    )
    return open_storage({"scheme": "gs", **options})


def azure_storage(
    *,
    account: str,
    container: str,
    prefix: str,
    access_key: str | None = None,
    sas_token: str | None = None,
    bearer_token: str | None = None,
    from_env: bool | None = None,
    anonymous: bool | None = None,
    config: dict[str, str] | None = None,
) -> Storage:
    """A prefix of a container of Azure Blob Storage.

    Without credentials they come from the environment.

    Parameters
    ----------
    account, container, prefix
        Where the repository is; an empty prefix is the root of the container.
    access_key, sas_token, bearer_token
        A fixed credential; at most one.
    from_env
        Take credentials from the environment.
    anonymous
        Do not sign requests.
    config
        Options of the client.

    Raises
    ------
    StorageConfigError, InvalidInputError
        If an argument is wrong; both are a `ValueError`.
    PluginError
        If the plugin is missing; says what to install.
    """
    credentials = azure_credentials(
        access_key=access_key,
        sas_token=sas_token,
        bearer_token=bearer_token,
        from_env=from_env,
        anonymous=anonymous,
    )
    options = given(
        account=checked_text("account", account),
        container=checked_text("container", container),
        prefix=checked_text("prefix", prefix, empty=True) or None,
        credentials=credentials,
        config=checked_texts("config", config),
    )
    return open_storage({"scheme": "az", **options})


def http_storage(
    base_url: str,
    opts: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Storage:
    """A repository on a web server, for reading.

    Parameters
    ----------
    base_url
        Address of the repository.
    opts
        Options of the client.
    headers
        Sent with every request, e.g. ``{"authorization": "Bearer ..."}``.

    Raises
    ------
    StorageConfigError
        If an argument is wrong. Also a `ValueError`.
    PluginError
        If the plugin is missing; says what to install.
    """
    options = given(
        base_url=checked_endpoint("base_url", checked_text("base_url", base_url)),
        opts=checked_texts("opts", opts),
        headers=checked_texts("headers", headers),
    )
    return open_storage({"scheme": base_url.partition(":")[0].lower(), **options})


def redirect_storage(base_url: str) -> Storage:
    """A repository whose place a web server tells by redirecting, for reading.

    Parameters
    ----------
    base_url
        Address that answers with a redirect to a storage URL, such as ``s3://bucket/prefix``.

    Raises
    ------
    StorageConfigError
        If the address is none. Also a `ValueError`.
    PluginError
        If the plugin is missing; says what to install.
    """
    address = checked_endpoint("base_url", checked_text("base_url", base_url))
    return open_storage({"scheme": "redirect", "base_url": address})
