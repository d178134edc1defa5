"""What goes wrong on the way: statuses, broken answers, servers that are not there."""

from __future__ import annotations

import email.utils
import socket
from collections.abc import Callable

import pytest

from icechunk_core.clock import SystemClock
from icechunk_core.errors import (
    IcechunkError,
    NotFound,
    PermissionDenied,
    RateLimited,
    Timeout,
    Unauthenticated,
    Unavailable,
)
from icechunk_http._errors import retry_after
from tests.backends.http.server import Answer, Request, Script, WebServer
from tests.backends.http.support import Waits, opened


def failing(times: int, answer: Answer) -> Script:
    """So many bad answers first."""
    left = [times]

    def script(request: Request) -> Answer | None:
        left[0] -= 1
        return answer if left[0] >= 0 else None

    return script


BROKEN = {
    "hangs up": Answer(0),
    "503": Answer(503),
    "500": Answer(500),
    "408": Answer(408),
    "429": Answer(429),
    "half an answer": Answer(200, {"Content-Length": "1000"}, b"half"),
    "half a part": Answer(206, {"Content-Length": "4", "Content-Range": "bytes 0-3/4"}, b"ha"),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
async def test_passing_failures_are_repeated(web: WebServer, answer: Answer) -> None:
    """What may pass by is tried again, from the start, and never shows half an object."""
    (web.root / "a").write_bytes(b"data")
    async with opened(web.url) as storage:
        web.script = failing(3, answer)
        assert bytes((await storage.get_range("a"))[0]) == b"data"
        web.script = failing(3, answer)
        assert (await storage.head("a")).size in (4, 1000)  # a HEAD has no body that could break off


@pytest.mark.parametrize(
    ("status", "error", "advice"),
    [
        (401, Unauthenticated, "headers and token"),
        (403, PermissionDenied, "denies access"),
        (404, NotFound, "no such object"),
        (410, NotFound, "gone"),
        (418, Unavailable, "makes no sense"),
        (429, RateLimited, "slow down"),
        (503, Unavailable, "repeat later"),
        (504, Timeout, "in time"),
    ],
)
async def test_statuses(web: WebServer, status: int, error: type[IcechunkError], advice: str) -> None:
    """Each status is the error that says what to do, with the key and the address."""
    web.script = lambda request: Answer(status)
    async with opened(web.url) as storage:
        for call in (storage.get_range("some/key"), storage.head("some/key")):
            with pytest.raises(error, match=advice) as caught:
                await call
            assert "some/key" in str(caught.value)
            assert web.url in str(caught.value)
    if status not in (429, 503, 504, 418):
        assert len(web.requests) == 2


async def test_missing_behind_403(web: WebServer) -> None:
    """Object stores that answer 403 for missing objects can be used, when the option says so."""
    web.script = lambda request: Answer(403)
    async with opened(web.url, forbidden_is_missing=True) as storage:
        assert not await storage.exists("a")


async def test_waits_grow_and_end(web: WebServer) -> None:
    """Waits double up to a bound, and the attempts are counted."""
    web.script = lambda request: Answer(503)
    waits = Waits()
    async with opened(web.url, waits=waits, max_attempts=8) as storage:
        with pytest.raises(Unavailable):
            await storage.head("a")
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]


async def test_the_server_says_when(web: WebServer) -> None:
    """``Retry-After`` is kept, in seconds or as a date; a wait past the deadline is not begun."""
    web.script = failing(1, Answer(503, {"Retry-After": "7"}))
    (web.root / "a").write_bytes(b"data")
    waits = Waits()
    async with opened(web.url, waits=waits) as storage:
        await storage.head("a")
        assert waits == [7.0]
        web.script = failing(1, Answer(429, {"Retry-After": "3600"}))
        with pytest.raises(RateLimited):
            await storage.head("a")
        assert waits == [7.0]
    now = SystemClock().now_us()
    date = email.utils.formatdate(now / 1_000_000 + 100, usegmt=True)
    assert 98 < (retry_after({"Retry-After": date}, now) or 0) < 101
    assert retry_after({"Retry-After": "soon"}, now) is None


async def test_nobody_there() -> None:
    """A refused connection is reported soon, with what to check."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        waits = Waits()
        async with opened(f"http://127.0.0.1:{port}", waits=waits) as storage:
            with pytest.raises(Unavailable, match="refused; check host and port"):
                await storage.get_range("a")
        assert len(waits) == 1


async def test_unknown_host() -> None:
    """A host that does not exist is told from one that is down."""
    async with opened("http://no-such-host.invalid") as storage:
        with pytest.raises(Unavailable, match="cannot be resolved"):
            await storage.head("a")


async def test_wrong_protocol(web: WebServer) -> None:
    """https at a port that speaks http names TLS as the reason."""
    async with opened(web.url.replace("http:", "https:"), max_attempts=1) as storage:
        with pytest.raises(Unavailable, match="TLS"):
            await storage.head("a")


@pytest.mark.parametrize("limit", ["read_timeout", "request_timeout", "deadline"])
async def test_silence_has_an_end(limit: str) -> None:
    """A server that accepts and says nothing is a `Timeout`, by each of the limits."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with opened(url, max_attempts=1, **{limit: 0.05}) as storage:
            with pytest.raises(Timeout, match="in time"):
                await storage.get_range("a")


@pytest.mark.parametrize("make", [lambda: Answer(302, {"Location": "/a"})])
async def test_circles_end(web: WebServer, make: Callable[[], Answer]) -> None:
    """Redirects in a circle are an error that names them."""
    web.script = lambda request: make()
    async with opened(web.url, max_attempts=1) as storage:
        with pytest.raises(Unavailable, match="redirects"):
            await storage.head("a")
