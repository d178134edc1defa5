"""Redirect storage: a web server tells, by redirecting, which storage holds a repository."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp

from icechunk_core.clock import Clock, SystemClock
from icechunk_core.contract import (
    Buffer,
    ByteRange,
    Capabilities,
    ObjectInfo,
    Storage,
    Version,
    child_safe,
    hookimpl,
)
from icechunk_core.contract.errors import Closed, ReadOnly, StorageError
from icechunk_core.errors import ErrorKind
from icechunk_core.ids import IdSource, SystemIds
from icechunk_core.plugins import open_storage
from icechunk_http import _capabilities
from icechunk_http._config import HttpConfig, RedirectConfig
from icechunk_http._errors import from_status
from icechunk_http._requests import LeadsElsewhere, Requests
from icechunk_http._writing import RefusesWrites

__all__ = ["RedirectStorage", "storage_url"]

_WEB = {"http+icechunk": "http", "https+icechunk": "https"}
_NETWORK = frozenset({"s3", "r2", "tigris", "hf", "gs", "gcs", "az", "azure", "abfs", "abfss"})
"""A server may send its readers to other servers, never to their own files or to any plugin."""

_OPTIONS = frozenset(
    {"account", "account_id", "anonymous", "force_path_style", "region", "requester_pays",
     "use_weak_consistency"}
)  # fmt: skip
"""What a server may choose for its readers: not where their credentials are sent."""


def storage_url(location: str, address: str) -> str:
    """The storage URL that a redirect names.

    Raises
    ------
    StorageError
        Of the kind ``bad-redirect``, if it names none that a server may choose.

    >>> storage_url("https+icechunk://host/path", "https://who/asks")
    'https://host/path'
    """
    parts = urlsplit(location)
    if parts.scheme in _WEB:
        return _WEB[parts.scheme] + "://" + location.partition("://")[2]
    if parts.scheme not in _NETWORK:
        raise _bad(
            f"{address} redirects to a URL with the scheme {parts.scheme!r}, where a storage such as "
            "s3://bucket/prefix or https+icechunk://host/path is due"
        )
    refused = sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} - _OPTIONS)
    if refused:
        raise _bad(
            f"{address} redirects to a storage with the options {', '.join(refused)}, which are not a "
            "server's to choose; open that storage directly if you trust it"
        )
    return location


def _bad(message: str) -> StorageError:
    return StorageError(message, kind=ErrorKind.BAD_REDIRECT)


class RedirectStorage(RefusesWrites):
    """The storage that the redirect leads to, asked for at the first operation, for reading."""

    def __init__(
        self, config: RedirectConfig, clock: Clock | None = None, ids: IdSource | None = None
    ) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._ids = ids or SystemIds()
        self._lock = child_safe(threading.Lock())
        self._target: Storage | None = None
        self._closed = False

    async def _storage(self) -> Storage:
        if self._closed:
            raise Closed("this redirect storage was closed; open it again")
        if self._target is None:
            found = open_storage(storage_url(await self._location(), self._shown()))
            with self._lock:
                self._target = self._target or found
        return self._target

    async def _location(self) -> str:
        config = self._config
        parts = urlsplit(config.base_url)
        requests = Requests(
            HttpConfig(
                base_url=f"{parts.scheme}://{parts.netloc}",
                headers=config.headers,
                bearer_token=config.bearer_token,
                user_agent=config.user_agent,
                deadline=config.deadline,
            ),
            self._clock,
            self._ids,
        )

        async def read(response: aiohttp.ClientResponse) -> None:
            if response.status != 200:
                raise from_status(response.status, "redirect", self._shown())

        try:
            await requests.send("GET", config.base_url, "redirect", read)
        except LeadsElsewhere as redirect:
            return redirect.location
        finally:
            await requests.close()
        raise _bad(
            f"{self._shown()} answers without a redirect, where one to a storage URL such as "
            "s3://bucket/prefix is due; check the address"
        )

    def _shown(self) -> str:
        return self._config.base_url.partition("?")[0]

    # --- operations

    @hookimpl
    def capabilities(self) -> Capabilities:
        return _capabilities.REDIRECT

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        storage = await self._storage()
        return await storage.get_range_hook(key, byte_range, if_version)

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        return await (await self._storage()).head(key)

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        items: Any = (await self._storage()).list(prefix, start_after)
        async with aclosing(items):
            async for info in items:
                yield info

    @hookimpl
    async def close(self) -> None:
        self._closed = True
        target, self._target = self._target, None
        if target is not None:
            await target.close()

    def _read_only(self, key: str | None) -> StorageError:
        if self._closed:
            return Closed("this redirect storage was closed; open it again", key=key)
        return ReadOnly(
            "a storage behind a redirect is for reading; open it by its own URL to write", key=key
        )
