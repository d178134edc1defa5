"""Connections: one session for each event loop, closed with the loop or with the storage.

An HTTP session belongs to the loop that it was made in. A storage is used from several: zarr
drives stores on a loop of its own, blocking callers on another, and ``asyncio.run`` makes a new
one every time. Each loop closes its session when it shuts down its async generators, which
``asyncio.run`` and its relatives do at the end; no connection is left to the garbage collector.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncGenerator, Callable
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from icechunk_azure._config import AzureConfig
from icechunk_azure._identity import Identity
from icechunk_azure._wire import Wire

__all__ = ["Connection", "Connections", "environment_proxy"]

MakeWire = Callable[[aiohttp.ClientSession, Identity], Wire]

_abandoned: list[object] = []
"""Sessions of a forked child's parent: to close them here would close them there."""


class Connection:
    """The session of one loop, and the wire of the identity used last."""

    def __init__(self, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession) -> None:
        self.loop = loop
        self.session = session
        self.identity: Identity | None = None
        self.wire: Wire | None = None
        self._lifetime: AsyncGenerator[None, None] | None = None

    async def live(self, open: dict[int, Connection]) -> None:
        """Close with the loop."""
        self._lifetime = _lifetime(open, self)
        await anext(self._lifetime)

    async def close(self) -> None:
        """Close now."""
        if self._lifetime is not None:
            # The loop may be shutting down, and be closing it already.
            with contextlib.suppress(RuntimeError):
                await self._lifetime.aclose()


class Connections:
    """The sessions of one storage, by event loop."""

    def __init__(self, config: AzureConfig, make_wire: MakeWire) -> None:
        self._config = config
        self._make_wire = make_wire
        self._open: dict[int, Connection] = {}
        self._pid = os.getpid()
        # A storage that is dropped without being closed does not leave its sockets open.
        self._finalizer = weakref.finalize(self, _close_all, self._open, self._pid)

    async def wire(self, identity: Identity) -> Wire:
        """The wire for an identity in the running loop."""
        loop = asyncio.get_running_loop()
        connection = self._open.get(id(loop))
        if connection is None or connection.loop is not loop or self._pid != os.getpid():
            connection = await self._connect(loop)
        if connection.wire is None or connection.identity != identity:
            connection.wire = self._make_wire(connection.session, identity)
            connection.identity = identity
        return connection.wire

    async def close(self) -> None:
        """Close the running loop's session, and have the other loops close theirs."""
        if self._pid != os.getpid():
            self._leave_to_parent()
            return
        own = self._open.pop(id(asyncio.get_running_loop()), None)
        if own is not None:
            await own.close()
        self._finalizer()

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        if self._pid != os.getpid():
            self._leave_to_parent()
        config = self._config
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=config.concurrency, limit_per_host=config.concurrency),
            timeout=aiohttp.ClientTimeout(
                total=config.attempt_timeout,
                sock_connect=config.connect_timeout,
                sock_read=config.read_timeout,
            ),
            auto_decompress=False,
            headers={"User-Agent": config.user_agent} if config.user_agent else None,
        )
        connection = Connection(loop, session)
        self._open[id(loop)] = connection
        await connection.live(self._open)
        return connection

    def _leave_to_parent(self) -> None:
        self._finalizer.detach()
        _abandoned.append(self._open)
        self._open = {}
        self._pid = os.getpid()
        self._finalizer = weakref.finalize(self, _close_all, self._open, self._pid)


def environment_proxy(endpoint: str) -> str | None:
    """The proxy that the environment names for an endpoint (``HTTPS_PROXY``, ``NO_PROXY`` and so on).

    Asked once: the HTTP client would read the environment, and a file with passwords, for every
    request, which costs more than the rest of the request.
    """
    parts = urlsplit(endpoint)
    if parts.hostname is None or proxy_bypass(parts.hostname):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


async def _lifetime(open: dict[int, Connection], connection: Connection) -> AsyncGenerator[None, None]:
    """Suspended for as long as the loop lives, which ends it when it shuts down."""
    try:
        yield
    finally:
        if open.get(id(connection.loop)) is connection:
            del open[id(connection.loop)]
        await connection.session.close()


def _close_all(open: dict[int, Connection], pid: int) -> None:
    """Have every loop close its session; from any thread, and from none of the loops."""
    if pid != os.getpid():
        _abandoned.append(dict(open))
        return
    while open:
        _, connection = open.popitem()
        _close_soon(connection)


def _close_soon(connection: Connection) -> None:
    def close() -> None:
        task = connection.loop.create_task(connection.close())
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    try:
        connection.loop.call_soon_threadsafe(close)
    except RuntimeError:
        # The loop was closed without shutting down what ran in it.
        connection.session.detach()


_closing: set[asyncio.Task[None]] = set()
"""Tasks are kept until they are done; the loop has weak references only."""
