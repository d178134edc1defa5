"""What a network and a server can do to one request: the actions of the faulting proxy."""

from __future__ import annotations

import asyncio

from icechunk_conformance.proxy import Action, Exchange
from icechunk_conformance.wire import WireError, read_response, response

__all__ = [
    "Gate",
    "answer_is_error",
    "answer_lost",
    "arrives_late",
    "closed_after",
    "cut_upload",
    "half_body",
    "length_too_large",
    "no_answer",
    "passed_on",
    "refused_with",
    "repeated",
    "request_lost",
    "stalled_body",
    "trickled",
]

REASONS = {
    408: "Request Timeout",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


async def passed_on(exchange: Exchange) -> None:
    """Nothing goes wrong."""
    answer = await exchange.forward()
    await exchange.answer(answer.raw)
    if answer.closes:
        exchange.close()


async def request_lost(exchange: Exchange) -> None:
    """the connection is reset before the server has seen the request."""
    exchange.reset()


async def answer_lost(exchange: Exchange) -> None:
    """The server acts; the connection is reset before its answer gets through."""
    await exchange.forward()
    await exchange.meanwhile()
    exchange.reset()


async def repeated(exchange: Exchange) -> None:
    """The request reaches the server twice, as when something on the way repeats it; the second answer
    counts."""
    await exchange.forward()
    await exchange.meanwhile()
    await exchange.answer((await exchange.forward()).raw)


async def arrives_late(exchange: Exchange) -> None:
    """The connection is reset; the request reaches the server when the proxy is told to release it."""
    exchange.later()
    exchange.reset()


def refused_with(status: int, retry_after: int | None = None) -> Action:
    """The server does not act and answers with that status."""

    async def action(exchange: Exchange) -> None:
        await exchange.answer(_error(status, retry_after))

    action.__doc__ = f"the server answers {status}"
    return action


def answer_is_error(status: int) -> Action:
    """The server acts, and the answer says that it did not."""

    async def action(exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.meanwhile()
        await exchange.answer(_error(status, None))

    action.__doc__ = f"the server acts and answers {status}"
    return action


def _error(status: int, retry_after: int | None) -> bytes:
    if retry_after is None:
        return response(status, REASONS[status])
    return response(status, REASONS[status], Retry_After=str(retry_after))


async def no_answer(exchange: Exchange) -> None:
    """The server acts; nothing of its answer ever comes."""
    await exchange.forward()
    await exchange.hang()


async def half_body(exchange: Exchange) -> None:
    """Half of the answer's body, and the end of the connection."""
    answer = await exchange.forward()
    await exchange.answer(answer.head + answer.body[: len(answer.body) // 2])
    exchange.close()


async def stalled_body(exchange: Exchange) -> None:
    """Half of the answer's body, and then nothing any more."""
    answer = await exchange.forward()
    await exchange.answer(answer.head + answer.body[: len(answer.body) // 2])
    await exchange.hang()


async def length_too_large(exchange: Exchange) -> None:
    """The answer announces more bytes than it has."""
    answer = await exchange.forward()
    told = answer.header("content-length")
    if told is None:
        # In chunks: the last one is missing.
        await exchange.answer(answer.head + answer.body[:-5])
    else:
        lines = answer.head.split(b"\r\n")
        lines = [
            b"Content-Length: %d" % (int(told) + 100) if line.lower().startswith(b"content-length:") else line
            for line in lines
        ]
        await exchange.answer(b"\r\n".join(lines) + answer.body)
    exchange.close()


async def trickled(exchange: Exchange) -> None:
    """The answer comes in small pieces, over half a second."""
    answer = await exchange.forward()
    size = max(1, len(answer.raw) // 20)
    for start in range(0, len(answer.raw), size):
        await exchange.answer(answer.raw[start : start + size])
        await asyncio.sleep(0.025)
    if answer.closes:
        exchange.close()


async def closed_after(exchange: Exchange) -> None:
    """After the answer the server closes the connection without having said so."""
    await exchange.answer((await exchange.forward()).raw)
    exchange.close()


async def cut_upload(exchange: Exchange) -> None:
    """Half of the request's body reaches the server; then both connections end."""
    reader, writer = await exchange.proxy.connect()
    request = exchange.request
    writer.write(request.head + request.body[: len(request.body) // 2])
    await writer.drain()
    writer.write_eof()
    try:
        # The server has noticed when it answers or closes.
        async with asyncio.timeout(2):
            await reader.read()
    except (TimeoutError, WireError, OSError):
        pass
    writer.close()
    exchange.reset()


class Gate:
    """Requests wait for one another: all but their last bytes are sent, then the last bytes of all at once.

    That brings them as close together in the server as can be had from outside.

    Parameters
    ----------
    count
        How many requests to wait for.
    patience
        Seconds after which those that have come go on without the others.
    """

    def __init__(self, count: int, patience: float = 1.0) -> None:
        self._count = count
        self._patience = patience
        self._waiting = 0
        self._open = asyncio.Event()
        self.together = 0
        """The most requests that went on at one moment."""

    async def __call__(self, exchange: Exchange) -> None:
        request = exchange.request
        reader, writer = await exchange.proxy.connect()
        writer.write(request.raw[:-1])
        await writer.drain()
        gate, self._waiting = self._open, self._waiting + 1
        if self._waiting == self._count:
            self._release()
        else:
            try:
                async with asyncio.timeout(self._patience):
                    await gate.wait()
            except TimeoutError:
                if gate is self._open:
                    self._release()
        writer.write(request.raw[-1:])
        try:
            await exchange.answer((await read_response(reader, request.method)).raw)
        finally:
            writer.close()

    def _release(self) -> None:
        self.together = max(self.together, self._waiting)
        self._open.set()
        self._open, self._waiting = asyncio.Event(), 0
