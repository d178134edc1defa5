"""One aiohttp session per event loop, closed with the loop or with the storage."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator

import aiohttp
from attrs import define

from icechunk_core.contract.errors import StorageConfigError
from icechunk_http._config import HttpConfig

__all__ = ["Sessions"]


@define(eq=False)
class _Held:
    """A session and the generator that closes it when the loop shuts down."""

    session: aiohttp.ClientSession
    guard: AsyncGenerator[None, None]
    process: int


class Sessions:
    """The sessions of one storage."""

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        self._ssl = _ssl_setting(config)
        self._lock = threading.Lock()
        self._held: dict[asyncio.AbstractEventLoop, _Held] = {}
        weakref.finalize(self, _let_go, self._held, os.getpid())

    async def get(self) -> aiohttp.ClientSession:
        """The running loop's session."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is not None and held.process == os.getpid() and not held.session.closed:
            return held.session
        session = self._new_session()
        guard = _close_with_loop(session)
        # Having begun, it is known to the loop, whose shutdown_asyncgens() ends it: asyncio.run
        # then leaves no open connections behind.
        await anext(guard)
        with self._lock:
            for closed in [each for each in self._held if each.is_closed()]:
                del self._held[closed]
            self._held[loop] = _Held(session, guard, os.getpid())
        return session

    def _new_session(self) -> aiohttp.ClientSession:
        config = self._config
        connector = aiohttp.TCPConnector(limit=config.max_connections, ssl=self._ssl)
        headers = {"User-Agent": config.user_agent or "icechunk-core"}
        timeout = aiohttp.ClientTimeout(
            total=config.request_timeout, sock_connect=config.connect_timeout, sock_read=config.read_timeout
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers=headers,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding",),
        )

    async def close(self) -> None:
        """Close all sessions; those of other loops as soon as these get to it."""
        with self._lock:
            held = dict(self._held)
            self._held.clear()
        mine = held.pop(asyncio.get_running_loop(), None)
        _let_go(held, os.getpid())
        if mine is not None:
            await mine.guard.aclose()


async def _close_with_loop(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await session.close()


def _let_go(held: dict[asyncio.AbstractEventLoop, _Held], process: int) -> None:
    """Close sessions from outside of their loops; a forked child leaves its parent's alone."""
    for loop, each in list(held.items()):
        if each.process != os.getpid() or process != os.getpid():
            _inherited.append(each)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(_start_closing, loop, each)
    held.clear()


def _start_closing(loop: asyncio.AbstractEventLoop, held: _Held) -> None:
    task = loop.create_task(_finish(held))
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def _finish(held: _Held) -> None:
    await held.guard.aclose()


_closing: set[asyncio.Task[None]] = set()
_inherited: list[_Held] = []
"""Sessions of a parent process: never closed here, since the connections are the parent's."""


def _ssl_setting(config: HttpConfig) -> ssl.SSLContext | bool:
    if config.allow_invalid_certificates:
        return False
    if config.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=config.ca_file)
    except OSError as error:
        raise StorageConfigError(
            f"http storage: the option 'ca_file' cannot be used ({type(error).__name__}: {error})"
        ) from error
