"""A server that answers as it is told and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from attrs import define, evolve, field, frozen

from icechunk_core.clock import Clock
from icechunk_core.contract import Storage, open_backend
from icechunk_core.storage import s3_storage
from icechunk_s3._storage import S3Storage

ACCESS_KEY, SECRET_KEY = "scripted-access-key", "scripted-secret-key-of-the-tests"


@frozen
class Asked:
    """A request, as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@frozen
class Answer:
    """An answer to give; `error` makes one as S3 words its refusals."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(factory=dict)
    cut: bool = False
    """Close the connection instead of answering."""
    before: Callable[[], Any] | None = None
    """Called when the request has arrived."""


def error(status: int, code: str, message: str = "as scripted", **headers: str) -> Answer:
    """A refusal."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status, text.encode(), {name.replace("_", "-"): value for name, value in headers.items()})


def found(body: bytes, **headers: str) -> Answer:
    """An object."""
    return Answer(
        200,
        body,
        {
            "etag": '"0123456789abcdef"',
            "last-modified": "Wed, 01 Jul 2026 10:00:00 GMT",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )


WRITTEN = Answer(200, b"", {"etag": '"fedcba9876543210"'})


@define
class Scripted:
    """The server. Answers are used up in turn; the last one stays."""

    answers: list[Answer] = field(factory=lambda: [WRITTEN])
    asked: list[Asked] = field(factory=list)
    endpoint: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(
            Asked(request.method, request.raw_path.partition("?")[0], dict(request.query), headers, body)
        )
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.before is not None:
            answer.before()
        if answer.cut:
            assert request.transport is not None
            request.transport.close()
            raise asyncio.CancelledError
        length = {"content-length": str(len(answer.body))} if request.method == "HEAD" else {}
        return web.Response(status=answer.status, body=answer.body, headers={**length, **answer.headers})

    def storage(self, **options: Any) -> Storage:
        """Open its bucket ``bucket`` with the prefix ``p``."""
        others = {name: options.pop(name) for name in list(options) if name not in _CONSTRUCTOR}
        if not {"anonymous", "get_credentials", "from_env"} & set(options):
            options |= {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
        arguments = {"region": "us-east-1", "endpoint_url": self.endpoint, "allow_http": True, **options}
        storage = s3_storage(bucket="bucket", prefix="p", **arguments)
        return reopened(storage, **others)


def reopened(storage: Storage, clock: Clock | None = None, **options: Any) -> Storage:
    """The same storage with other options of the backend, and another clock."""
    config = evolve(storage.config, **options)
    return open_backend(S3Storage(config, clock), plugin="s3", config=config)


_CONSTRUCTOR = frozenset(s3_storage.__annotations__)


@asynccontextmanager
async def scripted(*answers: Answer) -> AsyncIterator[Scripted]:
    """Run a server with these answers in the running event loop."""
    server = Scripted(list(answers) or [WRITTEN])
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{rest:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
