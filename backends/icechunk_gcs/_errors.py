"""What the failures of requests mean to a caller. The only place where the SDKs' exceptions are named."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping

import aiohttp
import requests
import urllib3
from attrs import frozen
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage import exceptions as storage

from icechunk_core.contract.errors import (
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
from icechunk_core.plugins.secrets import scrubbed

__all__ = ["SDK_ERRORS", "AttemptFailed", "failed_request", "failed_status", "names_the_object", "no_bucket"]


class AttemptFailed(Exception):
    """One attempt at an operation failed.

    Attributes
    ----------
    error
        What the caller is told if it is not tried again.
    again
        Whether another attempt may succeed.
    landed
        Whether a write may have happened all the same, or may still.
    connecting
        Whether there was no connection to the server.
    wait
        Seconds that the server asks to wait.
    """

    def __init__(
        self,
        error: StorageError,
        *,
        again: bool = False,
        landed: bool = False,
        connecting: bool = False,
        wait: float = 0.0,
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.again = again
        self.landed = landed
        self.connecting = connecting
        self.wait = wait


# --- answers that tell of a failure ------------------------------------------


@frozen
class _Meaning:
    error: type[StorageError]
    advice: str
    again: bool = False
    landed: bool = False


_BROKEN = "the server failed inside; repeat later"
_STATUS: dict[int, _Meaning] = {
    400: _Meaning(StorageError, "the server does not accept the request"),
    401: _Meaning(
        Unauthenticated, "credentials are missing, wrong or expired; check them, and this machine's clock"
    ),
    403: _Meaning(PermissionDenied, "access is denied; check that the account may do this on the bucket"),
    404: _Meaning(NotFound, "no such object"),
    405: _Meaning(Unsupported, "the server does not know this operation"),
    408: _Meaning(Timeout, "the server waited too long for the request", again=True, landed=True),
    409: _Meaning(Unavailable, "another change of the same object is under way", again=True),
    410: _Meaning(Unavailable, "the upload was given up by the server; repeat it", again=True, landed=True),
    412: _Meaning(VersionMismatch, "the object has another version"),
    413: _Meaning(Unsupported, "the object is larger than the server takes"),
    416: _Meaning(InvalidRange, "the range starts at or past the object's end"),
    429: _Meaning(RateLimited, "too many requests, or writes of one object; slow down", again=True),
    500: _Meaning(Unavailable, _BROKEN, again=True, landed=True),
    501: _Meaning(Unsupported, "the server does not know this operation"),
    502: _Meaning(Unavailable, _BROKEN, again=True, landed=True),
    503: _Meaning(Unavailable, "the server is overloaded; repeat later", again=True, landed=True),
    504: _Meaning(Timeout, "the server did not finish in time", again=True, landed=True),
    507: _Meaning(StorageFull, "the quota is full; free some space"),
}

_LIMITS = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "SlowDown", "TooManyRequests"})
_NO_BUCKET = re.compile(r"NoSuchBucket|specified bucket does not exist", re.IGNORECASE)
_NO_OBJECT = re.compile(r"NoSuchKey|No such object")
_PAYER = re.compile(r"requester pays|UserProjectMissing", re.IGNORECASE)


def failed_status(
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    key: str | None,
    bucket: str,
    secrets: frozenset[str] = frozenset(),
) -> AttemptFailed:
    """The failure that an HTTP answer tells of; 3xx that nobody followed included."""
    reason, said = _said(body)
    said = scrubbed(said, secrets)
    wait = _seconds(headers.get("retry-after"))
    about = f"object {key!r}: " if key is not None else f"bucket {bucket!r}: "
    detail = f" (HTTP {' '.join(filter(None, (str(status), reason)))}{': ' + said if said else ''})"
    if status == 404 and (key is None or _NO_BUCKET.search(f"{reason} {said}")):
        return AttemptFailed(no_bucket(bucket, key))
    if _PAYER.search(f"{reason} {said}"):
        return AttemptFailed(
            PermissionDenied(
                f"{about}the bucket makes its readers pay; name the project that pays with the option "
                f"'user_project'{detail}",
                key=key,
            )
        )
    if status == 403 and reason in _LIMITS:
        status = 429
    meaning = _STATUS.get(status) or (_STATUS[500] if status >= 500 else _STATUS[400])
    return AttemptFailed(
        meaning.error(f"{about}{meaning.advice}{detail}", key=key),
        again=meaning.again,
        landed=meaning.landed,
        wait=wait,
    )


def names_the_object(error: NotFound) -> bool:
    """Whether the server said that it is the object that is missing, and not the bucket."""
    return _NO_OBJECT.search(error.message) is not None


def no_bucket(bucket: str, key: str | None = None) -> StorageError:
    """There is no such bucket."""
    return StorageConfigError(
        f"there is no bucket {bucket!r}; check its name and the endpoint, or create it first", key=key
    )


def _said(body: bytes) -> tuple[str, str]:
    """The reason's code and the message in a failure's body, JSON or XML."""
    text = body[:20_000].decode("utf-8", "replace")
    try:
        error = json.loads(text)["error"]
        details = error.get("errors") or [{}]
        return str(details[0].get("reason", "")), str(error.get("message", ""))[:500]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        code = re.search(r"<Code>([^<]*)</Code>", text)
        message = re.search(r"<Message>([^<]*)</Message>", text)
        return (code[1] if code else ""), (message[1] if message else "")[:500]


def _seconds(text: str | None) -> float:
    """``Retry-After`` in seconds; dates, which Google does not send, count as none."""
    return float(text) if text is not None and text.isdigit() else 0.0


# --- requests without an answer ----------------------------------------------

_UNREACHABLE = (
    "cannot connect to {endpoint}; check the network, the proxy settings and the option 'endpoint_url'"
)
_LOST = "the connection to {endpoint} broke; repeat later"
_SLOW = "{endpoint} did not answer in time; repeat later, or raise the option 'read_timeout'"
_TLS = "no secure connection to {endpoint} could be made; check its certificate and this machine's clock"
_NO_CREDENTIALS = (
    "no usable credentials; run 'gcloud auth application-default login', set GOOGLE_APPLICATION_CREDENTIALS, "
    "pass credentials, or open a public bucket with anonymous=True"
)
_NOT_RENEWED = (
    "the credentials could not be renewed; check that they are valid, and this machine's clock; log in again"
)


@frozen
class _Cause:
    error: type[StorageError]
    advice: str
    again: bool = True
    landed: bool = False
    connecting: bool = False


_DOWN = _Cause(Unavailable, _UNREACHABLE, connecting=True)
_UNSAFE = _Cause(Unavailable, _TLS, again=False)
_CUT = _Cause(Unavailable, _LOST, landed=True)
_LATE = _Cause(Timeout, _SLOW, landed=True)
_CONNECTING_LATE = _Cause(Unavailable, _UNREACHABLE, connecting=True)

# The first that fits counts: special cases stand before the general ones.
_EXCEPTIONS: tuple[tuple[type[Exception], _Cause], ...] = (
    (auth.DefaultCredentialsError, _Cause(Unauthenticated, _NO_CREDENTIALS, again=False)),
    (auth.TransportError, _Cause(Unavailable, "the server that renews credentials cannot be reached")),
    (auth.RefreshError, _Cause(Unauthenticated, _NOT_RENEWED, again=False)),
    (auth.GoogleAuthError, _Cause(Unauthenticated, _NO_CREDENTIALS, again=False)),
    (
        storage.DataCorruption,
        _Cause(Unavailable, "bytes were damaged on their way to {endpoint}", landed=True),
    ),
    (storage.InvalidResponse, _CUT),
    (requests.exceptions.SSLError, _UNSAFE),
    (requests.exceptions.ProxyError, _DOWN),
    (requests.exceptions.ConnectTimeout, _CONNECTING_LATE),
    (requests.exceptions.Timeout, _LATE),
    (requests.exceptions.RequestException, _CUT),
    (urllib3.exceptions.TimeoutError, _LATE),
    (urllib3.exceptions.HTTPError, _CUT),
    (aiohttp.ClientConnectorCertificateError, _UNSAFE),
    (aiohttp.ClientSSLError, _UNSAFE),
    (aiohttp.ClientConnectorError, _DOWN),
    (aiohttp.ClientProxyConnectionError, _DOWN),
    (aiohttp.ConnectionTimeoutError, _CONNECTING_LATE),
    (asyncio.TimeoutError, _LATE),
    (aiohttp.ClientError, _CUT),
    (OSError, _CUT),
)

SDK_ERRORS: tuple[type[Exception], ...] = (api.GoogleAPICallError, *(kind for kind, _ in _EXCEPTIONS))
"""What a request may raise; anything else is a bug and passes as it is."""


def failed_request(
    error: BaseException,
    *,
    key: str | None,
    bucket: str,
    endpoint: str,
    secrets: frozenset[str] = frozenset(),
) -> AttemptFailed:
    """The failure that an exception of a client tells of; raise it ``from`` the original."""
    if isinstance(error, api.GoogleAPICallError):
        response = error.response
        body = response.content if response is not None else str(error.message).encode()
        headers = response.headers if response is not None else {}
        return failed_status(int(error.code or 500), body, headers, key=key, bucket=bucket, secrets=secrets)
    cause = next(cause for kind, cause in _EXCEPTIONS if isinstance(error, kind))
    if cause is _CUT and _never_connected(error):
        cause = _DOWN
    about = f"object {key!r}: " if key is not None else ""
    return AttemptFailed(
        cause.error(about + cause.advice.format(endpoint=endpoint), key=key),
        again=cause.again or getattr(error, "retryable", False) is True,
        landed=cause.landed,
        connecting=cause.connecting,
    )


def _never_connected(error: BaseException) -> bool:
    """Whether requests' exception wraps a connection that could not be made."""
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", inner)
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.NameResolutionError)
