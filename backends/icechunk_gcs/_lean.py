"""Requests over aiohttp, one session per event loop: a fraction of the client's time per request."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import io
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

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
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._sessions: dict[asyncio.AbstractEventLoop, _LoopSession] = {}
        user = {"x-goog-user-project": settings.config.user_project} if settings.config.user_project else {}
        self._read_headers = {**settings.read_headers, **user}
        self._write_headers = {**settings.write_headers, **user}
        _transports.add(self)

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
        session = await self._session()
        extra = self._read_headers if request.reading else self._write_headers
        body = request.body
        deadline = self._settings.config.deadline + (len(body) / _SLOWEST if body else 0)
        async with asyncio.timeout(deadline) as limit:
            async with session.request(
                request.method,
                URL(self._settings.endpoint + request.url, encoded=True),
                headers={**extra, **request.headers, **signed},
                data=io.BytesIO(body) if body is not None and len(body) > _LARGE else body,
                proxy=self._proxy,
            ) as response:
                length = response.content_length
                if length is not None and length > _LARGE:
                    now = asyncio.get_running_loop().time()
                    limit.reschedule(now + self._settings.config.deadline + length / _SLOWEST)
                return Reply(response.status, response.headers, await response.read())

    # --- sessions

    async def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        held = self._sessions.get(loop)
        if held is None:
            held = _LoopSession(self._settings)
            with self._lock:
                self._sessions = {each: own for each, own in self._sessions.items() if not each.is_closed()}
                self._sessions[loop] = held
            await held.open()
        return held.session

    async def close(self) -> None:
        """Close the sessions of all loops that still run."""
        here = asyncio.get_running_loop()
        with self._lock:
            sessions = list(self._sessions.items())
            self._sessions.clear()
        for loop, held in sessions:
            if loop is here:
                await held.close()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(held.close(), loop)

    def close_at_exit(self) -> None:
        """Close what nobody closed, on loops that run in threads to the end of the program."""
        if self._pid != os.getpid():
            return
        for loop, held in list(self._sessions.items()):
            if loop.is_running():
                with contextlib.suppress(TimeoutError, RuntimeError):
                    asyncio.run_coroutine_threadsafe(held.close(), loop).result(timeout=1)


_transports: weakref.WeakSet[LeanTransport] = weakref.WeakSet()


@atexit.register
def _close_at_exit() -> None:
    for transport in list(_transports):
        transport.close_at_exit()


class _LoopSession:
    """A session that is closed with its event loop, if not before.

    A loop that ends closes the asynchronous generators which were begun on it; one of them
    closes the session, so that none is left open when nobody closes the storage.
    """

    def __init__(self, settings: Settings) -> None:
        config = settings.config
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=config.concurrency),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=config.connect_timeout, sock_read=config.timeout
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("accept", "user-agent"),
        )
        self._until_the_loop_ends = _closing(self.session)

    async def open(self) -> None:
        """Tie the session to the running loop."""
        await anext(self._until_the_loop_ends)

    async def close(self) -> None:
        """Close the session; idempotent."""
        await self._until_the_loop_ends.aclose()


async def _closing(session: aiohttp.ClientSession) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await session.close()


def _proxy_for(endpoint: str) -> str | None:
    """The proxy that the environment names for the endpoint."""
    parts = urlsplit(endpoint)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)
