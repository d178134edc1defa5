"""A small object server over HTTP that keeps every promise: what `reference_http` talks to.

``PUT``, ``GET``, ``HEAD`` and ``DELETE`` of a path; ``If-None-Match: *``, ``If-Match`` and ``Range`` as in
HTTP; headers that begin with ``X-Meta-`` are user metadata; ``GET /?prefix=…&after=…`` is a page
of a listing, in JSON.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import threading
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import frozen

from icechunk_conformance.wire import LIMIT, Message, WireError, read_request, response, stop_accepting
from icechunk_core.clock import SystemClock

__all__ = ["PAGE", "ObjectServer", "shared_server"]

PAGE = 1000


@frozen
class _Stored:
    data: bytes
    etag: str
    modified: int
    metadata: dict[str, str]


class ObjectServer:
    """Objects in memory, behind a socket; runs in a thread of its own."""

    def __init__(self) -> None:
        self.url = ""
        self._objects: dict[str, _Stored] = {}
        self._writes = itertools.count(1)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="object-server", daemon=True)
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Close the socket; the objects are gone. Idempotent."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=LIMIT, backlog=512)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stopping.wait()
        await stop_accepting(server)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait([task])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await self.read(reader, writer)) is not None:
                writer.write(await self.answer(request))
                await writer.drain()
        except (WireError, OSError):
            return
        finally:
            writer.close()

    # --- one request; nothing in it suspends, so each is atomic

    async def read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message | None:
        """The next request, whole."""
        return await read_request(reader, writer)

    async def answer(self, request: Message) -> bytes:
        """Carry a request out."""
        parts = urlsplit(request.target)
        key = _key(request)
        if request.method == "GET" and parts.query:
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            return self._list(key + query.get("prefix", ""), query.get("after"))
        if request.method in ("GET", "HEAD"):
            return self._get(request, key)
        if request.method == "PUT":
            return self.store(request) if self.admits(request) else response(412, "Precondition Failed")
        if request.method == "DELETE":
            self._objects.pop(key, None)
            return response(204, "No Content")
        return response(405, "Method Not Allowed")

    def _get(self, request: Message, key: str) -> bytes:
        stored = self._objects.get(key)
        if stored is None:
            return response(404, "Not Found")
        wanted = request.header("if-match")
        if wanted is not None and wanted != stored.etag:
            return response(412, "Precondition Failed")
        headers = self._describe(stored)
        span = request.header("range")
        if request.method == "HEAD":
            lines = {**headers, "X-Size": str(len(stored.data))}
            return response(200, "OK", b"", **lines)
        if span is None:
            return response(200, "OK", stored.data, **headers)
        start, end = _span(span, len(stored.data))
        if start >= end:
            return response(416, "Range Not Satisfiable")
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(stored.data)}"
        return response(206, "Partial Content", stored.data[start:end], **headers)

    def _describe(self, stored: _Stored) -> dict[str, str]:
        meta = {f"X-Meta-{name}": value for name, value in stored.metadata.items()}
        return {"ETag": stored.etag, "X-Modified": str(stored.modified), **meta}

    def admits(self, request: Message) -> bool:
        """Whether the condition of a put holds now."""
        current = self._objects.get(_key(request))
        if request.header("if-none-match") == "*" and current is not None:
            return False
        wanted = request.header("if-match")
        return wanted is None or (current is not None and current.etag == wanted)

    def store(self, request: Message) -> bytes:
        """Write, and say which version that is."""
        metadata = {}
        for line in request.head.decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(": ")
            if name.lower().startswith("x-meta-"):
                metadata[name[7:].lower()] = value
        etag = f"w{next(self._writes)}"
        self._objects[_key(request)] = _Stored(request.body, etag, SystemClock().now_us(), metadata)
        return response(200, "OK", ETag=etag)

    def _list(self, prefix: str, after: str | None) -> bytes:
        keys = sorted(
            (key for key in self._objects if key.startswith(prefix) and (after is None or key > after)),
            key=lambda key: key.encode("utf-8", "surrogatepass"),
        )
        page = [
            (key, len(self._objects[key].data), self._objects[key].etag, self._objects[key].modified)
            for key in keys[:PAGE]
        ]
        return response(200, "OK", json.dumps({"objects": page, "more": len(keys) > PAGE}).encode())


def _key(request: Message) -> str:
    return unquote(urlsplit(request.target).path).lstrip("/")


def _span(header: str, size: int) -> tuple[int, int]:
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        return (max(0, size - int(last)), size) if int(last) else (0, 0)
    return int(first), min(size, int(last) + 1 if last else size)


_shared: dict[type[ObjectServer], ObjectServer] = {}


def shared_server(kind: type[ObjectServer] = ObjectServer) -> ObjectServer:
    """This process's server of that kind, started on first use and stopped when the process ends."""
    if kind not in _shared:
        _shared[kind] = kind()
        atexit.register(_shared[kind].stop)
    return _shared[kind]
