"""Small web servers of files, in a thread: one that knows ranges and validators, and Python's own."""

from __future__ import annotations

import email.utils
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from attrs import define, field

__all__ = ["Answer", "Request", "WebServer", "plain_server", "web_server"]


@define
class Request:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]


@define
class Answer:
    """What to send instead of a file.

    ``body`` may be shorter than ``headers["Content-Length"]`` says: the connection is then cut.
    """

    status: int
    headers: dict[str, str] = field(factory=dict)
    body: bytes = b""


Script: TypeAlias = Callable[[Request], Answer | None]


@define
class WebServer:
    """A server of the files below ``root``.

    Attributes
    ----------
    script
        Asked first for an answer; ``None`` means the file.
    etag, last_modified, ranges, conditions, allow_head
        What the server knows.
    """

    root: Path
    url: str = ""
    requests: list[Request] = field(factory=list)
    script: Script | None = None
    etag: Callable[[bytes], str | None] = lambda data: f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    last_modified: bool = True
    ranges: bool = True
    conditions: bool = True
    allow_head: bool = True

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        scripted = self.script(request) if self.script is not None else None
        return scripted if scripted is not None else self._file(request)

    def _file(self, request: Request) -> Answer:
        if request.method == "HEAD" and not self.allow_head:
            return Answer(405)
        path = self.root / unquote(urlsplit(request.path).path).lstrip("/")
        try:
            data = path.read_bytes()
        except OSError:
            return Answer(404, body=b"no such file")
        headers: dict[str, str] = {"Content-Type": "application/octet-stream"}
        etag = self.etag(data)
        if etag is not None:
            headers["ETag"] = etag
        if self.last_modified:
            headers["Last-Modified"] = email.utils.formatdate(path.stat().st_mtime, usegmt=True)
        wanted = request.headers.get("if-match")
        # As lenient as object stores are: Icechunk sends ETags without their quotes.
        if self.conditions and wanted is not None and wanted.strip('"') != (etag or "").strip('"'):
            return Answer(412, headers)
        asked = request.headers.get("range")
        if self.ranges and asked is not None:
            return _partial(data, asked, headers)
        return Answer(200, headers, data)


def _partial(data: bytes, asked: str, headers: dict[str, str]) -> Answer:
    first, _, last = asked.removeprefix("bytes=").partition("-")
    if first:
        start, end = int(first), min(int(last) + 1 if last else len(data), len(data))
    else:
        start, end = max(0, len(data) - int(last)), len(data)
    if start >= len(data):
        return Answer(416, {**headers, "Content-Range": f"bytes */{len(data)}"})
    return Answer(206, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}, data[start:end])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, server: WebServer, *arguments: object) -> None:
        self._web = server
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self._web.answer(Request(self.command, self.path, headers))
        if answer.status == 0:  # hang up without an answer
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        declared = answer.headers.get("Content-Length", str(len(answer.body)))
        if declared != str(len(answer.body)):
            self.close_connection = True

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Quiet: clients that hang up are part of the tests."""


@contextmanager
def _running(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with _Server(("127.0.0.1", 0), handler) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def web_server(root: Path) -> Iterator[WebServer]:
    """A server that knows ranges, ETags and conditions, and can be scripted."""
    web = WebServer(root)
    with _running(partial(_Handler, web)) as url:
        web.url = url
        yield web


class _Plain(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def plain_server(root: Path) -> Iterator[str]:
    """What ``python -m http.server`` serves: whole files, no ranges, no ETags; its address."""
    with _running(partial(_Plain, directory=str(root))) as url:
        yield url
