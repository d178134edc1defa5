"""Gives fake-gcs-server the XML uploads and deletes that it lacks, and with which Icechunk writes.

A loopback proxy: ``PUT /bucket/name`` becomes a JSON upload with the same bytes, metadata and generation
condition, ``DELETE /bucket/name`` a JSON delete; everything else is handed on as it is.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

__all__ = ["xml_adapter"]

_BOUNDARY = "between-description-and-bytes"
_PASSED_ON = ("content-type", "range", "x-goog-if-generation-match")


def as_json(method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[str, str, str, bytes]:
    """Method, path, content type and body of the JSON request that means the same."""
    kind = headers.get("content-type", "")
    bucket, _, name = urlsplit(path).path.lstrip("/").partition("/")
    if bucket in ("storage", "upload", "download") or method not in ("PUT", "DELETE"):
        return method, path, kind, body
    if method == "DELETE":
        return method, f"/storage/v1/b/{bucket}/o/{quote(unquote(name), safe='')}", kind, body
    query = {"uploadType": "multipart"}
    if "x-goog-if-generation-match" in headers:
        query["ifGenerationMatch"] = headers["x-goog-if-generation-match"]
    about = {
        "name": unquote(name),
        "metadata": {key[12:]: value for key, value in headers.items() if key.startswith("x-goog-meta-")},
    }
    parts = (
        f"--{_BOUNDARY}\r\ncontent-type: application/json\r\n\r\n{json.dumps(about)}\r\n"
        f"--{_BOUNDARY}\r\ncontent-type: {kind or 'application/octet-stream'}\r\n\r\n"
    ).encode()
    whole = parts + body + f"\r\n--{_BOUNDARY}--".encode()
    upload = f"/upload/storage/v1/b/{bucket}/o?{urlencode(query)}"
    return "POST", upload, f"multipart/related; boundary={_BOUNDARY}", whole


@contextmanager
def xml_adapter(endpoint: str) -> Iterator[str]:
    """A server in front of another one; gives its address."""
    host = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            """Translate, ask, and hand back."""
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            method, path, kind, body = as_json(self.command, self.path, headers, body)
            kept = {name: headers[name] for name in _PASSED_ON if name in headers}
            connection = http.client.HTTPConnection(host, timeout=30)
            try:
                # fake-gcs-server knows XML requests by the host that they name.
                connection.request(method, path, body or None, {**kept, "content-type": kind, "host": host})
                reply = connection.getresponse()
                data = reply.read()
            finally:
                connection.close()
            self.send_response(reply.status)
            if self.command == "PUT" and reply.status == 200:
                made = json.loads(data)
                self.send_header("x-goog-generation", made["generation"])
                self.send_header("etag", made["etag"])
                data = b""
            else:
                for name, value in reply.getheaders():
                    if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                        self.send_header(name, value)
            length = reply.getheader("content-length") if self.command == "HEAD" else str(len(data))
            self.send_header("content-length", length or "0")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
