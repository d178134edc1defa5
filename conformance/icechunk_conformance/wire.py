"""HTTP/1.1 messages as bytes, with as much understanding as it takes to find where each one ends."""

from __future__ import annotations

import asyncio

from attrs import frozen

__all__ = ["LIMIT", "Message", "WireError", "read_request", "read_response", "response", "stop_accepting"]

LIMIT = 1 << 20
"""Largest head, in bytes; give it to `asyncio.start_server` and `asyncio.open_connection`."""

_END = b"\r\n\r\n"


_TURNS_TO_ACCEPT = 5


class WireError(Exception):
    """The other side closed in the middle of a message, or does not speak HTTP/1.1."""


@frozen
class Message:
    """A request or a response.

    Attributes
    ----------
    head
        First line and headers, as they came, with the empty line.
    body
        As it came: with the framing of chunks, if any.
    delimited
        Whether the message told its own end; otherwise the connection's end is.
    """

    head: bytes
    body: bytes
    delimited: bool = True

    @property
    def raw(self) -> bytes:
        return self.head + self.body

    @property
    def first_line(self) -> list[str]:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)

    @property
    def method(self) -> str:
        """Of a request."""
        return self.first_line[0]

    @property
    def target(self) -> str:
        """Path and query of a request."""
        return self.first_line[1]

    @property
    def status(self) -> int:
        """Of a response."""
        return int(self.first_line[1])

    def header(self, name: str) -> str | None:
        """A header's value."""
        return _header(self.head, name)

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this message."""
        told = (self.header("connection") or "").lower()
        return not self.delimited or told == "close" or (b"HTTP/1.0" in self.head and told != "keep-alive")


def _header(head: bytes, name: str) -> str | None:
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, colon, value = line.partition(":")
        if colon and key.strip().lower() == name:
            return value.strip()
    return None


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message | None:
    """The next request; ``None`` when the client has closed. Answers ``Expect: 100-continue``.

    Raises
    ------
    WireError
        If the connection ends in the middle of it.
    """
    head = await _head(reader)
    if head is None:
        return None
    if (_header(head, "expect") or "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body, _ = await _body(reader, head, until_end=False)
    return Message(head, body)


async def read_response(reader: asyncio.StreamReader, method: str) -> Message:
    """The response to a request of that method; interim ones are passed over.

    Raises
    ------
    WireError
        If the connection ends before, or in the middle of it.
    """
    while True:
        head = await _head(reader)
        if head is None:
            raise WireError("the server closed the connection without an answer")
        status = int(head.split(b" ", 2)[1])
        if status >= 200:
            break
    if method == "HEAD" or status in (204, 304):
        return Message(head, b"")
    body, delimited = await _body(reader, head, until_end=True)
    return Message(head, body, delimited)


async def _head(reader: asyncio.StreamReader) -> bytes | None:
    try:
        return await reader.readuntil(_END)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise WireError("the connection ended in the middle of a head") from error
        return None
    except asyncio.LimitOverrunError as error:
        raise WireError("a head of more than a megabyte") from error


async def _body(reader: asyncio.StreamReader, head: bytes, *, until_end: bool) -> tuple[bytes, bool]:
    """Body and whether it told its own end."""
    try:
        if "chunked" in (_header(head, "transfer-encoding") or "").lower():
            return await _chunks(reader), True
        length = _header(head, "content-length")
        if length is not None:
            return await reader.readexactly(int(length)), True
    except asyncio.IncompleteReadError as error:
        raise WireError("the connection ended in the middle of a body") from error
    return (await reader.read(), False) if until_end else (b"", True)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while True:
        line = await reader.readuntil(b"\r\n")
        parts.append(line)
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        parts.append(await reader.readexactly(size + 2))
    while True:
        line = await reader.readuntil(b"\r\n")
        parts.append(line)
        if line == b"\r\n":
            return b"".join(parts)


def response(status: int, reason: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole response; an underscore in a header's name stands for a hyphen."""
    told = {"Content-Length": str(len(body)), **{name.replace("_", "-"): headers[name] for name in headers}}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode("latin-1") + body


async def stop_accepting(server: asyncio.Server) -> None:
    """Close a listening socket. Connections that were accepted a moment ago come into being before: a
    closed server has no place for them, and they would be left behind open."""
    loop = asyncio.get_running_loop()
    for sock in server.sockets:
        loop.remove_reader(sock.fileno())
    for _ in range(_TURNS_TO_ACCEPT):
        await asyncio.sleep(0)
    server.close()
