"""Make credentials for storage services and virtual chunk containers.

The functions check that what they are given is one way of authenticating, and raise
`ValueError` where it is two or none.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from icechunk_core.contract.credentials import (
    AnyAzureCredential,
    AnyAzureStaticCredential,
    AnyCredential,
    AnyGcsCredential,
    AnyGcsStaticCredential,
    AnyS3Credential,
    AzureCredentials,
    AzureRefreshableCredential,
    AzureStaticCredentials,
    Credentials,
    GcsBearerCredential,
    GcsCredentials,
    GcsStaticCredentials,
    S3Credentials,
    S3StaticCredentials,
)
from icechunk_core.errors import ErrorKind, InvalidInputError

__all__ = [
    "AnyAzureCredential",
    "AnyAzureStaticCredential",
    "AnyCredential",
    "AnyGcsCredential",
    "AnyGcsStaticCredential",
    "AnyS3Credential",
    "AzureCredentials",
    "AzureRefreshableCredential",
    "AzureStaticCredentials",
    "Credentials",
    "GcsBearerCredential",
    "GcsCredentials",
    "GcsStaticCredentials",
    "HttpAccess",
    "LocalFileSystemAccess",
    "S3Credentials",
    "S3StaticCredentials",
    "azure_anonymous_credentials",
    "azure_credentials",
    "azure_from_env_credentials",
    "azure_refreshable_credentials",
    "azure_static_credentials",
    "containers_credentials",
    "gcs_anonymous_credentials",
    "gcs_credentials",
    "gcs_from_env_credentials",
    "gcs_refreshable_credentials",
    "gcs_static_credentials",
    "s3_anonymous_credentials",
    "s3_credentials",
    "s3_from_env_credentials",
    "s3_refreshable_credentials",
    "s3_static_credentials",
]

LocalFileSystemAccess = Credentials.LocalFileSystemAccess()
"""Allows a ``file://`` virtual chunk container, which needs no credentials."""

HttpAccess = Credentials.HttpAccess()
"""Allows an ``http://`` or ``https://`` virtual chunk container, which needs no credentials."""


def _invalid(message: str) -> InvalidInputError:
    return InvalidInputError(message, kind=ErrorKind.INVALID_CREDENTIALS)


def _pickled(get_credentials: Callable[[], Any]) -> bytes:
    if not callable(get_credentials):
        raise _invalid("get_credentials must be a function")
    try:
        return pickle.dumps(get_credentials)
    except Exception as error:
        raise _invalid(
            "get_credentials must be a function that can be pickled, defined at the top of a module "
            f"(not a lambda or local function): {error}"
        ) from error


def _one_way(function: str, ways: Mapping[str, bool]) -> str | None:
    """The way of authenticating that was chosen; ``None`` for none."""
    chosen = [way for way, given in ways.items() if given]
    if len(chosen) > 1:
        raise _invalid(f"conflicting arguments to {function}: {' and '.join(chosen)}; give one of them")
    return chosen[0] if chosen else None


# --- S3 ----------------------------------------------------------------------


def s3_refreshable_credentials(
    get_credentials: Callable[[], S3StaticCredentials], scatter_initial_credentials: bool = False
) -> S3Credentials.Refreshable:
    """Credentials that a function renews.

    Parameters
    ----------
    get_credentials
        Picklable function that returns `S3StaticCredentials`.
    scatter_initial_credentials
        Call it now, and send the result along when the storage is pickled, so that many
        copies do not all call it at once.
    """
    pickled = _pickled(get_credentials)
    current = get_credentials() if scatter_initial_credentials else None
    return S3Credentials.Refreshable(pickled, current)


def s3_static_credentials(
    *,
    access_key_id: str,
    secret_access_key: str,
    session_token: str | None = None,
    expires_after: datetime | None = None,
) -> S3Credentials.Static:
    """An access key, with the session token and end of a temporary one."""
    return S3Credentials.Static(
        S3StaticCredentials(access_key_id, secret_access_key, session_token, expires_after)
    )


def s3_anonymous_credentials() -> S3Credentials.Anonymous:
    """Do not sign requests."""
    return S3Credentials.Anonymous()


def s3_from_env_credentials() -> S3Credentials.FromEnv:
    """Take credentials from the environment."""
    return S3Credentials.FromEnv()


