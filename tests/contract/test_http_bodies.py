"""Large bodies over aiohttp: what arrives, in which memory, and what happens to the connection."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")
import aiohttp

from icechunk_core.contract import Buffer, http_bodies
from icechunk_core.contract.http_bodies import LARGE_BODY, BodyMemory, receive_body, send_in_pieces

BODY = os.urandom(LARGE_BODY + 12345)
Answering = Callable[[asyncio.StreamWriter], Awaitable[None]]


class _Server:
    """Answers each request on a connection as it was told to, and counts connections."""

    def __init__(self, *answers: Answering) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await self.answers.pop(0)(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def _served(
    *answers: Answering, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[_Server, aiohttp.ClientSession]]:
    told = _Server(*answers)
    server = await asyncio.start_server(told.handle, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    told.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    connector = aiohttp.TCPConnector(ssl=False) if tls else aiohttp.TCPConnector()
    timeout = aiohttp.ClientTimeout(total=None, sock_read=0.2)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
        yield told, session
    server.close()


def _head(size: int, more: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n{more}\r\n".encode()


def _in_bits(*bits: bytes) -> Answering:
    """Send these, and let the reader have each of them before the next one comes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for bit in bits:
            writer.write(bit)
            await writer.drain()
            for _ in range(5):
                await asyncio.sleep(0)

    return answer


def _tls(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate that nobody vouches for."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = x509.CertificateBuilder(
        name, name, key.public_key(), 1, datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)
    ).sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(encoding)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def _get(session: aiohttp.ClientSession, url: str) -> Buffer:
    async with session.get(url) as response:
        return await receive_body(response)


@pytest.mark.parametrize("first", [0, 1, 70_000, 500_000, len(BODY) - 1, len(BODY)])
async def test_a_large_body_arrives_whole(first: int) -> None:
    """However much of it comes with the headers, every byte is there, and the connection serves again."""
    large = _in_bits(_head(len(BODY)) + BODY[:first], BODY[first:])
    small = _in_bits(_head(5) + b"small")
    async with _served(large, small, large) as (server, session):
        body = await _get(session, server.url)
        assert isinstance(body, memoryview)  # not put together from pieces
        assert body == BODY
        assert await _get(session, server.url) == b"small"
        assert await _get(session, server.url) == BODY
    assert server.connections == 1


async def test_through_tls(tmp_path: Path) -> None:
    """The same through an encrypted connection, which hands over what it decrypted."""
    large = _in_bits(_head(len(BODY)) + BODY)
    async with _served(large, large, tls=_tls(tmp_path)) as (server, session):
        assert await _get(session, server.url) == BODY
        assert await _get(session, server.url) == BODY
    assert server.connections == 1


async def test_in_chunks() -> None:
    """A body of no announced length is left to aiohttp."""
    coded = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    answer = _in_bits(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + coded)
    async with _served(answer) as (server, session):
        assert await _get(session, server.url) == BODY


async def test_cut_short() -> None:
    """A connection that ends within a body is aiohttp's error for that, and is not used again."""

    async def cut(writer: asyncio.StreamWriter) -> None:
        await _in_bits(_head(len(BODY)), BODY[:900_000])(writer)
        raise ConnectionError

    async with _served(cut, _in_bits(_head(5) + b"again")) as (server, session):
        with pytest.raises(aiohttp.ClientPayloadError):
            await _get(session, server.url)
        assert await _get(session, server.url) == b"again"
    assert server.connections == 2


async def test_a_server_that_falls_silent() -> None:
    """Within a body, too, nothing is waited for longer than ``sock_read``."""

    async def silent(writer: asyncio.StreamWriter) -> None:
        await _in_bits(_head(len(BODY)), BODY[:900_000])(writer)
        await asyncio.Event().wait()

    async with _served(silent, _in_bits(_head(5) + b"again")) as (server, session):
        with pytest.raises(TimeoutError):
            await _get(session, server.url)
        assert await _get(session, server.url) == b"again"
    assert server.connections == 2


async def test_cancelled() -> None:
    """Who gives up within a body ends its connection; nothing more is written to that memory."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await _in_bits(_head(len(BODY)), BODY[:900_000])(writer)
        begun.set()
        await go_on.wait()
        await _in_bits(BODY[900_000:])(writer)

    async with _served(slow, _in_bits(_head(5) + b"again")) as (server, session):
        reading = asyncio.ensure_future(_get(session, server.url))
        await begun.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        go_on.set()
        assert await _get(session, server.url) == b"again"
    assert server.connections == 2


async def test_memory_is_used_again_when_nobody_looks() -> None:
    """Memory of a body that somebody still sees, even a slice of it, is not overwritten by the next one."""
    memory = BodyMemory()
    first = memory.take(LARGE_BODY)
    first[:4] = b"mine"
    seen = first[:4].toreadonly()
    home = first.obj
    del first
    other = memory.take(LARGE_BODY)
    assert other.obj is not home
    del seen
    assert memory.take(LARGE_BODY).obj is home


async def test_memory_that_does_not_fit_stays() -> None:
    """A small body does not occupy the memory of one more than twice as large."""
    memory = BodyMemory()
    large = memory.take(4 * LARGE_BODY).obj
    assert memory.take(LARGE_BODY).obj is not large
    assert memory.take(2 * LARGE_BODY).obj is large


async def test_memory_is_bounded_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is kept than the bound; once no body has come for a while, nothing is."""
    monkeypatch.setattr(http_bodies, "_MOST_KEPT", 3 * LARGE_BODY)
    monkeypatch.setattr(http_bodies, "_IDLE", 0.0)
    memory = BodyMemory()
    views = [memory.take(LARGE_BODY) for _ in range(5)]
    kept: list[Any] = memory._kept
    assert len(kept) == 3
    del views
    while kept:
        await asyncio.sleep(0)
    assert memory._bytes == 0


@pytest.mark.parametrize("size", [0, 1, (64 << 10) + 1, 3 << 20])
async def test_pieces_to_send(size: int) -> None:
    """Buffers of any item size go out byte for byte, in order; a small piece comes first."""
    body = [os.urandom(size), memoryview(bytes(range(8)) * 2).cast("I"), b"", bytearray(b"end")]
    sent = [bytes(piece) async for piece in send_in_pieces(body)]
    assert b"".join(sent) == b"".join(bytes(each) for each in body)
    assert len(sent[0]) <= 64 << 10
    assert max(map(len, sent)) <= 1 << 20
