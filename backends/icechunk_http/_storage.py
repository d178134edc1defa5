"""The operations of HTTP storage: reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from urllib.parse import quote

import aiohttp

from icechunk_core.clock import Clock, SystemClock, datetime_from_us
from icechunk_core.contract import (
    Buffer,
    ByteRange,
    Capabilities,
    ObjectInfo,
    Range,
    Suffix,
    Version,
    hookimpl,
    resolve_range,
)
from icechunk_core.contract.errors import (
    Closed,
    ReadOnly,
    StorageError,
    Unavailable,
    Unsupported,
)
from icechunk_core.contract.keys import check_key
from icechunk_core.ids import IdSource, SystemIds
from icechunk_http import _capabilities
from icechunk_http._answers import (
    check_version,
    condition_header,
    extent_of,
    object_info,
    range_header,
    total_of,
)
from icechunk_http._bodies import read_part
from icechunk_http._config import HttpConfig
from icechunk_http._errors import from_status
from icechunk_http._opts import with_opts
from icechunk_http._requests import Requests
from icechunk_http._writing import RefusesWrites

__all__ = ["HttpStorage"]

_NO_HEAD = frozenset({405, 501})


class _SuffixRefused(Exception):
    """Status 416 for a suffix of an object that has bytes: the server wants plain ranges."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class HttpStorage(RefusesWrites):
    """Files below one address."""

    def __init__(
        self,
        config: HttpConfig,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        config = with_opts(config)
        self._clock = clock or SystemClock()
        self._base = config.base_url + "/"
        self._forbidden_is_missing = config.forbidden_is_missing
        self._requests = Requests(config, self._clock, ids or SystemIds(), sleep)
        self._closed = False

    # --- reading

    @hookimpl
    def capabilities(self) -> Capabilities:
        return _capabilities.HTTP

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        address = self._address(key)
        asked = range_header(byte_range, key)
        headers = condition_header(if_version) | ({"Range": asked} if asked else {})

        async def read(response: aiohttp.ClientResponse) -> tuple[Buffer, ObjectInfo]:
            if response.status not in (200, 206):
                size = total_of(response.headers)
                if response.status == 416 and isinstance(byte_range, Suffix) and size:
                    raise _SuffixRefused(size)
                raise self._error(response, key)
            info = object_info(key, 0, response.headers, self._now())
            extent = extent_of(response.status, response.headers, key)
            data, size = await read_part(response, extent, byte_range, key)
            if size is None:
                return data, info
            return data, object_info(key, size, response.headers, self._now())

        try:
            data, info = await self._requests.send("GET", address, key, read, headers)
        except _SuffixRefused as refused:
            start, end = resolve_range(byte_range, refused.size)
            return await self.get_range(key, Range(start, end), if_version)
        if not info.size and len(data):
            info = await self._with_size(info)
        check_version(info, if_version)
        return data, info

    async def _with_size(self, info: ObjectInfo) -> ObjectInfo:
        """For servers that send parts without the size of the whole: ask for it."""
        about = await self.head(info.key)
        if (about.etag, about.last_modified) != (info.etag, info.last_modified):
            raise Unavailable(f"object {info.key!r} was replaced while it was read; repeat", key=info.key)
        return about

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        address = self._address(key)

        async def read(response: aiohttp.ClientResponse) -> ObjectInfo | None:
            if response.status in _NO_HEAD:
                return None
            if response.status != 200:
                raise self._error(response, key)
            size = extent_of(200, response.headers, key).total
            return None if size is None else object_info(key, size, response.headers, self._now())

        info = await self._requests.send("HEAD", address, key, read)
        return await self._head_by_get(key, address) if info is None else info

    async def _head_by_get(self, key: str, address: str) -> ObjectInfo:
        """For servers that refuse HEAD or do not tell the size there."""

        async def read(response: aiohttp.ClientResponse) -> ObjectInfo:
            if response.status == 416 and total_of(response.headers) == 0:
                return object_info(key, 0, response.headers, self._now())
            if response.status not in (200, 206):
                raise self._error(response, key)
            total = extent_of(response.status, response.headers, key).total
            if total is None:
                total = len(await response.read())
            elif response.status == 200:
                response.close()  # the whole object is on its way
            return object_info(key, total, response.headers, self._now())

        return await self._requests.send("GET", address, key, read, {"Range": "bytes=0-0"})

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        self._check_open()
        raise Unsupported(
            "web servers do not list objects. Opening, branches, tags and history of a repository of spec 2 "
            "need no list; in one of spec 1 open branches and tags by their names, or migrate it "
            "(upgrade_icechunk_repository) where it is written"
        )
        yield  # an async generator, as the contract has it

    @hookimpl
    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._requests.close()

    # --- helpers

    def _address(self, key: str) -> str:
        self._check_open()
        return self._base + quote(check_key(key), safe="/")

    def _now(self) -> datetime:
        return datetime_from_us(self._clock.now_us())

    def _error(self, response: aiohttp.ClientResponse, key: str) -> StorageError:
        return from_status(
            response.status,
            key,
            f"{response.url.origin()}{response.url.path}",
            forbidden_is_missing=self._forbidden_is_missing,
        )

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("this HTTP storage was closed; open it again")

    def _read_only(self, key: str | None) -> StorageError:
        self._check_open()
        return ReadOnly(
            "HTTP storage is for reading; write through the storage that the web server shows", key=key
        )
