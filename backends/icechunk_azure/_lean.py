"""The short way: plain reads, heads, deletes and small puts, sent without the SDK.

What an SDK call costs on this machine's processor is several times what the request itself does.
Everything else (lists, blocks, copies, metadata with unusual names) goes through the SDK.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from icechunk_azure._errors import FAILURES, Explainer
from icechunk_azure._identity import Bearer, Identity, SasToken, SharedKey
from icechunk_azure._location import Location
from icechunk_azure._names import decode_metadata
from icechunk_azure._sdk import API_VERSION
from icechunk_azure._signing import Signer
from icechunk_azure._wire import Entry, Facts, Got, PutOptions, Wire
from icechunk_core.clock import Clock
from icechunk_core.contract import Buffer
from icechunk_core.contract.http_bodies import receive_body, send_in_pieces

__all__ = ["LeanWire"]

_META = "x-ms-meta-"
_LARGE = 1 << 20
"""Bodies from this size on are sent piece by piece."""
_SKIPPED = ("Content-Type", "Accept", "Accept-Encoding", "User-Agent")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class LeanWire:
    """Single requests through a bare HTTP session; what is rare goes to the SDK's wire."""

    def __init__(
        self,
        location: Location,
        session: aiohttp.ClientSession,
        identity: Identity,
        explain: Explainer,
        clock: Clock,
        sdk: Wire,
        proxy: str | None,
    ) -> None:
        self._session = session
        self._explain = explain
        self._clock = clock
        self._sdk = sdk
        self._proxy = proxy
        self._base = f"{location.endpoint}/{quote(location.container, safe='')}/"
        self._path = urlsplit(self._base).path
        self._signer = Signer(identity.account, identity.key) if isinstance(identity, SharedKey) else None
        self._query = f"?{identity.token}" if isinstance(identity, SasToken) else ""
        self._bearer = f"Bearer {identity.token}" if isinstance(identity, Bearer) else None

    # --- reading

    async def get(self, name: str, key: str, span: tuple[int, int | None] | None, etag: str | None) -> Got:
        headers: dict[str, str] = {}
        if span is not None:
            start, end = span
            headers["x-ms-range"] = f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
        if etag is not None:
            headers["if-match"] = f'"{etag}"'
        try:
            async with self._send("GET", name, headers) as response:
                answer = response.headers
                if response.status not in (200, 206):
                    await response.read()
                    raise self._refused(response, key)
                data = await receive_body(response)
            size = len(data) if span is None else int(answer["Content-Range"].rpartition("/")[2])
            return Got(data, _facts(answer, size))
        except FAILURES as error:
            raise self._explain.exception(error, key) from None

    async def head(self, name: str, key: str) -> Facts:
        try:
            async with self._send("HEAD", name, {}) as response:
                if response.status != 200:
                    raise self._refused(response, key)
                answer = response.headers
            return _facts(answer, int(answer["Content-Length"]))
        except FAILURES as error:
            raise self._explain.exception(error, key) from None

    # --- writing

    async def put(self, name: str, key: str, data: Buffer, options: PutOptions) -> str:
        if options.metadata and not all(each.isalnum() for each in options.metadata):
            # How the service sorts other names for the signature is the SDK's knowledge.
            return await self._sdk.put(name, key, data, options)
        headers = {"x-ms-blob-type": "BlockBlob", "content-type": "application/octet-stream"}
        if options.conditions.absent:
            headers["if-none-match"] = "*"
        elif options.conditions.etag is not None:
            headers["if-match"] = f'"{options.conditions.etag}"'
        for metadata, value in (options.metadata or {}).items():
            headers[_META + metadata] = value
        if options.content_type:
            headers["x-ms-blob-content-type"] = options.content_type
        if options.tier:
            headers["x-ms-access-tier"] = options.tier
        try:
            async with self._send("PUT", name, headers, data) as response:
                await response.read()
                if response.status != 201:
                    raise self._refused(response, key)
                return str(response.headers["ETag"]).strip('"')
        except FAILURES as error:
            raise self._explain.exception(error, key) from None

    async def delete(self, name: str, key: str) -> None:
        try:
            async with self._send("DELETE", name, {"x-ms-delete-snapshots": "include"}) as response:
                await response.read()
                if response.status != 202:
                    failed = self._refused(response, key)
                    if failed.code != "BlobNotFound":
                        raise failed
        except FAILURES as error:
            raise self._explain.exception(error, key) from None

    # --- what is rare

    async def stage(self, name: str, key: str, block: str, data: bytes) -> None:
        await self._sdk.stage(name, key, block, data)

    async def commit(self, name: str, key: str, blocks: Sequence[str], options: PutOptions) -> str:
        return await self._sdk.commit(name, key, blocks, options)

    async def page(self, prefix: str, after: str | None) -> tuple[list[Entry], str | None]:
        return await self._sdk.page(prefix, after)

    async def copy(self, source: str, target: str, key: str, tier: str | None) -> str:
        return await self._sdk.copy(source, target, key, tier)

    # --- requests

    def _send(self, method: str, name: str, headers: dict[str, str], data: Buffer | None = None) -> Any:
        quoted = quote(name, safe="/~")
        headers["x-ms-date"] = _http_date(self._clock.now_us() // 1_000_000)
        headers["x-ms-version"] = API_VERSION
        if self._signer is not None:
            length = len(data) if data is not None else 0
            headers["authorization"] = self._signer.authorization(
                method, self._path + quoted, headers, length
            )
        elif self._bearer is not None:
            headers["authorization"] = self._bearer
        body: Any = data
        if data is not None and len(data) >= _LARGE:
            headers["content-length"] = str(len(data))
            body = send_in_pieces([data])
        return self._session.request(
            method,
            URL(self._base + quoted + self._query, encoded=True),
            headers=headers,
            data=body,
            skip_auto_headers=_SKIPPED,
            proxy=self._proxy,
            allow_redirects=False,
        )

    def _refused(self, response: aiohttp.ClientResponse, key: str) -> Any:
        headers = response.headers
        return self._explain.response(response.status, headers.get("x-ms-error-code", ""), headers, key)


def _facts(headers: Mapping[str, str], size: int) -> Facts:
    metadata = {name[len(_META) :]: value for name, value in headers.items() if name[:10].lower() == _META}
    return Facts(
        size,
        headers["ETag"].strip('"'),
        _moment(headers["Last-Modified"]),
        decode_metadata(metadata) if metadata else metadata,
    )


@lru_cache(256)
def _moment(text: str) -> datetime:
    return parsedate_to_datetime(text)


@lru_cache(4)
def _http_date(second: int) -> str:
    """A time as HTTP has it, in English whatever the locale is."""
    moment = datetime.fromtimestamp(second, UTC)
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return f"{day}, {moment.day:02d} {month} {moment:%Y %H:%M:%S} GMT"
