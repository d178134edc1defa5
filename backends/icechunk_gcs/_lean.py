"""Requests over aiohttp, one session per event loop: a fraction of the client's time per request."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from icechunk_core.contract import joined
from icechunk_core.contract.http_bodies import receive_body, send_in_pieces
from icechunk_gcs._config import GcsConfig
from icechunk_gcs._loop_sessions import LoopSessions
from icechunk_gcs._replies import Reply
from icechunk_gcs._requests import Request
from icechunk_gcs._settings import Settings
from icechunk_gcs._threads import Threads
from icechunk_gcs._tokens import Tokens

__all__ = ["LeanTransport"]

_LARGE = 1 << 20
_SLOWEST = 1_000_000
"""Bytes a second that a transfer is given time for, beyond the deadline."""


class LeanTransport:
    """Sends plain requests; signs with the same tokens as the client's session."""

    def __init__(self, settings: Settings, tokens: Tokens, threads: Threads) -> None:
        self._settings = settings
        self._tokens = tokens
        self._threads = threads
        self._proxy = _proxy_for(settings.endpoint)
        self._sessions = LoopSessions(functools.partial(_new_session, settings.config))
        user = {"x-goog-user-project": settings.config.user_project} if settings.config.user_project else {}
        self._read_headers = {**settings.read_headers, **user}
        self._write_headers = {**settings.write_headers, **user}

    async def send(self, request: Request) -> Reply:
        """Carry out one request; once more with fresh credentials if the server refuses them."""
        signed = await self._signed()
        reply = await self._once(request, signed)
        if reply.status == 401 and await self._threads.run(None, self._tokens.refused, signed):
            reply = await self._once(request, await self._signed())
        return reply

    async def _signed(self) -> Mapping[str, str]:
        signed = self._tokens.at_hand()
        return await self._threads.run(None, self._tokens.headers) if signed is None else signed

    async def _once(self, request: Request, signed: Mapping[str, str]) -> Reply:
        session = await self._sessions.here()
        extra = self._read_headers if request.reading else self._write_headers
        size = request.size
        headers = {**extra, **request.headers, **signed}
        body: Any = None
        if size > _LARGE:
            headers["content-length"] = str(size)
            body = send_in_pieces(request.body)
        elif request.body:
            body = joined(request.body)
        config = self._settings.config
        deadline = config.attempt_timeout or config.deadline + size / _SLOWEST
        async with asyncio.timeout(deadline) as limit:
            async with session.request(
                request.method,
                URL(self._settings.endpoint + request.url, encoded=True),
                headers=headers,
                data=body,
                proxy=self._proxy,
            ) as response:
                length = response.content_length
                if length is not None and length > _LARGE and config.attempt_timeout is None:
                    now = asyncio.get_running_loop().time()
                    limit.reschedule(now + config.deadline + length / _SLOWEST)
                return Reply(response.status, response.headers, await receive_body(response))

    async def close(self) -> None:
        """Close the sessions of all loops."""
        await self._sessions.close()


def _new_session(config: GcsConfig) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=config.concurrency),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=config.connect_timeout, sock_read=config.read_timeout
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("accept", "user-agent"),
    )


def _proxy_for(endpoint: str) -> str | None:
    """The proxy that the environment names for the endpoint."""
    parts = urlsplit(endpoint)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)
