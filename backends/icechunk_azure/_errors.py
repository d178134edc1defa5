"""What the service's and the SDK's failures mean: the only place that names their exceptions.

Every failure leaves `_sdk` and `_lean` as `Failed`, which holds the storage error and what the retry loop
needs to know. `_retry` takes the storage error out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

import aiohttp
from azure.core.exceptions import (
    AzureError,
    DecodeError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseTimeoutError,
)

from icechunk_core.clock import Clock, datetime_from_us
from icechunk_core.contract.errors import (
    AlreadyExists,
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

__all__ = ["BLOCKS_GONE", "FAILURES", "Explainer", "Failed"]

FAILURES = (AzureError, aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError)
"""What the SDK and aiohttp raise when a request fails; the last two where an answer is malformed."""

BLOCKS_GONE = "InvalidBlockList"
"""Another write of the same blob discarded the blocks that were staged."""

_SKEW_SECONDS = 300
_UNSENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ServiceRequestTimeoutError)
_TIMEOUTS = (TimeoutError, ServiceRequestTimeoutError, ServiceResponseTimeoutError)

# The service's error codes, and what they mean to a caller.
_CODES: Mapping[str, tuple[type[StorageError], str]] = {
    "BlobNotFound": (NotFound, "no such object"),
    "ContainerNotFound": (
        StorageConfigError,
        "there is no such container; check the URL and the account, or create the container",
    ),
    "ContainerDisabled": (PermissionDenied, "the container is disabled"),
    "ContainerBeingDeleted": (Unavailable, "the container is being deleted; wait, and create it anew"),
    "AccountBeingCreated": (Unavailable, "the account is being created"),
    "BlobAlreadyExists": (AlreadyExists, "there is an object already"),
    "UnauthorizedBlobOverwrite": (PermissionDenied, "the credential allows new objects, not to overwrite"),
    "ConditionNotMet": (VersionMismatch, "there is another version"),
    "TargetConditionNotMet": (VersionMismatch, "there is another version"),
    "SourceConditionNotMet": (VersionMismatch, "the source has another version"),
    "CannotVerifyCopySource": (NotFound, "the object to copy is not there, or may not be read"),
    "InvalidRange": (InvalidRange, "the range starts past the object's end"),
    "AuthenticationFailed": (Unauthenticated, "the service refused the credential"),
    "InvalidAuthenticationInfo": (Unauthenticated, "the service refused the credential"),
    "NoAuthenticationInformation": (Unauthenticated, "the service wants a credential"),
    "KeyBasedAuthenticationNotPermitted": (
        Unauthenticated,
        "the account allows no access keys; use Azure AD or a user delegation SAS token",
    ),
    "PublicAccessNotPermitted": (Unauthenticated, "the account allows no anonymous reading"),
    "AuthorizationFailure": (
        PermissionDenied,
        "the service does not accept the credential, or its network rules exclude this machine's address",
    ),
    "AuthorizationPermissionMismatch": (PermissionDenied, "the credential does not allow this operation"),
    "AuthorizationResourceTypeMismatch": (
        PermissionDenied,
        "the SAS token is not for objects of a container; it needs the resource types 'c' and 'o'",
    ),
    "AuthorizationServiceMismatch": (PermissionDenied, "the SAS token is not for the blob service"),
    "AuthorizationSourceIPMismatch": (PermissionDenied, "the SAS token is not for this machine's address"),
    "AuthorizationProtocolMismatch": (PermissionDenied, "the SAS token is for https only"),
    "InsufficientAccountPermissions": (PermissionDenied, "the credential does not allow this operation"),
    "AccountIsDisabled": (PermissionDenied, "the account is disabled"),
    "LeaseIdMissing": (PermissionDenied, "somebody holds a lease on the object, which forbids writes"),
    "BlobImmutableDueToPolicy": (PermissionDenied, "a policy of the container forbids changing the object"),
    "SnapshotsPresent": (PermissionDenied, "the object has snapshots"),
    "BlobArchived": (Unsupported, "the object is in the archive tier; rehydrate it first"),
    "BlobBeingRehydrated": (Unavailable, "the object is being brought back from the archive tier"),
    "InvalidBlobType": (Unsupported, "the object is an append or page blob; only block blobs are written"),
    "BlobTierInadequateForContentLength": (Unsupported, "the object is too large for its access tier"),
    "AccessTierNotSupportedForBlobType": (Unsupported, "the account does not have this access tier"),
    "InvalidBlobTier": (Unsupported, "there is no such access tier; use Hot, Cool or Cold"),
    "RequestBodyTooLarge": (Unsupported, "the request is too large; lower single_put and block_size"),
    "BlockCountExceedsLimit": (Unsupported, "the object has too many blocks; raise block_size"),
    "MetadataTooLarge": (Unsupported, "the object's metadata is too large"),
    "InvalidMetadata": (Unsupported, "the object's metadata is refused"),
    "InvalidResourceName": (InvalidKey, "the name of the container or object is not allowed"),
    "InvalidUri": (InvalidKey, "the name is not allowed"),
    "InvalidHeaderValue": (Unsupported, "an option or the access tier is not one that the service knows"),
    "InsufficientStorage": (StorageFull, "the account is full"),
    "QuotaExceeded": (StorageFull, "the account is full"),
    "ServerBusy": (RateLimited, "the service asks to slow down"),
    "TooManyRequests": (RateLimited, "the service asks to slow down"),
    "OperationTimedOut": (Timeout, "the service did not finish in time"),
    "InternalError": (Unavailable, "the service failed inside"),
    "Md5Mismatch": (Unavailable, "the data was damaged on the way"),
    BLOCKS_GONE: (Unavailable, "another writer of the same object discarded the blocks of this one"),
}

# For answers without a code: of HEAD requests, proxies, load balancers.
_STATUSES: Mapping[int, tuple[type[StorageError], str]] = {
    401: (Unauthenticated, "the service refused the credential"),
    403: (PermissionDenied, "the service refused the request"),
    404: (NotFound, "no such object"),
    407: (Unavailable, "the proxy wants a credential; put it into the proxy's variable"),
    408: (Timeout, "the service did not get the request in time"),
    412: (VersionMismatch, "there is another version"),
    413: (Unsupported, "the request is too large; lower single_put and block_size"),
    416: (InvalidRange, "the range starts past the object's end"),
    429: (RateLimited, "the service asks to slow down"),
    504: (Timeout, "a gateway got no answer in time"),
    507: (StorageFull, "the account is full"),
}


class Failed(Exception):
    """A request that failed.

    Attributes
    ----------
    error
        What to raise in the end.
    cause
        The exception behind it; ``None`` where it could show a secret.
    unsent
        The service has not acted on it for certain.
    retry_after
        Seconds that the service asks to wait.
    code
        The service's error code.
    """

    def __init__(
        self,
        error: StorageError,
        cause: BaseException | None = None,
        *,
        unsent: bool = False,
        retry_after: float | None = None,
        code: str = "",
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.cause = cause
        self.unsent = unsent
        self.retry_after = retry_after
        self.code = code


class Explainer:
    """Turns failures into errors that say where they happened and what to check.

    Parameters
    ----------
    place
        Names container, account and host.
    host
        Of the endpoint.
    way
        How requests are authenticated, in words.
    secrets
        Texts that no message may have.
    """

    def __init__(self, place: str, host: str, way: str, secrets: tuple[str, ...], clock: Clock) -> None:
        self._place = place
        self._host = host
        self._way = way
        self._secrets = secrets
        self._clock = clock

    def response(
        self,
        status: int,
        code: str,
        headers: Mapping[str, str],
        key: str | None,
        cause: BaseException | None = None,
    ) -> Failed:
        """The failure that an answer of the service stands for."""
        kind, what = _CODES.get(code) or _STATUSES.get(status) or _other(status)
        text = f"object {key!r} in the {self._place}: {what}" if key is not None else f"{self._place}: {what}"
        if kind is Unauthenticated or status in (401, 403):
            text += f" ({self._way})" + self._skew(headers)
        elif kind is NotFound and code not in ("", "BlobNotFound", "CannotVerifyCopySource"):
            # Azure answers ResourceNotFound to those whom it does not tell more.
            text += f"; or the container may not be read ({self._way})"
        text += f" [{status} {code}]" if code else f" [{status}]"
        return Failed(
            kind(text, key=key),
            self._shown(cause),
            unsent=kind is RateLimited,
            retry_after=_seconds(headers.get("Retry-After")),
            code=code,
        )

    def exception(self, error: BaseException, key: str | None) -> Failed:
        """The failure behind an exception of the SDK or of aiohttp."""
        if isinstance(error, HttpResponseError) and error.response is not None and not _broken(error):
            headers: Mapping[str, str] = getattr(error.response, "headers", {})
            code = getattr(error, "error_code", None)
            code = getattr(code, "value", code) or headers.get("x-ms-error-code", "")
            return self.response(error.status_code or 0, str(code), headers, key, error)
        inner = getattr(error, "inner_exception", None) or error
        about = f"object {key!r}: " if key is not None else ""
        if isinstance(error, _UNSENT) or isinstance(inner, _UNSENT):
            return Failed(self._unreachable(inner, key), self._shown(error), unsent=True)
        if isinstance(error, _TIMEOUTS) or isinstance(inner, _TIMEOUTS):
            text = f"{about}no answer in time from {self._host}; repeat, or raise read_timeout"
            return Failed(Timeout(text, key=key), self._shown(error))
        if isinstance(error, ValueError | KeyError):
            text = f"{about}{self._host} gave an answer that no blob service gives; check the endpoint"
            return Failed(Unavailable(text, key=key), self._shown(error))
        if isinstance(error, ServiceRequestError) and inner is error:
            # The SDK refuses to send something, such as a token without encryption.
            text = f"{about}the request cannot be sent to {self._host}; check endpoint and credential"
            return Failed(StorageConfigError(text, key=key), self._shown(error))
        text = f"{about}the connection to {self._host} broke ({type(inner).__name__}); repeat"
        return Failed(Unavailable(text, key=key), self._shown(error))

    def _unreachable(self, error: BaseException, key: str | None) -> StorageError:
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            what = "its certificate is not trusted, or it does not speak TLS; check the endpoint's https"
        elif isinstance(error, aiohttp.ClientConnectorDNSError):
            what = "there is no such host; check the account's name, the endpoint and the network"
        elif isinstance(error, aiohttp.ClientConnectorError):
            what = (
                f"{error.os_error.strerror or 'no connection'}; check the endpoint, the network and proxies"
            )
        else:
            what = "no connection in time; check the endpoint, the network and proxies"
            return Timeout(f"cannot reach {self._host}: {what}", key=key)
        return Unavailable(f"cannot reach {self._host}: {what}", key=key)

    def _skew(self, headers: Mapping[str, str]) -> str:
        """A hint where this machine's clock is far from the service's: signatures expire."""
        try:
            theirs: datetime = parsedate_to_datetime(headers.get("Date", ""))
        except ValueError:
            return ""
        seconds = (datetime_from_us(self._clock.now_us()) - theirs).total_seconds()
        if abs(seconds) < _SKEW_SECONDS:
            return "; check that it belongs to this account and has not expired"
        side = "ahead of" if seconds > 0 else "behind"
        return f"; this machine's clock is {abs(seconds) / 60:.0f} minutes {side} the service's: set it"

    def _shown(self, cause: BaseException | None) -> BaseException | None:
        """The cause, unless its text or that of what it came from has a secret."""
        seen: BaseException | None = cause
        while seen is not None:
            text = f"{seen} {seen!r}"
            if any(secret in text for secret in self._secrets):
                return None
            seen = seen.__cause__ or seen.__context__
        return cause


def _broken(error: HttpResponseError) -> bool:
    """Whether the answer was a good one that did not arrive whole."""
    return isinstance(error, DecodeError | IncompleteReadError)


def _other(status: int) -> tuple[type[StorageError], str]:
    if status >= 500:
        return Unavailable, "the service failed"
    return StorageError, "the service refused the request"


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
