"""What the answers of S3 servers and the errors of the SDK mean to a caller.

The only place that names the SDK's exceptions: `TABLE` for them, `CODES` for the servers' error
codes, and `STATUSES` for answers without a code (those to HEAD have none).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import botocore.exceptions as sdk
from attrs import frozen

from icechunk_core.contract.errors import (
    Closed,
    InvalidKey,
    InvalidRange,
    NotFound,
    PermissionDenied,
    RateLimited,
    StorageConfigError,
    StorageError,
    StorageFull,
    Timeout,
    Unauthenticated,
    Unavailable,
    Unsupported,
    VersionMismatch,
)
from icechunk_core.errors import IcechunkError

__all__ = ["Dropped", "Failure", "Refused", "Where", "failure_of"]


@frozen
class Where:
    """What a request was about, for messages; no secrets.

    Attributes
    ----------
    place
        The bucket and its endpoint.
    key
        The object's key, if it was about one.
    region
        The region that requests are signed for.
    """

    place: str
    key: str | None = None
    region: str | None = None

    def __str__(self) -> str:
        return f"{self.place}: object {self.key!r}" if self.key is not None else self.place


@frozen
class Failure:
    """A failed request, judged.

    Attributes
    ----------
    error
        What to raise.
    retry
        Whether the same request may succeed later.
    doubtful
        Whether the server may have acted on it.
    unreachable
        No connection was made.
    at_once
        The first repetition need not wait: an idle connection was closed by the server.
    stale_credentials
        The credentials may have expired; new ones may help.
    retry_after
        Seconds that the server asks to wait.
    """

    error: StorageError
    retry: bool = False
    doubtful: bool = False
    unreachable: bool = False
    at_once: bool = False
    stale_credentials: bool = False
    retry_after: float | None = None


class Refused(Exception):
    """A server's refusal of a request that was sent without the SDK."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str], region: str | None):
        super().__init__(f"the server answered {status} {code}".rstrip())
        self.status = status
        self.code = code
        self.text = message
        self.headers = headers
        self.region = region


class Dropped(aiohttp.ClientError):
    """A connection that broke while a request was under way; never repeated by aiohttp."""


@frozen
class _Meaning:
    cls: type[StorageError]
    advice: str
    retry: bool = False
    doubtful: bool = False
    unreachable: bool = False
    stale_credentials: bool = False


# --- the servers' answers ----------------------------------------------------

_GONE = _Meaning(NotFound, "no such object")
_CONDITION = _Meaning(VersionMismatch, "the condition does not hold; nothing was written")
_RANGE = _Meaning(InvalidRange, "the byte range starts at or past the end of the object")
_NO_BUCKET = _Meaning(
    StorageConfigError, "the bucket does not exist; check its name, region and endpoint_url, or create it"
)
_DENIED = _Meaning(
    PermissionDenied,
    "access denied; check that the credentials may do this (without the right to list a bucket, an "
    "object that does not exist is answered so too), and whether anonymous access was meant",
)
_UNKNOWN_KEY = _Meaning(
    Unauthenticated, "the access key is unknown there; check access_key_id and endpoint_url"
)
_WRONG_SECRET = _Meaning(
    Unauthenticated, "the signature is wrong; check secret_access_key, and session_token if there is one"
)
_EXPIRED = _Meaning(Unauthenticated, "the credentials have expired; renew them", stale_credentials=True)
_UNAUTHENTICATED = _Meaning(Unauthenticated, "the server does not accept the credentials; check them")
_SKEWED = _Meaning(Unauthenticated, "this machine's clock is wrong; set it")
_REGION = _Meaning(StorageConfigError, "the bucket is in another region")
_SLOW_DOWN = _Meaning(RateLimited, "the server asks to slow down", retry=True)
_BROKEN = _Meaning(Unavailable, "the server failed inside; repeat later", retry=True, doubtful=True)
_CONTENDED = _Meaning(Unavailable, "others write the same object at this moment; repeat", retry=True)
_DAMAGED = _Meaning(Unavailable, "the data was damaged on the way; repeat", retry=True)
_SLOW_BODY = _Meaning(Timeout, "the server waited too long for the request; repeat", retry=True)
_FULL = _Meaning(StorageFull, "no space or quota left in the storage; free some and repeat")
_KEY = _Meaning(InvalidKey, "the server cannot hold an object under that key")
_LARGE = _Meaning(Unsupported, "the object is larger than the server accepts")
_MISSING_FEATURE = _Meaning(Unsupported, "the server does not have this operation")
_ARCHIVED = _Meaning(Unsupported, "the object is archived; restore it first")
_REJECTED = _Meaning(StorageError, "the server rejects the request")

