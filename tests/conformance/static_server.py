"""A static web server over a directory: what a public repository is shared with."""

from __future__ import annotations

import http.server
import os
import re
import sys
import threading
from types import TracebackType
from urllib.parse import unquote, urlsplit

__all__ = ["StaticServer"]


class _Files(http.server.BaseHTTPRequestHandler):
    """Files with ranges and ETags, as nginx serves them."""

    protocol_version = "HTTP/1.1"
    root = ""

    def do_GET(self) -> None:
        self._serve(body=True)

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def _serve(self, *, body: bool) -> None:
        path = os.path.join(self.root, unquote(urlsplit(self.path).path).lstrip("/"))
        try:
            with open(path, "rb") as file:
                about = os.fstat(file.fileno())
                data = file.read()
        except OSError:
            self._answer(404, b"", body)
            return
        headers = {
            "ETag": f'"{about.st_mtime_ns:x}-{about.st_ino:x}-{about.st_size:x}"',
            "Last-Modified": self.date_time_string(int(about.st_mtime)),
            "Accept-Ranges": "bytes",
        }
        wanted = self.headers.get("If-Match")
        if wanted is not None and wanted != headers["ETag"]:
            self._answer(412, b"", body)
            return
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if span is None:
            self._answer(200, data, body, **headers)
            return
        first, last = span.groups()
        start = int(first) if first else max(0, len(data) - int(last))
        end = len(data) if not (first and last) else min(len(data), int(last) + 1)
        if start >= end:
            self._answer(416, b"", body, **{"Content-Range": f"bytes */{len(data)}"})
            return
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        self._answer(206, data[start:end], body, **headers)

    def _answer(self, status: int, data: bytes, body: bool, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        return None


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away in the middle of an answer are what some checks are about."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class StaticServer:
    """Serves a directory on a free port of loopback while the block runs; gives its URL."""

    def __init__(self, root: str) -> None:
        handler = type("Files", (_Files,), {"root": root})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
