"""Clients that a stumbling network or a busy server leads astray, and wasteful ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import ClassVar

from icechunk_conformance.broken.gallery import broken
from icechunk_conformance.reference_http import HttpReference
from icechunk_conformance.reference_server import ObjectServer
from icechunk_conformance.wire import LIMIT, Message, WireError, read_response, response
from icechunk_core.contract import Buffer, ByteRange, DeleteResult, ObjectInfo, Range, Version, hookimpl
from icechunk_core.errors import RateLimited, StorageError, Timeout, Unavailable


class Reading(HttpReference):
    """The reference client, whose way of reading an answer can be overridden."""

    async def read(self, reader: asyncio.StreamReader, method: str) -> Message:
        return await read_response(reader, method)

    async def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Message:
        lines = {"Host": self._base.netloc, "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        reader, writer = await asyncio.open_connection(self._base.hostname, self._base.port, limit=LIMIT)
        try:
            writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
            await writer.drain()
            return await self.read(reader, method)
        finally:
            writer.close()


@broken("half-is-whole", "H03 H04 H14")
class HalfIsWhole(Reading):
    """Takes what has come when the connection ends for the whole body."""

    async def read(self, reader: asyncio.StreamReader, method: str) -> Message:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(Message(head, b"").header("content-length") or 0)
        if method == "HEAD":
            return Message(head, b"")
        try:
            return Message(head, await reader.readexactly(length))
        except asyncio.IncompleteReadError as error:
            return Message(head, error.partial)


@broken("fills-up", "H03 H04 H05")
class FillsUp(Reading):
    """Fills up what is missing of a body with zeros."""

    async def read(self, reader: asyncio.StreamReader, method: str) -> Message:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(Message(head, b"").header("content-length") or 0)
        if method == "HEAD":
            return Message(head, b"")
        try:
            return Message(head, await reader.readexactly(length))
        except asyncio.IncompleteReadError as error:
            return Message(head, error.partial + bytes(length - len(error.partial)))


@broken("waits-for-ever", "H06 H07 H13")
class WaitsForEver(HttpReference):
    """Has no timeout."""

    async def attempt(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Message:
        try:
            answer = await self.exchange(method, target, headers, body)
        except (OSError, WireError) as error:
            raise Unavailable(f"the connection failed: {type(error).__name__}") from error
        self.check_status(answer.status)
        return answer


@broken("busy-is-empty", "G03 H08 H09 H13")
class BusyIsEmpty(HttpReference):
    """Does not look at the status of an answer unless it is one that it knows."""

    def check_status(self, status: int) -> None:
        return None


@broken("impatient", "H10")
class Impatient(Reading):
    """Gives up an answer that comes in many pieces."""

    async def read(self, reader: asyncio.StreamReader, method: str) -> Message:
        head = await reader.readuntil(b"\r\n\r\n")
        message = Message(head, b"")
        length = 0 if method == "HEAD" else int(message.header("content-length") or 0)
        body, pieces = b"", 0
        while len(body) < length:
            piece = await reader.read(length - len(body))
            body, pieces = body + piece, pieces + 1
            if not piece or (pieces > 12 and length < 400_000):
                raise WireError("gave up")
        return Message(head, body)


@broken("stale-connections", "H11")
class StaleConnections(Reading):
    """Keeps a connection that the server has closed, and fails with it."""

    stale = False

    async def read(self, reader: asyncio.StreamReader, method: str) -> Message:
        answer = await read_response(reader, method)
        await asyncio.sleep(0.005)
        self.stale = reader.at_eof()
        return answer

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Message:
        if self.stale:
            self.stale = False
            raise Unavailable("the connection was closed by the server")
        return await super().ask(method, target, headers, body)


class HalfServer(ObjectServer):
    """Stores what has come of a body when the connection ends."""

    async def read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        length = int(Message(head, b"").header("content-length") or 0)
        try:
            return Message(head, await reader.readexactly(length))
        except asyncio.IncompleteReadError as error:
            return Message(head, error.partial)


@broken("half-is-stored", "H12")
class HalfIsStored(HttpReference):
    """A server that stores half of a put's body when the connection ends there."""

    SERVER: ClassVar[type[ObjectServer]] = HalfServer


class RacyServer(ObjectServer):
    """Looks at the condition, and writes when others have had their turn."""

    async def answer(self, request: Message) -> bytes:
        conditional = "if-none-match" in request.head.decode().lower() or request.header("if-match")
        if request.method == "PUT" and conditional:
            if not self.admits(request):
                return response(412, "Precondition Failed")
            for _ in range(3):
                await asyncio.sleep(0)
            return self.store(request)
        return await super().answer(request)


@broken("racy-server", "F16")
class RacyServerStorage(HttpReference):
    """A server that checks a condition and then writes; what comes between it does not see."""

    SERVER: ClassVar[type[ObjectServer]] = RacyServer


@broken("listing-ends-at-an-error", "H02 H04 H07 H09")
class ListingEndsAtAnError(HttpReference):
    """Takes a page that it could not get for the end of the listing."""

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        try:
            async for info in super().list(prefix, start_after):
                yield info
        except (Unavailable, Timeout, RateLimited):
            return


@broken("delete-hides-errors", "H02")
class DeleteHidesErrors(HttpReference):
    """Reports every delete as done."""

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        results = await super().delete(keys)
        return [
            DeleteResult(result.key)
            if isinstance(result.error, Unavailable | Timeout | RateLimited)
            else result
            for result in results
        ]


@broken("secret-in-transport-errors", "H13")
class SecretInTransportErrors(HttpReference):
    """Puts its credentials into the message of a failed request."""

    async def attempt(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Message:
        try:
            return await super().attempt(method, target, headers, body)
        except StorageError as error:
            raise type(error)(f"{error.message} (key {self.config.secret})") from error


@broken("shares-its-last-answer", "H14")
class SharesItsLastAnswer(HttpReference):
    """Gives the last answer again when a read fails."""

    last: Message | None = None

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Message:
        whole = method == "GET" and not headers
        try:
            answer = await super().ask(method, target, headers, body)
        except (Unavailable, Timeout, RateLimited):
            if self.last is None or not whole:
                raise
            return self.last
        if whole and answer.status == 200:
            self.last = answer
        return answer


# --- wasteful -------------------------------------------------------------------


@broken("head-before-get", "L02")
class HeadBeforeGet(HttpReference):
    """Asks for the size before every read."""

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        await self.head(key)
        return await super().get_range(key, byte_range, if_version)


@broken("head-for-each-listed", "L03")
class HeadForEachListed(HttpReference):
    """Asks for every object that a listing shows."""

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        async for info in super().list(prefix, start_after):
            await self.ask("HEAD", self.path(info.key))
            yield info


@broken("head-before-delete", "L04")
class HeadBeforeDelete(HttpReference):
    """Asks whether an object is there before it deletes it."""

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        if len(keys) > 1:
            for key in keys:
                await self.ask("HEAD", self.path(key))
        return await super().delete(keys)


@broken("many-small-reads", "L05")
class ManySmallReads(HttpReference):
    """Reads large objects in small pieces."""

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        if byte_range is not None:
            return await super().get_range(key, byte_range, if_version)
        first, info = await super().get_range(key, None, if_version)
        for start in range(1 << 19, info.size, 1 << 19):
            await super().get_range(key, Range(start, start + 1), info.version)
        return first, info
