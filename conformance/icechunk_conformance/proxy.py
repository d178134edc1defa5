"""A faulting HTTP proxy on loopback: it lets a server act, and then loses what it said.

It stands between a client and a server, reads whole requests and whole responses, and
passes their bytes on unchanged (the ``Host`` header too, which signatures cover), except
where a scripted `WireFault` strikes. It counts what it passed on and what it injected.

All proxies share a thread and an event loop of their own: they go on while the client's loop is held up.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from attrs import Factory, define, field

from icechunk_conformance.wire import (
    LIMIT,
    Message,
    WireError,
    read_request,
    read_response,
    response,
    stop_accepting,
)
from icechunk_core.errors import StorageError

__all__ = ["Action", "Exchange", "FaultProxy", "WireFault"]

T = TypeVar("T")
Action: TypeAlias = "Callable[[Exchange], Awaitable[None]]"


@define(eq=False)
class WireFault:
    """What happens to some requests instead of what should.

    Attributes
    ----------
    action
        Does it (`icechunk_conformance.wire_faults`).
    matches
        Which requests it is about.
    times
        How many of them are struck; ``None`` is all.
    meanwhile
        Called, in a thread, when the server has acted and the client does not know yet.
    struck
        How many were struck until now.
    """

    action: Action
    matches: Callable[[Message], bool]
    times: int | None = 1
    meanwhile: Callable[[], None] | None = None
    struck: int = 0


@define(eq=False)
class Exchange:
    """One request on its way: what an action has to work with."""

    proxy: FaultProxy
    fault: WireFault
    request: Message
    writer: asyncio.StreamWriter

    async def forward(self) -> Message:
        """Let the server act; its whole response."""
        return await self.proxy.ask(self.request)

    async def meanwhile(self) -> None:
        """Let happen what the fault has planned for this moment."""
        if self.fault.meanwhile is not None:
            await asyncio.to_thread(self.fault.meanwhile)

    async def answer(self, data: bytes) -> None:
        """Send bytes to the client."""
        self.writer.write(data)
        await self.writer.drain()

    def later(self) -> None:
        """Keep the request, to be sent when the proxy is told to `FaultProxy.release`."""
        self.proxy.held.append(self.request)

    async def hang(self) -> None:
        """Keep the connection open and say nothing, until the client goes or the proxy stops."""
        await asyncio.wait(
            [self.proxy.task(self.proxy.stopping.wait()), self.proxy.task(self.writer.wait_closed())],
            return_when=asyncio.FIRST_COMPLETED,
        )

    def close(self) -> None:
        """End the connection in order."""
        self.writer.close()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@define(eq=False)
class FaultProxy:
    """A proxy in front of one server.

    Attributes
    ----------
    upstream
        Base URL of the server; only its host and port are used.
    requests
        Every request that reached the proxy, as method and target.
    """

    upstream: str
    requests: list[tuple[str, str]] = Factory(list)
    held: list[Message] = Factory(list)
    stopping: asyncio.Event = Factory(asyncio.Event)
    port: int = field(init=False, default=0)
    _faults: list[WireFault] = Factory(list)
    _lock: threading.Lock = Factory(threading.Lock)
    _server: asyncio.Server = field(init=False)
    _tasks: set[asyncio.Task[object]] = Factory(set)
    _writers: set[asyncio.StreamWriter] = Factory(set)

    # --- from any thread

    @property
    def url(self) -> str:
        """Base URL of the upstream server, by way of the proxy."""
        parts = urlsplit(self.upstream)
        return parts._replace(scheme="http", netloc=f"127.0.0.1:{self.port}").geturl()

    def start(self) -> FaultProxy:
        """Listen on a free port of loopback."""
        self._soon(self._listen()).result(10)
        return self

    def stop(self) -> None:
        """Close everything."""
        self._soon(self._close()).result(10)

    def _soon(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, _shared_loop())

    def strike(self, fault: WireFault) -> WireFault:
        """Script a fault; those of one request strike in the order in which they were added."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Forget all faults; what was held back is dropped."""
        with self._lock:
            self._faults.clear()
            self.held.clear()

    async def release(self) -> list[int]:
        """Send what was held back, one after the other; the statuses of the answers."""
        held, self.held = self.held, []

        async def send() -> list[int]:
            return [(await self.ask(request)).status for request in held]

        return await asyncio.wrap_future(self._soon(send()))

    # --- in the proxies' thread

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=LIMIT, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self.stopping.set()
        await stop_accepting(self._server)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        # Aborted connections are gone after a turn of the loop.
        await asyncio.sleep(0)

    def task(self, work: Awaitable[object]) -> asyncio.Task[object]:
        """Something that ends with the proxy at the latest."""
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        serving = self.task(self._serve(reader, writer))
        # Not `await serving`: its cancellation is the end of this connection, not of this task.
        await asyncio.wait([serving])
        self._writers.discard(writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await read_request(reader, writer)) is not None:
                fault = self._choose(request)
                if fault is not None:
                    await fault.action(Exchange(self, fault, request, writer))
                    if writer.is_closing():
                        return
                    continue
                answer = await self._ask_or_say_why(request)
                writer.write(answer.raw)
                await writer.drain()
                if answer.closes:
                    return
        except (WireError, OSError, ValueError, StorageError):
            # The last one: the check gave up, and with it closed the client that was to act meanwhile.
            return
        finally:
            writer.close()

    def _choose(self, request: Message) -> WireFault | None:
        with self._lock:
            self.requests.append((request.method, request.target))
            for fault in self._faults:
                if (fault.times is None or fault.struck < fault.times) and fault.matches(request):
                    fault.struck += 1
                    return fault
        return None

    async def _ask_or_say_why(self, request: Message) -> Message:
        try:
            return await self.ask(request)
        except (OSError, WireError) as error:
            text = f"the faulting proxy cannot reach {self.upstream}: {error}".encode()
            head, _, body = response(502, "Bad Gateway", text).partition(b"\r\n\r\n")
            return Message(head + b"\r\n\r\n", body)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection to the server."""
        parts = urlsplit(self.upstream)
        secure = parts.scheme == "https"
        return await asyncio.open_connection(
            parts.hostname,
            parts.port or (443 if secure else 80),
            limit=LIMIT,
            ssl=ssl.create_default_context() if secure else None,
        )

    async def ask(self, request: Message) -> Message:
        """Send a request to the server over a connection of its own; the whole response."""
        reader, writer = await self.connect()
        try:
            writer.write(request.raw)
            await writer.drain()
            return await read_response(reader, request.method)
        finally:
            writer.close()


# --- the proxies' thread ---------------------------------------------------------

_loops: list[asyncio.AbstractEventLoop] = []
_starting = threading.Lock()


def _shared_loop() -> asyncio.AbstractEventLoop:
    """The event loop of all proxies of this process, started on first use."""
    with _starting:
        if not _loops:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="fault-proxies", daemon=True).start()
            _loops.append(loop)
        return _loops[0]
