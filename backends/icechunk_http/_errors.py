"""What a server's statuses and aiohttp's exceptions mean to a caller. The only place where they are named."""

from __future__ import annotations

import asyncio
import email.utils
import ssl
from collections.abc import Mapping

import aiohttp

from icechunk_core.clock import us_from_datetime
from icechunk_core.contract.errors import (
    InvalidKey,
    InvalidRange,
    NotFound,
    PermissionDenied,
    RateLimited,
    StorageError,
    Timeout,
    Unauthenticated,
    Unavailable,
    Unsupported,
    VersionMismatch,
)

__all__ = ["NETWORK_ERRORS", "from_exception", "from_status", "never_connected", "retry_after"]

NETWORK_ERRORS = (aiohttp.ClientError, OSError, asyncio.TimeoutError, asyncio.IncompleteReadError)
"""What aiohttp raises; everything else is a bug."""

_STATUSES: dict[int, tuple[type[StorageError], str]] = {
    400: (Unsupported, "the server does not understand the request; check the address"),
    401: (Unauthenticated, "the server wants credentials or refuses those given; check headers and token"),
    403: (PermissionDenied, "the server denies access; check the address, headers and token"),
    404: (NotFound, "the server has no such object"),
    405: (Unsupported, "the server does not allow this kind of request; it is perhaps no file server"),
    407: (Unauthenticated, "the proxy wants credentials; put them into the proxy's address"),
    408: (Timeout, "the server gave up waiting"),
    410: (NotFound, "the object is gone for good"),
    412: (VersionMismatch, "the object has another version"),
    414: (InvalidKey, "the server finds the address too long"),
    416: (InvalidRange, "the byte range starts past the object's end"),
    425: (Unavailable, "the server wants the request again later"),
    429: (RateLimited, "the server asks to slow down"),
    451: (PermissionDenied, "the server may not show the object for legal reasons"),
    504: (Timeout, "the server's own server did not answer in time"),
}
_SERVER_FAILED = (Unavailable, "the server failed; repeat later")
_UNEXPECTED = (Unavailable, "the server gave an answer that makes no sense here; check the address")


def from_status(status: int, key: str, address: str, *, forbidden_is_missing: bool = False) -> StorageError:
    """The error for an answer's status.

    >>> from_status(404, "repo", "https://host/r/repo").kind
    'object-not-found'
    """
    if status == 403 and forbidden_is_missing:
        status = 404
    cls, advice = _STATUSES.get(status, _SERVER_FAILED if status >= 500 else _UNEXPECTED)
    return cls(f"object {key!r}: {advice} (status {status} from {address})", key=key)


def from_exception(error: BaseException, key: str, address: str) -> StorageError:
    """The error for a request that got no usable answer; raise it ``from`` the original."""
    cls: type[StorageError] = Unavailable
    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        advice = "the proxy cannot be used; check HTTP_PROXY, HTTPS_PROXY, NO_PROXY or the option 'proxy'"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        advice = "the host's name cannot be resolved; check its spelling and the network"
    elif isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        advice = "TLS failed; check the certificate, the clock, and whether the port speaks https"
    elif isinstance(error, aiohttp.ConnectionTimeoutError):
        cls, advice = Timeout, "no connection in time; check host, port and firewall"
    elif isinstance(error, aiohttp.ClientConnectorError):
        advice = "the connection was refused; check host and port, and that the server runs"
    elif isinstance(error, asyncio.TimeoutError):
        cls, advice = Timeout, "no answer in time"
    elif isinstance(error, aiohttp.ClientPayloadError | asyncio.IncompleteReadError):
        advice = "the answer broke off"
    elif isinstance(error, aiohttp.InvalidURL):
        cls, advice = InvalidKey, "the address cannot be requested"
    else:
        advice = "the connection failed"
    return cls(f"object {key!r}: {advice} ({type(error).__name__} at {address})", key=key)


def never_connected(error: BaseException | None) -> bool:
    """Whether no connection came about, which hardly changes within seconds."""
    return isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


def retry_after(headers: Mapping[str, str], now_us: int) -> float | None:
    """Seconds that the server asks to wait: a number, or a date.

    >>> retry_after({"Retry-After": "3"}, 0)
    3.0
    """
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (us_from_datetime(moment) - now_us) / 1_000_000)
