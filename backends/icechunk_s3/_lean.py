"""The frequent requests without the SDK's machinery: plain aiohttp and a signature.

Get, head and put of one object or of a part of it go this way. Everything rare (listings, deletes, the
beginning and the end of an upload in parts, checksums of choice, buckets that turn out to be in another
region) goes through the SDK's client, which is made when it is first needed.
"""

from __future__ import annotations

import asyncio
import functools
import html
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from attrs import define, frozen
from botocore.exceptions import NoCredentialsError
from botocore.httpsession import get_cert_path
from yarl import URL

from icechunk_core.clock import Clock
from icechunk_core.contract import Buffer, as_one
from icechunk_core.contract.credentials import S3StaticCredentials
from icechunk_core.contract.http_bodies import receive_body, send_in_pieces
from icechunk_s3._client import (
    Client,
    Reply,
    WriteOptions,
    etag_of,
    extra_headers,
    sse_headers,
)
from icechunk_s3._config import S3Config
from icechunk_s3._digests import CRC32, LARGE, BodyDigests
from icechunk_s3._errors import Dropped, Refused
from icechunk_s3._quirks import Quirks
from icechunk_s3._signing import EMPTY_SHA256, Signer, quoted_name

__all__ = ["LeanClient"]

KEEP_ALIVE = 12.0
"""Seconds that an idle connection is kept; servers close theirs after 15 or more."""

_CODE = re.compile(r"<Code>(.*?)</Code>", re.DOTALL)
_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_REGION = re.compile(r"<Region>(.*?)</Region>", re.DOTALL)
_OTHER_REGION = ("AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect")


