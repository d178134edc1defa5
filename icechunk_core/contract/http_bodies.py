"""Large bodies of HTTP requests and answers without copies of them, for backends that use aiohttp.

aiohttp hands a body out in pieces, each a new object, which then are joined: a body of 4 MiB costs two
copies and twice its size in fresh memory, whose first use is dearer than the copies. Here the event
loop writes what arrives to where it stays, and that memory is used again when nobody looks at it any
more. Connections, headers, errors and everything small remain aiohttp's.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from attrs import define, field

from icechunk_core.contract.types import Buffer

__all__ = ["LARGE_BODY", "BodyMemory", "receive_body", "send_in_pieces"]

LARGE_BODY: Final = 1 << 20
"""Bytes from which a body is worth it."""
_FIRST_PIECE: Final = 64 << 10
# What the kernel does not take at once, asyncio before Python 3.12 copies, and moves with each further bit.
_PIECE: Final = 1 << 20 if sys.version_info >= (3, 12) else 128 << 10
_MOST_KEPT: Final = 64 << 20
_IDLE: Final = 5.0
"""Seconds after which memory that is not used is given back."""


@define(eq=False)
class BodyMemory:
    """Memory for bodies, used again and again. For one event loop.

    It may be handed out as often as somebody likes: it is not reused before all views of it are gone. At
    most 64 MiB are kept, and nothing once no body has come for a few seconds.
    """

    _kept: list[bytearray] = field(factory=list)
    _bytes: int = 0
    _used: float = 0.0
    _cleaning: bool = False

    def take(self, size: int) -> memoryview:
        """So many bytes to write to, whatever is in them. To be called in the loop."""
        loop = asyncio.get_running_loop()
        self._used = loop.time()
        if not self._cleaning:
            self._cleaning = True
            loop.call_later(_IDLE, self._clean)
        kept = self._kept
        for at, memory in enumerate(kept):
            if size <= len(memory) <= 2 * size and _unseen(memory):
                kept.append(kept.pop(at))  # the one used longest ago comes first
                return memoryview(memory)[:size]
        memory = bytearray(size)
        kept.append(memory)
        self._bytes += size
        while self._bytes > _MOST_KEPT:
            self._bytes -= len(kept.pop(0))  # whoever looks at it keeps it
        return memoryview(memory)[:size]

    def _clean(self) -> None:
        loop = asyncio.get_running_loop()
        rest = self._used + _IDLE - loop.time()
        if rest > 0:
            loop.call_later(rest, self._clean)
        else:
            self._cleaning = False
            self._kept.clear()
            self._bytes = 0


_memories: WeakKeyDictionary[asyncio.AbstractEventLoop, BodyMemory] = WeakKeyDictionary()
_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _memory() -> BodyMemory:
    """The running loop's."""
    loop = asyncio.get_running_loop()
    found = _memories.get(loop)
    if found is None:
        with _lock:
            for ended in [each for each in _memories if each.is_closed()]:
                del _memories[ended]
            found = _memories.setdefault(loop, BodyMemory())
    return found


def _unseen(memory: bytearray) -> bool:
    """Whether no view of the bytes is left, anywhere: a bytearray cannot change its size before."""
    try:
        memory.append(memory.pop())
    except BufferError:
        return False
    return True


async def send_in_pieces(body: Sequence[Buffer]) -> AsyncIterator[memoryview]:
    """A large body as aiohttp sends it without a copy, and without keeping the event loop for long.

    Its length has to be told in a header, ``content-length``.
    """
    first = True
    for buffer in body:
        view = memoryview(buffer).cast("B")
        at = 0
        while at < len(view):
            # aiohttp joins the first piece to the headers.
            end = at + (_FIRST_PIECE if first else _PIECE)
            yield view[at:end]
            at, first = end, False


async def receive_body(response: Any) -> Buffer:
    """The body of an answer, as ``response.read()`` gives it, if large without copies of it.

    Parameters
    ----------
    response
        An ``aiohttp.ClientResponse`` of whose body nothing was read, of a session that does not decompress.

    Returns
    -------
    Buffer
        Of a large body a view of memory that is used again when all views of it are gone.

    Raises
    ------
    TimeoutError
        If nothing arrives for as long as the session's ``sock_read`` says.
    Exception
        As ``response.read()``.
    """
    size = response.content_length
    connection = response.connection
    # Without a connection, all of it has come.
    if size is None or size < LARGE_BODY or connection is None or response.headers.get("Transfer-Encoding"):
        return await response.read()  # type: ignore[no-any-return]
    transport = connection.transport
    handler = None if transport is None else transport.get_protocol()
    if not (hasattr(handler, "read_timeout") and hasattr(handler, "start_timeout")):
        return await response.read()  # type: ignore[no-any-return]
    content = response.content
    view = _memory().take(size)
    at = 0
    while piece := content.read_nowait():
        view[at : at + len(piece)] = piece
        at += len(piece)
    if at < size:
        receiver = _Receiver(transport, handler, content, view, at)
        await receiver.received()
    return view.toreadonly()


class _Receiver(asyncio.BufferedProtocol):
    """Takes the place of aiohttp's protocol while the rest of a body arrives."""

    def __init__(self, transport: Any, handler: Any, content: Any, view: memoryview, at: int) -> None:
        self._transport = transport
        self._handler = handler
        self._content = content
        self._view = view
        self._at = at
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._patience: float | None = handler.read_timeout
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    async def received(self) -> None:
        """Wait until everything is there."""
        handler = self._handler
        handler.read_timeout = None  # a request sets it anew
        handler.start_timeout()  # with none: ends the one that runs
        if self._patience:
            self._timer = self._loop.call_later(self._patience, self._check)
        self._transport.set_protocol(self)
        try:
            await self._done
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._at :]

    def buffer_updated(self, nbytes: int) -> None:
        self._at += nbytes
        self._heard = self._loop.time()
        if self._at == len(self._view):
            self._transport.set_protocol(self._handler)
            self._content.feed_eof()  # gives the connection back
            if not self._done.done():
                self._done.set_result(None)

    def _check(self) -> None:
        assert self._patience is not None
        rest = self._heard + self._patience - self._loop.time()
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._check)
        elif not self._done.done():
            self._done.set_exception(TimeoutError("timeout on reading data from socket"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._handler.connection_lost(exc)
        if not self._done.done():
            self._done.set_exception(
                self._content.exception() or ConnectionError("the connection was lost within a body")
            )

    # What else happens to the connection is aiohttp's.

    def eof_received(self) -> None:
        self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()
