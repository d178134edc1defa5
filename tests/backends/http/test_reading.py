"""Reading from web servers of every kind: with ranges and without, with HEAD and without."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from icechunk_core.contract import ByteRange, From, Range, Suffix, resolve_range
from icechunk_core.errors import (
    Closed,
    InvalidKey,
    InvalidRange,
    NotFound,
    ReadOnly,
    Unavailable,
    Unsupported,
)
from tests.backends.http.server import Answer, Request, WebServer, plain_server
from tests.backends.http.support import opened

DATA = bytes(range(256)) * 40
RANGES = [
    None,
    Range(0, 1),
    Range(10, 300),
    Range(10_000, 20_000),
    From(9_000),
    From(0),
    Suffix(5),
    Suffix(99_999),
]


def no_ranges(web: WebServer) -> None:
    web.ranges = False


def sizes_unknown(web: WebServer) -> None:
    """Parts whose ``Content-Range`` leaves out the size of the whole."""

    def script(request: Request) -> Answer | None:
        web.script = None
        answer = web.answer(request)
        web.script = script
        if answer.status == 206:
            answer.headers["Content-Range"] = answer.headers["Content-Range"].partition("/")[0] + "/*"
        return answer

    web.script = script


def without_suffixes(web: WebServer) -> None:
    def script(request: Request) -> Answer | None:
        if request.headers.get("range", "").startswith("bytes=-"):
            return Answer(416, {"Content-Range": f"bytes */{len(DATA)}"})
        return None

    web.script = script


def more_than_asked(web: WebServer) -> None:
    """Parts that begin before the range and end after it, as caches of blocks send them."""

    def script(request: Request) -> Answer | None:
        if "range" not in request.headers or request.headers["range"].startswith("bytes=-"):
            return None
        start, end = 0, len(DATA)
        return Answer(206, {"Content-Range": f"bytes {start}-{end - 1}/{len(DATA)}"}, DATA)

    web.script = script


@pytest.mark.parametrize("byte_range", RANGES, ids=str)
@pytest.mark.parametrize(
    "kind",
    [None, no_ranges, sizes_unknown, without_suffixes, more_than_asked],
    ids=lambda k: getattr(k, "__name__", ""),
)
async def test_ranges(web: WebServer, kind: object, byte_range: ByteRange) -> None:
    """Whatever a server makes of a range, the caller gets the bytes asked for, and the whole's size."""
    (web.root / "a").write_bytes(DATA)
    if callable(kind):
        kind(web)
    start, end = resolve_range(byte_range, len(DATA))
    async with opened(web.url) as storage:
        data, info = await storage.get_range("a", byte_range)
        assert bytes(data) == DATA[start:end]
        assert info.size == len(DATA)


@pytest.mark.parametrize("byte_range", RANGES, ids=str)
async def test_ranges_of_pythons_own_server(tmp_path: Path, byte_range: ByteRange) -> None:
    """``python -m http.server``, which knows no ranges and no ETags, is good enough."""
    (tmp_path / "a").write_bytes(DATA)
    start, end = resolve_range(byte_range, len(DATA))
    with plain_server(tmp_path) as url:
        async with opened(url) as storage:
            data, info = await storage.get_range("a", byte_range)
            assert (bytes(data), info.size) == (DATA[start:end], len(DATA))


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    "bad", [Range(len(DATA), len(DATA) + 1), From(len(DATA)), Range(5, 5), From(-1), Suffix(0)], ids=str
)
async def test_impossible_ranges(web: WebServer, bad: ByteRange, ranges: bool) -> None:
    """A range that starts past the end, or is empty, is an error on every server."""
    (web.root / "a").write_bytes(DATA)
    web.ranges = ranges
    async with opened(web.url) as storage:
        with pytest.raises(InvalidRange):
            await storage.get_range("a", bad)


