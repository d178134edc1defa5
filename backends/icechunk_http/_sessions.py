"""One aiohttp session for each event loop, closed with the loop, the storage, or the end of the program."""

from __future__ import annotations

import asyncio
import atexit
import os
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator
from concurrent.futures import Future, wait

import aiohttp
from attrs import define

from icechunk_core.contract import child_safe
from icechunk_core.contract.errors import StorageConfigError
from icechunk_http._config import HttpConfig

__all__ = ["Sessions"]


@define(eq=False)
class _Held:
    """A session and the generator that closes it when the loop shuts down."""

    session: aiohttp.ClientSession
    guard: AsyncGenerator[None, None]
    process: int
    ended: Future[None]


class Sessions:
    """The sessions of one storage."""

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        self._ssl = _ssl_setting(config)
        self._lock = child_safe(threading.Lock())
        self._held: dict[asyncio.AbstractEventLoop, _Held] = {}
        # At the end of the program loops may have stopped: _close_at_exit waits for them.
        weakref.finalize(self, _let_go, self._held, os.getpid()).atexit = False

    async def get(self) -> aiohttp.ClientSession:
        """The running loop's session."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is not None and held.process == os.getpid() and not held.session.closed:
            return held.session
        session = self._new_session()
        ended: Future[None] = Future()
        guard = _close_with_loop(session, ended)
        # Having begun, it is known to the loop, whose shutdown_asyncgens() ends it: asyncio.run
        # then leaves no open connections behind.
        await anext(guard)
        held = _Held(session, guard, os.getpid(), ended)
        with self._lock:
            for closed in [each for each in self._held if each.is_closed()]:
                del self._held[closed]
            self._held[loop] = held
            _open[session] = (held, loop)
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


async def _close_with_loop(session: aiohttp.ClientSession, ended: Future[None]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await session.close()
        _open.pop(session, None)
        ended.set_result(None)


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


@atexit.register
def _close_at_exit() -> None:
    """Close what is open on loops that run until the end, such as zarr's, and wait for them a moment."""
    mine = [
        (held, loop)
        for held, loop in list(_open.values())
        if held.process == os.getpid() and loop.is_running()
    ]
    for held, loop in mine:
        loop.call_soon_threadsafe(_start_closing, loop, held)
    wait([held.ended for held, _ in mine], timeout=_EXIT_SECONDS)


_EXIT_SECONDS = 1.0
_open: dict[aiohttp.ClientSession, tuple[_Held, asyncio.AbstractEventLoop]] = {}
"""What is open, with its loop; it stays here when its storage is collected, until it is closed."""
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
