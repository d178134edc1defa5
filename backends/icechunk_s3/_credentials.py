"""Credentials that renew themselves: one renewal for everybody who waits."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC

from icechunk_core.clock import Clock, us_from_datetime
from icechunk_core.contract.credentials import AnyS3Credential, S3Credentials, S3StaticCredentials
from icechunk_core.contract.errors import Unauthenticated

__all__ = ["CredentialSource", "RenewedCredentials"]

MARGIN_US = 60_000_000
"""Renew this long before the end: requests that are under way need valid credentials too."""


class CredentialSource:
    """The keys that a storage signs with, for all its event loops.

    Attributes
    ----------
    anonymous
        Requests are not signed.
    from_environment
        The SDK finds the credentials, and renews them.
    """

    def __init__(self, signing: AnyS3Credential, clock: Clock) -> None:
        self.anonymous = isinstance(signing, S3Credentials.Anonymous)
        self.from_environment = isinstance(signing, S3Credentials.FromEnv)
        self._renewed = (
            RenewedCredentials(signing.fetch, signing.current, clock)
            if isinstance(signing, S3Credentials.Refreshable)
            else None
        )
        self._fixed = signing.credentials if isinstance(signing, S3Credentials.Static) else None

    async def current(self) -> S3StaticCredentials | None:
        """The key to sign with now; ``None`` if the SDK is to find one, or for no signature.

        Raises
        ------
        Unauthenticated
            If it has expired, or could not be renewed.
        """
        return self._fixed if self._renewed is None else await self._renewed.current()

    def drop(self) -> bool:
        """Forget the key, since a server refused it as expired; whether there will be another."""
        if self._renewed is None:
            return False
        self._renewed.drop()
        return True


class RenewedCredentials:
    """Calls a user's function for new credentials when they end; however many wait, once.

    Used from several event loops. The function runs in a thread of its own, since it may block.
    """

    def __init__(
        self, fetch: Callable[[], S3StaticCredentials], current: S3StaticCredentials | None, clock: Clock
    ) -> None:
        self._fetch = fetch
        self._current = current
        self._clock = clock
        self._lock = threading.Lock()
        self._renewal: Future[S3StaticCredentials] | None = None
        _live.add(self)

    async def current(self) -> S3StaticCredentials:
        """Valid credentials, renewed if need be."""
        current = self._current
        if current is not None and self._valid(current):
            return current
        with self._lock:
            if self._current is not None and self._valid(self._current):
                return self._current
            renewal = self._renewal
            if renewal is None:
                renewal = self._renewal = Future()
                threading.Thread(
                    target=self._renew, args=(renewal,), name="icechunk-s3-renewal", daemon=True
                ).start()
        return await asyncio.shield(asyncio.wrap_future(renewal))

    def drop(self) -> None:
        """Renew at the next use, even if they should still be valid."""
        with self._lock:
            self._current = None

    def after_fork(self) -> None:
        """Let go of what a thread of the parent process may hold."""
        self._lock = threading.Lock()
        self._renewal = None

    def _valid(self, credentials: S3StaticCredentials) -> bool:
        end = credentials.expires_after
        if end is None:
            return True
        return (
            us_from_datetime(end if end.tzinfo else end.replace(tzinfo=UTC)) - MARGIN_US
            > self._clock.now_us()
        )

    def _renew(self, renewal: Future[S3StaticCredentials]) -> None:
        try:
            fetched = self._fetch()
            if not isinstance(fetched, S3StaticCredentials):
                raise TypeError(f"it returned a {type(fetched).__name__}, not S3StaticCredentials")
        except Exception as error:
            told = str(error) if isinstance(error, TypeError) else type(error).__name__
            failure = Unauthenticated(f"the function that renews the S3 credentials failed: {told}")
            failure.__cause__ = error
            with self._lock:
                self._renewal = None
            renewal.set_exception(failure)
        else:
            with self._lock:
                self._current, self._renewal = fetched, None
            renewal.set_result(fetched)


_live: weakref.WeakSet[RenewedCredentials] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for each in list(_live):
        each.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
