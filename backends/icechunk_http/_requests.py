"""Requests: redirects, retries with full jitter, and one deadline for all of it."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

from icechunk_core.clock import Clock
from icechunk_core.contract import RetryPolicy, note_retry
from icechunk_core.contract.errors import NotFound, PermissionDenied, StorageError, Unavailable
from icechunk_core.errors import ErrorKind
from icechunk_core.ids import IdSource
from icechunk_http._config import HttpConfig
from icechunk_http._errors import NETWORK_ERRORS, from_exception, from_status, never_connected, retry_after
from icechunk_http._proxies import proxy_for
from icechunk_http._sessions import Sessions

__all__ = ["LeadsElsewhere", "Requests"]

T = TypeVar("T")

_log = logging.getLogger("icechunk_core.http")

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ATTEMPTS_TO_CONNECT = 2
"""A host that cannot be reached is reported soon."""


class LeadsElsewhere(StorageError):
    """The server redirects to something that is no web address."""

    def __init__(self, location: str, key: str) -> None:
        scheme = urlsplit(location).scheme
        super().__init__(
            f"object {key!r}: the server redirects to a {scheme}: address; if it tells where a repository "
            "is, open it with redirect_storage",
            key=key,
            kind=ErrorKind.BAD_REDIRECT,
        )
        self.location = location


class _Failed(Exception):
    """A failed attempt: what to tell the caller, and how long the server wants to be left alone."""

    def __init__(self, error: StorageError, wait: float | None = None, *, hopeless: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait = wait
        self.hopeless = hopeless


class Requests:
    """Sends requests below one address."""

    def __init__(
        self,
        config: HttpConfig,
        clock: Clock,
        ids: IdSource,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._policy = RetryPolicy(
            config.max_attempts, config.first_wait, config.longest_wait, config.deadline
        )
        self._clock = clock
        self._ids = ids
        self._sleep = sleep
        self._sessions = Sessions(config)
        self._own_headers = {"Accept-Encoding": "identity", **_credentials(config)}
        self._origin = _origin(config.base_url)

    async def close(self) -> None:
        """Close the connections."""
        await self._sessions.close()

    async def send(
        self,
        method: str,
        address: str,
        key: str,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """What ``read`` makes of the answer; it raises storage errors, or lets the network's pass.

        Raises
        ------
        StorageError
            The last attempt's failure, once attempts or time are used up.
        """
        deadline = self._clock.monotonic() + self._config.deadline
        failures = 0
        while True:
            remaining = max(0.001, deadline - self._clock.monotonic())
            try:
                return await self._attempt(method, address, key, read, headers or {}, remaining)
            except _Failed as failed:
                failures += 1
                if not failed.error.retryable or failures >= self._most(failed):
                    raise failed.error from failed.error.__cause__
                reason = failed.error.message
                wait = self._wait(failures, failed.wait)
                if self._clock.monotonic() + wait >= deadline:
                    raise failed.error from failed.error.__cause__
            _log.info("%s; trying again in %.2f s", reason, wait)
            await self._sleep(wait)
            note_retry()

    def _most(self, failed: _Failed) -> int:
        most = self._config.max_attempts
        return min(_ATTEMPTS_TO_CONNECT, most) if failed.hopeless else most

    def _wait(self, failures: int, asked: float | None) -> float:
        jittered = self._policy.wait(failures, self._ids.uniform())
        return jittered if asked is None else max(asked, jittered)

    async def _attempt(
        self,
        method: str,
        address: str,
        key: str,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        headers: Mapping[str, str],
        seconds: float,
    ) -> T:
        try:
            async with asyncio.timeout(seconds):
                response = await self._follow(method, address, key, headers)
                try:
                    if response.status == 429 or response.status >= 500 or response.status == 408:
                        raise _Failed(
                            from_status(response.status, key, address),
                            retry_after(response.headers, self._clock.now_us()),
                        )
                    return await read(response)
                finally:
                    response.release()
        except StorageError as error:
            raise _Failed(error) from error
        except NETWORK_ERRORS as error:
            failure = from_exception(error, key, address)
            failure.__cause__ = error
            raise _Failed(failure, hopeless=never_connected(error)) from error

    async def _follow(
        self, method: str, address: str, key: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """The answer behind all redirects. Headers of ours go to our own host only."""
        session = await self._sessions.get()
        current = address
        for _ in range(self._config.max_redirects + 1):
            own = self._own_headers if _origin(current) == self._origin else {"Accept-Encoding": "identity"}
            response = await session.request(
                method,
                URL(current, encoded=True),
                headers={**own, **headers},
                allow_redirects=False,
                proxy=proxy_for(current, self._config),
            )
            target = response.headers.get("Location")
            if response.status not in REDIRECTS or not target:
                return response
            response.release()
            following = self._target(current, target, key)
            if urlsplit(following).path == urlsplit(current).path + "/":
                # No key ends with a slash: this is a directory, and what follows its listing.
                raise NotFound(f"object {key!r}: the server has a directory there ({address})", key=key)
            current = following
        raise Unavailable(
            f"object {key!r}: more than {self._config.max_redirects} redirects, perhaps in a circle, from "
            f"{address}; check the server",
            key=key,
        )

    def _target(self, current: str, target: str, key: str) -> str:
        joined = urljoin(current, target)
        scheme = urlsplit(joined).scheme
        if scheme not in ("http", "https"):
            raise LeadsElsewhere(joined, key)
        if scheme == "http" and current.startswith("https:"):
            raise PermissionDenied(
                f"object {key!r}: the server redirects from https to http, which is not followed", key=key
            )
        return str(URL(joined))


def _origin(address: str) -> tuple[str, str | None, int | None]:
    url = URL(address)
    return url.scheme, url.host, url.port


def _credentials(config: HttpConfig) -> dict[str, str]:
    headers = dict(config.headers)
    if config.bearer_token is not None:
        headers["Authorization"] = f"Bearer {config.bearer_token}"
    if config.username is not None:
        pair = f"{config.username}:{config.password or ''}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return headers