class _ElsewhereError(Exception):
    """The bucket is in another region: the SDK finds out which one."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a request whose connection broke: a put may have landed."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Dropped(type(error).__name__) from error


@frozen
class Keys:
    """Where the key to sign with comes from; ``None`` for unsigned requests."""

    current: Callable[[], Awaitable[S3StaticCredentials | None]]
    anonymous: bool


@define
class LeanClient:
    """The frequent requests, as plain ones."""

    _config: S3Config
    _quirks: Quirks
    _keys: Keys
    _signer: Signer
    _session: aiohttp.ClientSession
    _base: str
    _open_sdk: Callable[[], Awaitable[Client]]
    _host: str
    _path: str
    _read_headers: dict[str, str]
    _write_headers: dict[str, str]
    _digests: BodyDigests
    _opening: asyncio.Lock
    _sdk: Client | None = None
    _lean: bool = True

    @classmethod
    async def open(
        cls,
        config: S3Config,
        quirks: Quirks,
        keys: Keys,
        region: str,
        base: str,
        clock: Clock,
        digests: BodyDigests,
        open_sdk: Callable[[], Awaitable[Client]],
    ) -> LeanClient:
        """A client in the running event loop.

        Parameters
        ----------
        base
            URL of the bucket.
        digests
            Shared by the clients of all loops: what one finds out about the server, all know.
        open_sdk
            Makes the client for what is rare.
        """
        parts = urlsplit(base)
        tls: ssl.SSLContext | bool = True
        if parts.scheme == "https":
            tls = await asyncio.to_thread(ssl.create_default_context, cafile=get_cert_path(True))
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=config.max_connections, keepalive_timeout=KEEP_ALIVE, ssl=tls
            ),
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=config.connect_timeout,
                sock_read=config.network_stream_timeout_seconds or None,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("content-type", "accept"),
            headers={"accept-encoding": "identity", "user-agent": config.user_agent or "icechunk-core"},
            middlewares=(_once,),
        )
        return cls(
            config,
            quirks,
            keys,
            Signer(region, clock),
            session,
            f"{parts.scheme}://{parts.netloc}",
            open_sdk,
            parts.netloc,
            quoted_name(parts.path) + "/",
            _lower(extra_headers(config, write=False)),
            _lower(extra_headers(config, write=True)),
            digests,
            asyncio.Lock(),
        )

    async def close(self) -> None:
        await self._session.close()
        if self._sdk is not None:
            await self._sdk.close()

    async def full(self) -> Client:
        """The SDK's client, made when it is first needed."""
        if self._sdk is None:
            async with self._opening:
                if self._sdk is None:
                    self._sdk = await self._open_sdk()
        return self._sdk

    async def get(self, name: str, byte_range: str | None, if_match: str | None) -> Reply:
        if self._lean:
            headers = dict(self._read_headers)
            if byte_range is not None:
                headers["range"] = byte_range
            if if_match is not None:
                headers["if-match"] = if_match
            try:
                return await self._send("GET", name, headers)
            except _ElsewhereError:
                self._lean = False
        return await (await self.full()).get(name, byte_range, if_match)

    async def head(self, name: str) -> Reply:
        if self._lean:
            try:
                return await self._send("HEAD", name, dict(self._read_headers))
            except _ElsewhereError:
                self._lean = False
        return await (await self.full()).head(name)

    async def put(self, name: str, body: Sequence[Buffer], options: WriteOptions) -> str:
        if self._lean and self._config.checksum is None:
            try:
                reply = await self._send("PUT", name, self._about(options), body)
                return etag_of(reply.headers.get("etag"))
            except _ElsewhereError:
                self._lean = False
        return await (await self.full()).put(name, body, options)

    async def upload_part(self, name: str, upload: str, number: int, body: memoryview) -> Mapping[str, str]:
        if self._lean and self._config.checksum is None:
            query = f"partNumber={number}&uploadId={quote(upload, safe='-_.~')}"
            try:
                reply = await self._send("PUT", name, dict(self._write_headers), [body], query)
            except _ElsewhereError:
                self._lean = False
            else:
                told = {"ETag": str(reply.headers.get("etag"))}
                # Uploads that the SDK begins with its default checksums want them named at the end.
                if self._quirks.default_checksums and CRC32 in reply.headers:
                    told["ChecksumCRC32"] = reply.headers[CRC32]
                return told
        return await (await self.full()).upload_part(name, upload, number, body)

    def _about(self, options: WriteOptions) -> dict[str, str]:
        config = self._config
        given = {
            "content-type": options.content_type,
            "x-amz-storage-class": options.storage_class or config.storage_class,
            "if-match": options.if_match,
            "if-none-match": "*" if options.if_absent else None,
        }
        return {
            **self._write_headers,
            **sse_headers(config.server_side_encryption, config.kms_key_id),
            **{f"x-amz-meta-{name.lower()}": value for name, value in options.metadata.items()},
            **{name: value for name, value in given.items() if value is not None},
        }

    async def _send(
        self,
        method: str,
        name: str,
        headers: dict[str, str],
        body: Sequence[Buffer] | None = None,
        query: str = "",
    ) -> Reply:
        path = self._path + quoted_name(name)
        digest = EMPTY_SHA256
        data: Any = None
        if body is not None:
            size = sum([memoryview(each).nbytes for each in body])
            data = as_one(body) if size < LARGE else send_in_pieces(body)
            digests = functools.partial(self._digests.of, body, part=bool(query))
            digest, told = digests() if size < LARGE else await asyncio.to_thread(digests)
            headers |= told
        headers["host"] = self._host
        if not self._keys.anonymous:
            key = await self._keys.current()
            if key is None:
                raise NoCredentialsError
            headers |= self._signer.sign(key, method, path, headers, digest, query)
        if body is not None and size >= LARGE:
            headers["content-length"] = str(size)
        url = self._base + path + ("?" + query if query else "")
        async with self._session.request(
            method, URL(url, encoded=True), headers=headers, data=data, allow_redirects=False
        ) as response:
            answered = {name.lower(): value for name, value in response.headers.items()}
            if response.status >= 300:
                raise _refusal(response.status, answered, await response.read())
            answer = await receive_body(response)
            if body is not None:
                self._digests.learn(headers, answered)
            return Reply(answered, answer)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _refusal(status: int, headers: Mapping[str, str], answer: bytes) -> Exception:
    text = answer[:4096].decode(errors="replace")
    code = _found(_CODE, text) or ""
    if status in (301, 307) or code in _OTHER_REGION:
        return _ElsewhereError()
    return Refused(status, code, _found(_MESSAGE, text) or "", headers, _found(_REGION, text))


def _found(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return html.unescape(match.group(1)).strip() if match else None
