"""Tokens that sign requests: found or made on first use, renewed once however many wait for them."""

from __future__ import annotations

import json
import os
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import google.auth
import google.auth.credentials
import google.auth.transport.requests
import google.oauth2.credentials
import requests
from google.auth import exceptions
from google.oauth2 import service_account

from icechunk_core.clock import Clock, datetime_from_us
from icechunk_core.contract import child_safe
from icechunk_core.contract.credentials import (
    AnyGcsStaticCredential,
    GcsBearerCredential,
    GcsCredentials,
    GcsStaticCredentials,
)
from icechunk_core.contract.errors import StorageConfigError, Unauthenticated
from icechunk_core.errors import IcechunkError
from icechunk_gcs._settings import Settings, check_token

__all__ = ["Tokens"]

_SCOPE = "https://www.googleapis.com/auth/devstorage."
_EARLY = timedelta(seconds=60)
"""Tokens are renewed this long before they end, so that none ends on its way."""


class Tokens:
    """The headers that authenticate requests, for all threads and event loops of a client."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = child_safe(threading.Lock())
        self._signed: Mapping[str, str] | None = None
        self._ends_us: int | None = None
        self._source: _Source | None = None

    def at_hand(self) -> Mapping[str, str] | None:
        """The headers, if they are valid as they are; never blocks."""
        signed, ends = self._signed, self._ends_us
        if signed is None or (ends is not None and self._clock.now_us() >= ends):
            return None
        return signed

    def headers(self) -> Mapping[str, str]:
        """The headers, renewed if need be; may wait for the network."""
        signed = self.at_hand()
        return self._renewed(None) if signed is None else signed

    def refused(self, sent: Mapping[str, str]) -> bool:
        """Tell that the server refused these headers; whether there are others to try."""
        if self._source is None or not self._source.renews:
            return False
        return self._renewed(sent) is not sent

    def _renewed(self, refused: Mapping[str, str] | None) -> Mapping[str, str]:
        with self._lock:
            signed = self.at_hand()
            if signed is not None and signed is not refused:
                return signed  # somebody else did it while we waited
            if self._source is None:
                self._source = _source_of(self._settings)
            self._signed, self._ends_us = self._source.fetch(again=refused is not None)
            return self._signed


class _Source(ABC):
    """Where headers come from. Without an end they are used until the server refuses them."""

    renews = False

    @abstractmethod
    def fetch(self, *, again: bool) -> tuple[Mapping[str, str], int | None]:
        """Fresh headers, and when they have to be renewed, in µs since 1970."""


class _Fixed(_Source):
    def __init__(self, token: str | None) -> None:
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}

    def fetch(self, *, again: bool) -> tuple[Mapping[str, str], int | None]:
        return self._headers, None


class _Function(_Source):
    """A function of the user's, and perhaps a first token that came along."""

    renews = True

    def __init__(self, credential: GcsCredentials.Refreshable) -> None:
        self._credential = credential
        self._first = credential.current

    def fetch(self, *, again: bool) -> tuple[Mapping[str, str], int | None]:
        token: object = self._first
        self._first = None
        if token is None or again:
            token = self._asked()
        if not isinstance(token, GcsBearerCredential):
            raise StorageConfigError(
                f"the function that renews credentials returned a {type(token).__name__}; "
                "it has to return a GcsBearerCredential"
            )
        ends = None
        if token.expires_after is not None:
            ends = _us(token.expires_after.timestamp() - _EARLY.total_seconds())
        return {"authorization": f"Bearer {check_token(token.bearer)}"}, ends

    def _asked(self) -> object:
        try:
            return self._credential.fetch()
        except IcechunkError:
            raise
        except Exception as error:
            raise Unauthenticated(
                f"the function that renews credentials failed ({type(error).__name__}); see its error"
            ) from error


class _Google(_Source):
    """Credentials of Google's library, which fetches tokens itself."""

    renews = True

    def __init__(self, credentials: Any, timeout: float) -> None:
        self._credentials = credentials
        self._timeout = timeout

    def fetch(self, *, again: bool) -> tuple[Mapping[str, str], int | None]:
        with requests.Session() as session:
            request = google.auth.transport.requests.Request(session)
            self._credentials.refresh(_with_timeout(request, self._timeout))
        headers: dict[str, str] = {}
        self._credentials.apply(headers)
        ends = None
        if self._credentials.expiry is not None:  # naive, in UTC
            expiry = self._credentials.expiry.replace(tzinfo=datetime_from_us(0).tzinfo)
            ends = _us(expiry.timestamp() - _EARLY.total_seconds())
        return headers, ends


def _us(seconds: float) -> int:
    return int(seconds * 1_000_000)


def _with_timeout(request: Any, timeout: float) -> Any:
    """Google's library waits two minutes for a token otherwise."""

    def limited(url: str, *arguments: Any, **keywords: Any) -> Any:
        return request(url, *arguments, **{**keywords, "timeout": timeout})

    return limited


# --- sources -----------------------------------------------------------------


def _source_of(settings: Settings) -> _Source:
    """The source for the configured credential.

    Raises
    ------
    StorageConfigError
        If a key or file is not what it should be.
    google.auth.exceptions.GoogleAuthError
        If nothing is found in the environment.
    """
    credential = settings.credential
    if isinstance(credential, GcsCredentials.Anonymous):
        return _Fixed(None)
    if isinstance(credential, GcsCredentials.Refreshable):
        return _Function(credential)
    scopes = [_SCOPE + ("read_only" if settings.config.read_only else "read_write")]
    timeout = settings.config.connect_timeout * 2
    if isinstance(credential, GcsCredentials.FromEnv):
        found, _ = google.auth.default(scopes=scopes)
        return _Google(found, timeout)
    return _static(credential.credentials, scopes, timeout)


def _static(credential: AnyGcsStaticCredential, scopes: list[str], timeout: float) -> _Source:
    if isinstance(credential, GcsStaticCredentials.BearerToken):
        return _Fixed(credential.token)
    try:
        return _Google(_google_credentials(credential, scopes), timeout)
    except OSError as error:
        path = getattr(credential, "path", "")
        raise StorageConfigError(f"cannot read the credentials file {path!r} ({error.strerror})") from None
    except exceptions.DefaultCredentialsError:
        path = getattr(credential, "path", "")
        raise StorageConfigError(
            f"{path!r} is no credentials file; pass one that Google or gcloud made"
        ) from None
    except ValueError:
        # Its message may show parts of the key.
        raise StorageConfigError(
            "the service account's key is malformed; pass the JSON that Google made, unchanged"
        ) from None


def _google_credentials(credential: AnyGcsStaticCredential, scopes: list[str]) -> Any:
    made: Any = service_account.Credentials
    if isinstance(credential, GcsStaticCredentials.ServiceAccount):
        path = os.path.expanduser(credential.path)
        return made.from_service_account_file(path, scopes=scopes)
    if isinstance(credential, GcsStaticCredentials.ServiceAccountKey):
        return made.from_service_account_info(json.loads(credential.key), scopes=scopes)
    assert isinstance(credential, GcsStaticCredentials.ApplicationCredentials)
    with warnings.catch_warnings():
        # It warns of files from strangers; this one was named by whoever opens the storage.
        warnings.simplefilter("ignore")
        load: Any = google.auth.load_credentials_from_file
        found, _ = load(os.path.expanduser(credential.path), scopes=scopes)
    return found
