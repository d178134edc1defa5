"""A blob service that answers as a script says, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from attrs import field, frozen

from icechunk_core.contract import Storage
from icechunk_core.storage import storage_from_url

__all__ = ["Answer", "Asked", "ScriptedService", "found"]

KEY = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHM="
LAST_MODIFIED = "Mon, 23 Nov 2026 12:00:00 GMT"


@frozen
class Asked:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@frozen
class Answer:
    """What to send back; ``drop`` closes the connection instead."""

    status: int
    code: str = ""
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""
    drop: bool = False


def found(body: bytes = b"bytes", etag: str = "0x1", **headers: str) -> Answer:
    """A blob."""
    facts = {"ETag": f'"{etag}"', "Last-Modified": LAST_MODIFIED, "x-ms-blob-type": "BlockBlob"}
    return Answer(200, headers={**facts, **headers}, body=body)


CREATED = Answer(201, headers={"ETag": '"0x2"', "Last-Modified": LAST_MODIFIED})


class ScriptedService:
    """Answers requests one after the other; the last answer is repeated."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._script: list[Answer] = []

    def answers(self, *script: Answer) -> None:
        """What to answer from now on."""
        self.asked.clear()
        self._script = list(script)

    def storage(self, **options: Any) -> Storage:
        """Opens the service with the backend."""
        given = {
            "account": "acc",
            "endpoint_url": self.endpoint,
            **({} if {"sas_token", "credentials", "anonymous"} & set(options) else {"access_key": KEY}),
            **options,
        }
        return storage_from_url("az://box/pre", **given)

    async def __aenter__(self) -> ScriptedService:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{anything:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.endpoint = f"http://127.0.0.1:{port}/acc"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        self.asked.append(Asked(request.method, request.raw_path, dict(request.query), headers, body))
        answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if answer.drop:
            assert request.transport is not None
            request.transport.abort()
        if answer.status == 200 and "x-ms-range" in headers:
            answer = _part(answer, headers["x-ms-range"])
        headers = dict(answer.headers)
        if answer.code:
            headers["x-ms-error-code"] = answer.code
        return web.Response(status=answer.status, headers=headers, body=answer.body)


def _part(answer: Answer, span: str) -> Answer:
    """What the service says to a range of a blob."""
    first, _, last = span.removeprefix("bytes=").partition("-")
    size = len(answer.body)
    start, end = int(first), min(int(last or size), size - 1)
    if start >= size:
        return Answer(416, "InvalidRange")
    return Answer(
        206,
        headers={**answer.headers, "Content-Range": f"bytes {start}-{end}/{size}"},
        body=answer.body[start : end + 1],
    )