CODES: Mapping[str, _Meaning] = {
    "NoSuchKey": _GONE,
    "NoSuchBucket": _NO_BUCKET,
    "PreconditionFailed": _CONDITION,
    "InvalidRange": _RANGE,
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": _DENIED,
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "SignatureDoesNotMatch": _WRONG_SECRET,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "RequestExpired": _SKEWED,
    "RequestTimeTooSkewed": _SKEWED,
    "Unauthorized": _UNAUTHENTICATED,
    "UnauthorizedAccess": _UNAUTHENTICATED,
    "CredentialsNotSupported": _UNAUTHENTICATED,
    "MissingSecurityHeader": _UNAUTHENTICATED,
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "SlowDown": _SLOW_DOWN,
    "SlowDownRead": _SLOW_DOWN,
    "SlowDownWrite": _SLOW_DOWN,
    "Throttling": _SLOW_DOWN,
    "ThrottlingException": _SLOW_DOWN,
    "RequestLimitExceeded": _SLOW_DOWN,
    "TooManyRequests": _SLOW_DOWN,
    "TooManyRequestsException": _SLOW_DOWN,
    "BandwidthLimitExceeded": _SLOW_DOWN,
    "ConditionalRequestConflict": _CONTENDED,
    "OperationAborted": _CONTENDED,
    # How Ceph (16) answers those who lost a race for one object: another write came in between.
    "UnknownError": _CONTENDED,
    "BadDigest": _DAMAGED,
    "InvalidDigest": _DAMAGED,
    "XAmzContentSHA256Mismatch": _DAMAGED,
    "XAmzContentChecksumMismatch": _DAMAGED,
    "IncompleteBody": _DAMAGED,
    "RequestTimeout": _SLOW_BODY,
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "InsufficientStorage": _FULL,
    "KeyTooLongError": _KEY,
    "InvalidURI": _KEY,
    "XMinioInvalidObjectName": _KEY,
    "EntityTooLarge": _LARGE,
    "InvalidObjectState": _ARCHIVED,
    "NotImplemented": _MISSING_FEATURE,
    "MethodNotAllowed": _MISSING_FEATURE,
}

STATUSES: Mapping[int, _Meaning] = {
    301: _REGION,
    307: _REGION,
    401: _UNAUTHENTICATED,
    403: _DENIED,
    404: _GONE,
    405: _MISSING_FEATURE,
    408: _SLOW_BODY,
    409: _CONTENDED,
    412: _CONDITION,
    413: _LARGE,
    416: _RANGE,
    429: _SLOW_DOWN,
    501: _MISSING_FEATURE,
    507: _FULL,
}


def _meaning_of(status: int, code: str) -> _Meaning:
    known = CODES.get(code) or STATUSES.get(status)
    if known is not None:
        return known
    return _BROKEN if status >= 500 or status == 200 else _REJECTED


def _refusal(
    status: int, code: str, text: str, headers: Mapping[str, str], region: str | None, where: Where
) -> Failure:
    meaning = _meaning_of(status, code)
    advice = meaning.advice
    if meaning is _REGION:
        region = region or headers.get("x-amz-bucket-region")
        known = f"in the region {region!r}" if region else "in another region or at another endpoint"
        advice = f"the bucket is {known}, not in {where.region!r}; set the option region"
    elif meaning is _SKEWED:
        advice = (
            f"this machine's clock is wrong (the server's says {headers.get('date', 'otherwise')}); set it"
        )
    elif meaning in (_REJECTED, _MISSING_FEATURE) and text:
        advice = f"{advice}: {text[:200]}"
    about = f"{where}: {advice} ({' '.join(str(each) for each in (status, code) if each)})"
    return Failure(
        meaning.cls(about, key=where.key),
        retry=meaning.retry,
        doubtful=meaning.doubtful,
        stale_credentials=meaning.stale_credentials,
        retry_after=_seconds(headers.get("retry-after")),
    )


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text is not None else None
    except ValueError:
        return None


# --- the SDK's and the network's errors --------------------------------------

_NO_ANSWER = _Meaning(Timeout, "the server did not answer in time", retry=True, doubtful=True)
_DROPPED = _Meaning(Unavailable, "the connection broke", retry=True, doubtful=True)
_CONNECTING = _Meaning(
    Unavailable,
    "no connection in time; check endpoint_url, the network and that the server runs",
    retry=True,
    unreachable=True,
)
_UNREACHABLE = _Meaning(
    Unavailable,
    "cannot connect; check endpoint_url, the network and that the server runs",
    retry=True,
    unreachable=True,
)
_TLS = _Meaning(
    Unavailable, "no trusted TLS connection; check endpoint_url and certificates", unreachable=True
)
_PROXY = _Meaning(
    Unavailable, "the proxy cannot be reached; check HTTPS_PROXY and NO_PROXY", retry=True, unreachable=True
)
_NO_CREDENTIALS = _Meaning(
    Unauthenticated,
    "no credentials; give access_key_id and secret_access_key, a profile or anonymous=true, or set "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
)
_RENEWAL = _Meaning(Unauthenticated, "the credentials could not be fetched or renewed; log in again")
_CONFIGURED = _Meaning(StorageConfigError, "the configuration does not fit")
_CRT = _Meaning(
    StorageConfigError, "this checksum_algorithm needs another package; pip install 'botocore[crt]'"
)