def s3_credentials(
    *,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    session_token: str | None = None,
    expires_after: datetime | None = None,
    anonymous: bool | None = None,
    from_env: bool | None = None,
    get_credentials: Callable[[], S3StaticCredentials] | None = None,
    scatter_initial_credentials: bool = False,
) -> AnyS3Credential:
    """Credentials for S3 and compatible services; without arguments, from the environment.

    Raises
    ------
    InvalidInputError
        If the arguments are more than one way of authenticating, or half of one. Also a
        `ValueError`.
    """
    parts = (access_key_id, secret_access_key, session_token, expires_after)
    way = _one_way(
        "s3_credentials",
        {
            "an access key": any(part is not None for part in parts),
            "anonymous": bool(anonymous),
            "from_env": bool(from_env),
            "get_credentials": get_credentials is not None,
        },
    )
    if way == "an access key":
        if not access_key_id or not secret_access_key:
            raise _invalid("s3_credentials needs access_key_id and secret_access_key together")
        return s3_static_credentials(
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
            expires_after=expires_after,
        )
    if get_credentials is not None:
        return s3_refreshable_credentials(get_credentials, scatter_initial_credentials)
    if way == "anonymous":
        return s3_anonymous_credentials()
    if from_env is False:
        raise _invalid("s3_credentials with from_env=False needs another way of authenticating")
    return s3_from_env_credentials()


# --- Google ------------------------------------------------------------------


def gcs_static_credentials(
    *,
    service_account_file: str | None = None,
    service_account_key: str | None = None,
    application_credentials: str | None = None,
    bearer_token: str | None = None,
) -> AnyGcsStaticCredential:
    """A fixed credential for Google Cloud Storage; exactly one argument."""
    _one_way(
        "gcs_static_credentials",
        {
            "service_account_file": service_account_file is not None,
            "service_account_key": service_account_key is not None,
            "application_credentials": application_credentials is not None,
            "bearer_token": bearer_token is not None,
        },
    )
    if service_account_file is not None:
        return GcsStaticCredentials.ServiceAccount(service_account_file)
    if service_account_key is not None:
        return GcsStaticCredentials.ServiceAccountKey(service_account_key)
    if application_credentials is not None:
        return GcsStaticCredentials.ApplicationCredentials(application_credentials)
    if bearer_token is not None:
        return GcsStaticCredentials.BearerToken(bearer_token)
    raise _invalid("gcs_static_credentials needs one of its arguments")


def gcs_refreshable_credentials(
    get_credentials: Callable[[], GcsBearerCredential], scatter_initial_credentials: bool = False
) -> GcsCredentials.Refreshable:
    """A token that a picklable function renews; see `s3_refreshable_credentials`."""
    pickled = _pickled(get_credentials)
    current = get_credentials() if scatter_initial_credentials else None
    return GcsCredentials.Refreshable(pickled, current)


def gcs_anonymous_credentials() -> GcsCredentials.Anonymous:
    """Do not sign requests."""
    return GcsCredentials.Anonymous()


def gcs_from_env_credentials() -> GcsCredentials.FromEnv:
    """Take credentials from the environment."""
    return GcsCredentials.FromEnv()


def gcs_credentials(
    *,
    service_account_file: str | None = None,
    service_account_key: str | None = None,
    application_credentials: str | None = None,
    bearer_token: str | None = None,
    from_env: bool | None = None,
    anonymous: bool | None = None,
    get_credentials: Callable[[], GcsBearerCredential] | None = None,
    scatter_initial_credentials: bool = False,
) -> AnyGcsCredential:
    """Credentials for Google Cloud Storage; without arguments, from the environment.

    Raises
    ------
    InvalidInputError
        If the arguments are more than one way of authenticating. Also a `ValueError`.
    """
    static = (service_account_file, service_account_key, application_credentials, bearer_token)
    way = _one_way(
        "gcs_credentials",
        {
            "a fixed credential": any(part is not None for part in static),
            "anonymous": bool(anonymous),
            "from_env": bool(from_env),
            "get_credentials": get_credentials is not None,
        },
    )
    if way == "a fixed credential":
        return GcsCredentials.Static(
            gcs_static_credentials(
                service_account_file=service_account_file,
                service_account_key=service_account_key,
                application_credentials=application_credentials,
                bearer_token=bearer_token,
            )
        )
    if get_credentials is not None:
        return gcs_refreshable_credentials(get_credentials, scatter_initial_credentials)
    if way == "anonymous":
        return gcs_anonymous_credentials()
    if from_env is False:
        raise _invalid("gcs_credentials with from_env=False needs another way of authenticating")
    return gcs_from_env_credentials()


