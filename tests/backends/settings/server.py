"""One server for all protocols, which fails or is silent as told, and counts requests."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from attrs import define, field

from icechunk_core.contract import Storage
from icechunk_core.storage import storage_from_url

__all__ = ["BACKENDS", "SIZE", "WRITERS", "CountingServer", "counting_server"]

SIZE = 1 << 20
"""Bytes of the object that every reader finds."""
OBJECT = bytes(range(256)) * (SIZE // 256)
_MODIFIED = "Mon, 23 Nov 2026 12:00:00 GMT"
BACKENDS = ("s3", "gcs", "azure", "http")
WRITERS = ("s3", "azure")
"""Those that upload the parts of an object side by side."""


@define
class CountingServer:
    """Answers reads of one object and uploads to any.

    Attributes
    ----------
    failing
        Answer every request with status 503.
    silent
        Answer none, for as long as the client waits.
    asked
        Requests so far: method, and the bytes that were read or written.
    most_open
        The most requests that were open at a time.
    """

    failing: bool = False
    silent: bool = False
    asked: list[tuple[str, int]] = field(factory=list)
    most_open: int = 0
    _open: int = 0
    address: str = ""

    def storage(self, backend: str) -> Storage:
        """Open the server with a backend."""
        if backend == "s3":
            return storage_from_url(
                "s3://bucket/p",
                endpoint_url=self.address,
                allow_http=True,
                region="us-east-1",
                access_key_id="a",
                secret_access_key="b",
            )
        if backend == "gcs":
            return storage_from_url("gs://bucket/p", endpoint_url=self.address, anonymous=True)
        if backend == "azure":
            key = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHM="
            return storage_from_url(
                "az://box/p", account="acc", endpoint_url=f"{self.address}/acc", access_key=key
            )
        return storage_from_url(f"{self.address}/p")

    def uploads(self) -> list[int]:
        """Bytes of the requests that brought some."""
        return [size for method, size in self.asked if method in ("PUT", "POST") and size >= 1 << 20]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.read()
        found = re.fullmatch(
            r"bytes=(\d+)-(\d*)", request.headers.get("range", request.headers.get("x-ms-range", ""))
        )
        start = int(found[1]) if found else 0
        end = min(SIZE, int(found[2]) + 1) if found and found[2] else SIZE
        self.asked.append((request.method, end - start if request.method == "GET" else len(body)))
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        try:
            for _ in range(20):  # those that come at the same time meet here
                await asyncio.sleep(0)
            if self.silent:
                await asyncio.Event().wait()
            if self.failing:
                return web.Response(status=503)
            return self._read(start, end, found is not None) if request.method == "GET" else _written(request)
        finally:
            self._open -= 1

    def _read(self, start: int, end: int, ranged: bool) -> web.Response:
        headers = {"ETag": '"0x1"', "Last-Modified": _MODIFIED, "x-goog-generation": "1"}
        headers |= {"x-goog-stored-content-length": str(SIZE), "x-goog-metageneration": "1"}
        headers |= {"x-ms-blob-type": "BlockBlob"}
        if ranged:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{SIZE}"
        return web.Response(status=206 if ranged else 200, body=OBJECT[start:end], headers=headers)


def _written(request: web.Request) -> web.Response:
    headers = {"ETag": '"0x2"', "Last-Modified": _MODIFIED, "x-ms-request-server-encrypted": "true"}
    if "uploads" in request.query:
        text = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        return web.Response(status=200, text=text, headers=headers)
    if "uploadId" in request.query and request.method == "POST":
        text = "<CompleteMultipartUploadResult><ETag>&quot;0x2-1&quot;</ETag></CompleteMultipartUploadResult>"
        return web.Response(status=200, text=text, headers=headers)
    if request.path.startswith("/upload/"):
        told = {"name": "p/key", "generation": "2", "metageneration": "1", "size": "1", "updated": _MODIFIED}
        return web.Response(status=200, text=json.dumps(told), headers=headers)
    return web.Response(status=201 if request.path.startswith("/acc") else 200, headers=headers)


@asynccontextmanager
async def counting_server() -> AsyncIterator[CountingServer]:
    """A running one."""
    server = CountingServer()
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{rest:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