TABLE: Mapping[type[BaseException], _Meaning] = {
    sdk.EndpointConnectionError: _UNREACHABLE,
    sdk.ConnectTimeoutError: _CONNECTING,
    sdk.ConnectionError: _UNREACHABLE,
    sdk.ProxyConnectionError: _PROXY,
    sdk.SSLError: _TLS,
    sdk.ReadTimeoutError: _NO_ANSWER,
    sdk.ConnectionClosedError: _DROPPED,
    sdk.HTTPClientError: _DROPPED,
    sdk.IncompleteReadError: _DROPPED,
    sdk.ChecksumError: _DAMAGED,
    sdk.FlexibleChecksumError: _DAMAGED,
    sdk.NoCredentialsError: _NO_CREDENTIALS,
    sdk.PartialCredentialsError: _NO_CREDENTIALS,
    sdk.CredentialRetrievalError: _RENEWAL,
    sdk.TokenRetrievalError: _RENEWAL,
    sdk.MetadataRetrievalError: _RENEWAL,
    sdk.NoAuthTokenError: _RENEWAL,
    sdk.SSOError: _RENEWAL,
    sdk.RefreshWithMFAUnsupportedError: _RENEWAL,
    sdk.MissingDependencyException: _CRT,
    sdk.BotoCoreError: _CONFIGURED,
    aiohttp.ClientConnectorError: _UNREACHABLE,
    aiohttp.ClientConnectorCertificateError: _TLS,
    aiohttp.ClientConnectorSSLError: _TLS,
    aiohttp.ClientSSLError: _TLS,
    aiohttp.ConnectionTimeoutError: _CONNECTING,
    aiohttp.ServerTimeoutError: _NO_ANSWER,
    aiohttp.ClientError: _DROPPED,
    ConnectionError: _DROPPED,
    OSError: _DROPPED,
    asyncio.IncompleteReadError: _DROPPED,
    TimeoutError: _NO_ANSWER,
}


def failure_of(error: Exception, where: Where) -> Failure:
    """Judge what a request raised; raise the result's ``error`` ``from`` it."""
    if isinstance(error, StorageError):
        return Failure(error)
    if isinstance(error, IcechunkError):
        raise error
    if isinstance(error, Refused):
        return _refusal(error.status, error.code, error.text, error.headers, error.region, where)
    if isinstance(error, sdk.ClientError):
        return _from_client_error(error, where)
    if isinstance(error, RuntimeError) and "closed" in str(error).lower():
        return Failure(Closed(f"{where}: the storage was closed meanwhile; open it again", key=where.key))
    meaning = next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), None)
    if meaning is None:
        raise error
    cause = _innermost(error)
    if (
        meaning is _UNREACHABLE
        and isinstance(cause, aiohttp.ClientError | OSError)
        and not _connecting(cause)
    ):
        meaning = _DROPPED
    return Failure(
        meaning.cls(f"{where}: {meaning.advice} ({_told(error, cause)})", key=where.key),
        retry=meaning.retry,
        doubtful=meaning.doubtful,
        unreachable=meaning.unreachable,
        at_once=meaning is _DROPPED,
    )


def _from_client_error(error: sdk.ClientError, where: Where) -> Failure:
    response: Mapping[str, Any] = error.response
    told = response.get("Error", {})
    about = response.get("ResponseMetadata", {})
    status = int(about.get("HTTPStatusCode", 0))
    code = str(told.get("Code", ""))
    headers: Mapping[str, str] = about.get("HTTPHeaders", {})
    return _refusal(
        status,
        "" if code.isdigit() else code,
        str(told.get("Message", "")),
        headers,
        told.get("Region"),
        where,
    )


def _innermost(error: BaseException) -> BaseException:
    """The network's error inside the SDK's."""
    inner = getattr(error, "kwargs", {}).get("error") if isinstance(error, sdk.BotoCoreError) else None
    return inner if isinstance(inner, BaseException) else error


def _connecting(error: BaseException) -> bool:
    return isinstance(
        error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientSSLError
    )


def _told(error: BaseException, cause: BaseException) -> str:
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    if isinstance(error, sdk.BotoCoreError) and cause is error:
        return str(error)
    return type(cause).__name__
