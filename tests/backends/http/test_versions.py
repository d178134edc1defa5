"""Versions from what servers send: ETags, weak ones, times, or nothing."""

from __future__ import annotations

import os

import pytest

from icechunk_core.contract import Range, Version
from icechunk_core.errors import Unsupported, VersionMismatch
from tests.backends.http.server import WebServer
from tests.backends.http.support import opened


def replace(web: WebServer, data: bytes) -> None:
    """Another content, at another second."""
    path = web.root / "a"
    path.write_bytes(data)
    os.utime(path, (1_700_000_000 + len(data), 1_700_000_000 + len(data)))


@pytest.mark.parametrize("honours", [True, False], ids=["if-match", "ignores conditions"])
@pytest.mark.parametrize("kind", ["etag", "weak", "time"])
async def test_a_read_of_one_version(web: WebServer, kind: str, honours: bool) -> None:
    """With ``if_version`` the bytes are that version's, also where conditions are ignored."""
    replace(web, b"first")
    if kind == "weak":
        web.etag = lambda data: f'W/"{len(data)}"'
    elif kind == "time":
        web.etag = lambda data: None
    web.conditions = honours
    async with opened(web.url) as storage:
        version = (await storage.head("a")).version
        data, info = await storage.get_range("a", Range(0, 3), version)
        assert (bytes(data), info.version) == (b"fir", version)
        replace(web, b"second one")
        with pytest.raises(VersionMismatch):
            await storage.get_range("a", Range(0, 3), version)
        assert (await storage.head("a")).version != version
        with pytest.raises(VersionMismatch):
            await storage.get_range("a", None, Version("of another storage"))


async def test_strong_etags_are_sent(web: WebServer) -> None:
    """The server itself checks an ETag, so that a wrong version costs no transfer; weak ones it could not."""
    replace(web, b"first")
    async with opened(web.url) as storage:
        version = (await storage.head("a")).version
        await storage.get_range("a", None, version)
        assert web.requests[-1].headers["if-match"] == web.etag(b"first")
        web.etag = lambda data: 'W/"x"'
        await storage.get_range("a", None, (await storage.head("a")).version)
        assert "if-match" not in web.requests[-1].headers


async def test_without_any_sign_there_is_no_promise(web: WebServer) -> None:
    """A server without ETag and time still serves reads; one of a certain version is refused, not faked."""
    replace(web, b"first")
    web.etag, web.last_modified = lambda data: None, False
    async with opened(web.url) as storage:
        data, info = await storage.get_range("a")
        assert bytes(data) == b"first"
        with pytest.raises(Unsupported, match="neither an ETag nor a Last-Modified"):
            await storage.get_range("a", None, info.version)


async def test_a_time_that_is_only_now_is_no_version(web: WebServer) -> None:
    """Two writes of one second have one ``Last-Modified``: what was written just now has no version yet."""
    (web.root / "a").write_bytes(b"first")
    web.etag = lambda data: None
    async with opened(web.url) as storage:
        version = (await storage.head("a")).version
        with pytest.raises(Unsupported, match="moment ago"):
            await storage.get_range("a", None, version)


async def test_versions_are_not_unique(web: WebServer) -> None:
    """ETags are of the content: the storage declares that the same bytes may have the same version again."""
    async with opened(web.url) as storage:
        assert not storage.capabilities.unique_versions
