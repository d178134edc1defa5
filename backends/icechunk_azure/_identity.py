"""What requests are signed with: values, and where they come from."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Protocol, TypeAlias
from urllib.parse import unquote

from attrs import field, frozen

from icechunk_core.clock import Clock, us_from_datetime
from icechunk_core.contract.credentials import AzureRefreshableCredential, AzureStaticCredentials
from icechunk_core.contract.errors import StorageConfigError, StorageError, Unauthenticated

__all__ = [
    "Bearer",
    "Fetched",
    "FixedSource",
    "Identity",
    "RenewedSource",
    "SasToken",
    "SharedKey",
    "Source",
    "Unsigned",
    "identity_of",
    "secrets_of",
]

_EARLY_US = 60_000_000
"""A credential is renewed a minute before its end: requests take time, and clocks differ."""


@frozen
class SharedKey:
    """The account's access key, base64 as the portal shows it."""

    account: str
    key: str = field(repr=False)


@frozen
class SasToken:
    """A shared access signature: a query string, without the question mark."""

    token: str = field(repr=False)


@frozen
class Bearer:
    """An OAuth token."""

    token: str = field(repr=False)


@frozen
class Unsigned:
    """No credential."""


Identity: TypeAlias = SharedKey | SasToken | Bearer | Unsigned


@frozen
class Fetched:
    """A credential from a function, with the end of its validity if it has one."""

    identity: Identity
    expires_after: datetime | None = None


_Given: TypeAlias = (
    AzureStaticCredentials.AccessKey
    | AzureStaticCredentials.SasToken
    | AzureStaticCredentials.BearerToken
    | AzureRefreshableCredential.AccessKey
    | AzureRefreshableCredential.SasToken
    | AzureRefreshableCredential.BearerToken
)


def identity_of(given: _Given, account: str) -> Identity:
    """The identity that a public credential value stands for.

    Raises
    ------
    StorageConfigError
        If an access key is not base64, or the value is no credential.
    """
    if isinstance(given, AzureStaticCredentials.AccessKey | AzureRefreshableCredential.AccessKey):
        try:
            base64.b64decode(given.key, validate=True)
        except (binascii.Error, ValueError):
            raise StorageConfigError(
                "the access key is not base64; copy it from the account's page 'Access keys'"
            ) from None
        return SharedKey(account, given.key)
    if isinstance(given, AzureStaticCredentials.SasToken | AzureRefreshableCredential.SasToken):
        return SasToken(given.token.strip().lstrip("?"))
    if isinstance(given, AzureStaticCredentials.BearerToken):
        return Bearer(given.token)
    if isinstance(given, AzureRefreshableCredential.BearerToken):
        return Bearer(given.bearer)
    raise StorageConfigError(f"a {type(given).__name__} is no credential for Azure")


def secrets_of(identity: Identity) -> tuple[str, ...]:
    """Texts that must not appear in a message."""
    if isinstance(identity, SharedKey):
        return (identity.key,)
    if isinstance(identity, Bearer):
        return (identity.token,)
    if isinstance(identity, SasToken):
        fields = dict(part.partition("=")[::2] for part in identity.token.split("&"))
        signature = fields.get("sig", "")
        return tuple(text for text in (signature, unquote(signature), identity.token) if text)
    return ()


class Source(Protocol):
    """Where the identity comes from."""

    renewable: bool

    async def current(self) -> Identity:
        """The identity to use now."""
        ...

    async def renewed(self, refused: Identity) -> Identity:
        """Another one, after the service refused this one."""
        ...


class FixedSource:
    """One identity for ever."""

    renewable = False

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def current(self) -> Identity:
        return self._identity

    async def renewed(self, refused: Identity) -> Identity:
        return refused


class RenewedSource:
    """Identities from a blocking function, which runs in a thread, once however many are waiting.

    Usable from several event loops and threads, and in a forked child.
    """

    renewable = True

    def __init__(self, fetch: Callable[[], Fetched], clock: Clock, held: Fetched | None = None) -> None:
        self._fetch = fetch
        self._clock = clock
        self._held = held
        self._reset()

    async def current(self) -> Identity:
        held = self._held
        if held is not None and not self._expires(held):
            return held.identity
        return await self._next(held)

    async def renewed(self, refused: Identity) -> Identity:
        held = self._held
        if held is not None and held.identity != refused and not self._expires(held):
            return held.identity
        return await self._next(held)

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._flight: Future[Fetched] | None = None

    def _expires(self, held: Fetched) -> bool:
        if held.expires_after is None:
            return False
        return us_from_datetime(held.expires_after) - _EARLY_US <= self._clock.now_us()

    async def _next(self, seen: Fetched | None) -> Identity:
        if self._pid != os.getpid():
            self._reset()  # the parent's thread is not here, and its lock may be held
        with self._lock:
            if self._held is not seen and self._held is not None and not self._expires(self._held):
                return self._held.identity
            flight = self._flight
            if flight is None:
                flight = self._flight = Future()
                thread = threading.Thread(target=self._run, args=(flight,), daemon=True)
                thread.start()
        # One waiter that is cancelled must not take the answer from the others.
        return (await asyncio.shield(asyncio.wrap_future(flight))).identity

    def _run(self, flight: Future[Fetched]) -> None:
        try:
            fetched = self._fetch()
        except StorageError as error:
            self._flight = None
            flight.set_exception(error)
        except BaseException as error:
            self._flight = None
            # What the function says may contain the secret; its type is enough to find it.
            flight.set_exception(
                Unauthenticated(
                    f"the function that renews the credentials failed with {type(error).__name__}; "
                    "call it by itself to see why"
                )
            )
        else:
            with self._lock:
                self._held = fetched
                self._flight = None
            flight.set_result(fetched)
