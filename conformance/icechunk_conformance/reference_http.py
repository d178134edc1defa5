"""The reference storage over a network: a client of `reference_server`, with timeouts and retries.

It is what the faulting proxy is tried on, and what the gallery's storages with mistakes in their transport
are derived from: each overrides one small method.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote, urlencode, urlsplit

from attrs import field, frozen

from icechunk_conformance.reference_server import ObjectServer, shared_server
from icechunk_conformance.wire import LIMIT, Message, WireError, read_response
from icechunk_core.clock import datetime_from_us
from icechunk_core.contract import (
    AtomicityScope,
    Buffer,
    ByteRange,
    Capabilities,
    Condition,
    DeleteResult,
    From,
    IfAbsent,
    IfVersion,
    ObjectInfo,
    Range,
    Storage,
    Version,
    hookimpl,
    joined,
    open_backend,
    resolve_range,
)
from icechunk_core.contract.keys import check_key
from icechunk_core.errors import (
    AlreadyExists,
    Closed,
    InvalidKey,
    InvalidRange,
    NotFound,
    RateLimited,
    StorageError,
    Timeout,
    Unavailable,
    VersionMismatch,
)

__all__ = ["HTTP_REFERENCE", "HttpConfig", "HttpOpener", "HttpReference"]

HTTP_REFERENCE = Capabilities(
    create=True,
    update=True,
    atomicity=AtomicityScope.GLOBAL,
    metadata=True,
    may_suspend=True,
    fork_safe=True,
)
_places = itertools.count(1)


@frozen
class HttpConfig:
    """Where the server is, and how patient the client.

    Attributes
    ----------
    timeout
        Seconds for one attempt.
    attempts
        How often a request is tried.
    """

    endpoint: str = field(metadata={"endpoint": True})
    secret: str = field(default="", repr=False)
    timeout: float = field(default=10.0, metadata={"timeout": True})
    attempts: int = 3


@frozen
class HttpOpener:
    """Opens clients of one place: the factory of a `Location`, and what a client pickles to."""

    backend: type[HttpReference]
    config: HttpConfig

    def __call__(self, config: HttpConfig | None = None) -> Storage:
        used = config or self.config
        return open_backend(self.backend(used), plugin="reference-http", config=used, reopen=self)


class HttpReference:
    """A client. Every step that a broken storage gets wrong is a method."""

    CAPABILITIES: ClassVar[Capabilities] = HTTP_REFERENCE
    SERVER: ClassVar[type[ObjectServer]] = ObjectServer

    def __init__(self, config: HttpConfig) -> None:
        self.config = config
        self.closed = False
        self._base = urlsplit(config.endpoint)

    @classmethod
    def opener(cls, secret: str = "") -> HttpOpener:
        """A function that opens clients of one new, empty place on this process's server."""
        return HttpOpener(cls, HttpConfig(f"{shared_server(cls.SERVER).url}/place-{next(_places)}", secret))

    # --- steps

    def path(self, key: str) -> str:
        return f"{self._base.path}/{quote(key)}"

    def enter(self, *keys: str) -> None:
        """What every operation begins with."""
        if self.closed:
            raise Closed("the storage was closed; open it again")
        for key in keys:
            check_key(key)

    async def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Message:
        """One attempt: a connection, a request and its whole answer."""
        lines = {"Host": self._base.netloc, "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        reader, writer = await asyncio.open_connection(self._base.hostname, self._base.port, limit=LIMIT)
        try:
            writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
            await writer.drain()
            return await read_response(reader, method)
        finally:
            writer.close()

    async def attempt(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Message:
        """One attempt, in time; what goes wrong is a storage error."""
        try:
            async with asyncio.timeout(self.config.timeout):
                answer = await self.exchange(method, target, headers, body)
        except TimeoutError as error:
            raise Timeout(f"no answer within {self.config.timeout:g} s") from error
        except (OSError, WireError) as error:
            raise Unavailable(f"the connection failed: {type(error).__name__}") from error
        self.check_status(answer.status)
        return answer

    def check_status(self, status: int) -> None:
        """Raise for a status that says that the server did not try."""
        if status == 429:
            raise RateLimited("too many requests")
        if status == 408:
            raise Timeout("the server did not get the request in time")
        if status >= 500:
            raise Unavailable(f"the server answered {status}")

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Message:
        """A request, again after a failure of the transport."""
        for left in reversed(range(self.config.attempts)):
            try:
                return await self.attempt(method, target, headers or {}, body)
            except (Unavailable, Timeout, RateLimited):
                if not left:
                    raise
                await asyncio.sleep(0.01)
        raise AssertionError("unreachable")

    def refusal(self, condition: Condition, key: str) -> StorageError:
        """The error for a condition that did not hold."""
        if isinstance(condition, IfAbsent):
            return AlreadyExists(f"object {key!r} exists", key=key)
        return VersionMismatch(f"object {key!r} has another version", key=key)

    def info(self, key: str, answer: Message, size: int) -> ObjectInfo:
        meta = {}
        for line in answer.head.decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(": ")
            if name.startswith("X-Meta-"):
                meta[name[7:]] = value
        modified = datetime_from_us(int(answer.header("x-modified") or 0))
        return ObjectInfo(key, size, Version(answer.header("etag") or ""), modified, meta)

    # --- hooks

    @hookimpl
    def capabilities(self) -> Capabilities:
        return self.CAPABILITIES

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        self.enter(key)
        headers = {} if if_version is None else {"If-Match": if_version.token}
        if byte_range is not None:
            headers["Range"] = _range_header(byte_range, key)
        answer = await self.ask("GET", self.path(key), headers)
        if answer.status == 404:
            raise NotFound(f"no object {key!r}", key=key)
        if answer.status == 412:
            raise VersionMismatch(f"object {key!r} has another version", key=key)
        if answer.status == 416:
            raise InvalidRange(f"the byte range starts past the end of {key!r}", key=key)
        span = answer.header("content-range")
        size = int(span.rpartition("/")[2]) if span else len(answer.body)
        return answer.body, self.info(key, answer, size)

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        self.enter(key)
        answer = await self.ask("HEAD", self.path(key))
        if answer.status == 404:
            raise NotFound(f"no object {key!r}", key=key)
        return self.info(key, answer, int(answer.header("x-size") or 0))

    @hookimpl
    async def put(
        self, key: str, data: Sequence[Buffer], condition: Condition, metadata: Mapping[str, str] | None
    ) -> Version:
        self.enter(key)
        headers = {f"X-Meta-{name}": value for name, value in (metadata or {}).items()}
        if isinstance(condition, IfAbsent):
            headers["If-None-Match"] = "*"
        elif isinstance(condition, IfVersion):
            headers["If-Match"] = quote(condition.version.token)
        answer = await self.ask("PUT", self.path(key), headers, joined(data))
        if answer.status == 412:
            raise self.refusal(condition, key)
        return Version(answer.header("etag") or "")

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        self.enter()
        base = self._base.path.lstrip("/") + "/"
        after = None if start_after is None else base + start_after
        while True:
            query = {"prefix": prefix} if after is None else {"prefix": prefix, "after": after}
            answer = await self.ask("GET", f"{self._base.path}/?{urlencode(query)}&list=")
            page = json.loads(answer.body)
            for key, size, etag, modified in page["objects"]:
                after = key
                yield ObjectInfo(key.removeprefix(base), size, Version(etag), datetime_from_us(modified))
            if not page["more"]:
                return

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        self.enter()

        async def delete_one(key: str) -> DeleteResult:
            try:
                check_key(key)
                await self.ask("DELETE", self.path(key))
            except (InvalidKey, Unavailable, Timeout, RateLimited) as error:
                return DeleteResult(key, error)
            return DeleteResult(key)

        results = []
        for start in range(0, len(keys), 16):
            results += await asyncio.gather(*map(delete_one, keys[start : start + 16]))
        return results

    @hookimpl
    async def close(self) -> None:
        self.closed = True


def _range_header(byte_range: ByteRange, key: str) -> str:
    resolve_range(byte_range, 1 << 62, key=key)
    if isinstance(byte_range, Range):
        return f"bytes={byte_range.start}-{byte_range.end - 1}"
    if isinstance(byte_range, From):
        return f"bytes={byte_range.offset}-"
    assert byte_range is not None
    return f"bytes=-{byte_range.length}"