async def test_large_rest_is_not_read(web: WebServer) -> None:
    """Of a large object whose server ignores ranges, what lies behind the range is not transferred."""
    with (web.root / "large").open("wb") as file:
        file.truncate(64_000_000)
    web.ranges = False
    async with opened(web.url) as storage:
        data, info = await storage.get_range("large", Range(5, 10))
        assert (bytes(data), info.size) == (bytes(5), 64_000_000)
        again, _ = await storage.get_range("large", Range(0, 3))
        assert bytes(again) == bytes(3)


@pytest.mark.parametrize(
    "key", ["a b", "per%cent", "ä/ö", "q?x=1", "h#ash", "plus+", "semi;colon", "~tilde", "%2F"]
)
async def test_keys_are_encoded(web: WebServer, key: str) -> None:
    """A key arrives at the server as the path of that file, whatever characters it has."""
    path = web.root / key
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(key.encode())
    async with opened(web.url) as storage:
        assert bytes((await storage.get_range(key))[0]) == key.encode()


async def test_a_compressed_file_is_not_unpacked(web: WebServer) -> None:
    """The bytes are those that are stored, even where the server labels them as compressed."""
    packed = gzip.compress(DATA)
    web.script = lambda request: Answer(200, {"Content-Encoding": "gzip"}, packed)
    async with opened(web.url) as storage:
        data, info = await storage.get_range("a")
        assert (bytes(data), info.size) == (packed, len(packed))
        assert web.requests[0].headers["accept-encoding"] == "identity"


async def test_head(web: WebServer) -> None:
    """Size, time and ETag come from the headers."""
    (web.root / "a").write_bytes(DATA)
    async with opened(web.url) as storage:
        info = await storage.head("a")
        _, read = await storage.get_range("a", Range(0, 10))
        assert info == read
        assert (info.size, info.etag) == (len(DATA), web.etag(DATA).strip('"'))  # type: ignore[union-attr]
        assert abs(info.last_modified.timestamp() - (web.root / "a").stat().st_mtime) <= 1
        with pytest.raises(NotFound):
            await storage.head("b")


@pytest.mark.parametrize("size", [0, len(DATA)])
@pytest.mark.parametrize("ranges", [True, False])
async def test_head_of_servers_without_it(web: WebServer, ranges: bool, size: int) -> None:
    """Where HEAD is refused, a tiny read tells the same."""
    (web.root / "a").write_bytes(DATA[:size])
    web.allow_head, web.ranges = False, ranges
    async with opened(web.url) as storage:
        assert (await storage.head("a")).size == size
        assert not await storage.exists("b")


async def test_an_answer_that_cannot_be_placed_is_refused(web: WebServer) -> None:
    """A part that does not say where it lies, or lies elsewhere, is never passed on as data."""
    async with opened(web.url, max_attempts=1) as storage:
        for headers in ({}, {"Content-Range": "bytes 0-4/10"}, {"Content-Range": "bytes 9-2/10"}):
            web.script = lambda request, headers=headers: Answer(206, headers, b"12345")  # type: ignore[misc]
            with pytest.raises(Unavailable):
                await storage.get_range("a", Range(2, 7))


async def test_a_directory_is_no_object(tmp_path: Path) -> None:
    """A server that shows a listing for a directory, after a redirect, has no object there."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(b"data")
    with plain_server(tmp_path) as url:
        async with opened(url) as storage:
            for call in (storage.get_range("folder"), storage.head("folder")):
                with pytest.raises(NotFound, match="directory"):
                    await call


async def test_reading_is_all(web: WebServer) -> None:
    """Writing and listing say what to do instead; impossible keys are refused before any request."""
    async with opened(web.url) as storage:
        assert storage.capabilities.read_only
        assert not storage.capabilities.list
        with pytest.raises(ReadOnly, match="write through the storage"):
            await storage.put("a", b"data")
        with pytest.raises(ReadOnly):
            await storage.delete(["a"])
        with pytest.raises(Unsupported, match="spec 1"):
            [info async for info in storage.list("")]
        with pytest.raises(InvalidKey):
            await storage.get_range("a/../b")
        assert not web.requests
    with pytest.raises(Closed):
        await storage.get_range("a")
    with pytest.raises(Closed):
        await storage.put("a", b"data")