# --- Azure -------------------------------------------------------------------


def azure_static_credentials(
    *, access_key: str | None = None, sas_token: str | None = None, bearer_token: str | None = None
) -> AnyAzureStaticCredential:
    """A fixed credential for Azure Blob Storage; exactly one argument."""
    _one_way(
        "azure_static_credentials",
        {
            "access_key": access_key is not None,
            "sas_token": sas_token is not None,
            "bearer_token": bearer_token is not None,
        },
    )
    if access_key is not None:
        return AzureStaticCredentials.AccessKey(access_key)
    if sas_token is not None:
        return AzureStaticCredentials.SasToken(sas_token)
    if bearer_token is not None:
        return AzureStaticCredentials.BearerToken(bearer_token)
    raise _invalid("azure_static_credentials needs one of its arguments")


def azure_refreshable_credentials(
    get_credentials: Callable[[], AzureRefreshableCredential], scatter_initial_credentials: bool = False
) -> AzureCredentials.Refreshable:
    """A credential that a picklable function renews; see `s3_refreshable_credentials`."""
    pickled = _pickled(get_credentials)
    current = get_credentials() if scatter_initial_credentials else None
    return AzureCredentials.Refreshable(pickled, current)


def azure_from_env_credentials() -> AzureCredentials.FromEnv:
    """Take credentials from the environment."""
    return AzureCredentials.FromEnv()


def azure_anonymous_credentials() -> AzureCredentials.Anonymous:
    """Do not sign requests."""
    return AzureCredentials.Anonymous()


def azure_credentials(
    *,
    access_key: str | None = None,
    sas_token: str | None = None,
    bearer_token: str | None = None,
    from_env: bool | None = None,
    anonymous: bool | None = None,
    get_credentials: Callable[[], AzureRefreshableCredential] | None = None,
    scatter_initial_credentials: bool = False,
) -> AnyAzureCredential:
    """Credentials for Azure Blob Storage; without arguments, from the environment.

    Raises
    ------
    InvalidInputError
        If the arguments are more than one way of authenticating. Also a `ValueError`.
    """
    way = _one_way(
        "azure_credentials",
        {
            "a fixed credential": any(part is not None for part in (access_key, sas_token, bearer_token)),
            "anonymous": bool(anonymous),
            "from_env": bool(from_env),
            "get_credentials": get_credentials is not None,
        },
    )
    if way == "a fixed credential":
        return AzureCredentials.Static(
            azure_static_credentials(access_key=access_key, sas_token=sas_token, bearer_token=bearer_token)
        )
    if get_credentials is not None:
        return azure_refreshable_credentials(get_credentials, scatter_initial_credentials)
    if way == "anonymous":
        return azure_anonymous_credentials()
    if from_env is False:
        raise _invalid("azure_credentials with from_env=False needs another way of authenticating")
    return azure_from_env_credentials()


# --- containers --------------------------------------------------------------


def containers_credentials(
    m: Mapping[str, AnyS3Credential | AnyGcsCredential | AnyAzureCredential | AnyCredential | None],
) -> dict[str, AnyCredential | None]:
    """Credentials by the URL prefix of virtual chunk containers.

    Containers that need none get `LocalFileSystemAccess` or `HttpAccess`.

    Raises
    ------
    InvalidInputError
        If a value is no credential. Also a `ValueError`.

    >>> containers_credentials({"s3://bucket/": s3_anonymous_credentials()})
    {'s3://bucket/': Credentials.S3(credentials=S3Credentials.Anonymous())}
    """
    return {prefix: _for_any_service(prefix, credential) for prefix, credential in m.items()}


def _for_any_service(prefix: str, credential: Any) -> AnyCredential | None:
    if credential is None or isinstance(credential, Credentials):
        return credential  # type: ignore[return-value]  # every subclass is in the union
    if isinstance(credential, S3Credentials):
        return Credentials.S3(credential)  # type: ignore[arg-type]
    if isinstance(credential, GcsCredentials):
        return Credentials.Gcs(credential)  # type: ignore[arg-type]
    if isinstance(credential, AzureCredentials):
        return Credentials.Azure(credential)  # type: ignore[arg-type]
    raise _invalid(f"the container {prefix!r} got a {type(credential).__name__} instead of credentials")
