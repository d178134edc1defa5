"""A server that answers as a test tells it to, and records what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import define, field, frozen

__all__ = ["Answer", "Asked", "ScriptedServer", "described", "json_error", "scripted_server", "stored"]


@frozen
class Asked:
    """One request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@frozen
class Answer:
    """One answer; ``drop`` closes the connection instead."""

    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""
    drop: bool = False


@define
class ScriptedServer:
    """The script: a function, or answers given one after the other, the last one again and again."""

    port: int = 0
    asked: list[Asked] = field(factory=list)
    script: Callable[[Asked], Answer] = field(default=lambda _: Answer(404))

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def answers(self, *answers: Answer) -> None:
        """Give these, in order; the last one for all that comes later."""
        left = list(answers)
        lock = threading.Lock()

        def script(_: Asked) -> Answer:
            with lock:
                return left.pop(0) if len(left) > 1 else left[0]

        self.script = script


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """A running one."""
    server = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            server.asked.append(asked)
            answer = server.script(asked)
            if answer.drop:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if "content-length" not in answer.headers:
                self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    for method in ("GET", "HEAD", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._answer)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as running:
        server.port = running.server_address[1]
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            running.shutdown()
            thread.join()


def json_error(status: int, message: str, reason: str = "", **headers: str) -> Answer:
    """A failure as the JSON protocol tells it."""
    error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
    return Answer(status, headers, json.dumps({"error": error}).encode())


def stored(body: bytes, **headers: str) -> Answer:
    """An object as a read shows it."""
    return Answer(
        200,
        {
            "x-goog-generation": "7",
            "last-modified": "Mon, 23 Nov 2026 10:00:00 GMT",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
        body,
    )


def described(**changes: Any) -> Answer:
    """An object as its metadata shows it."""
    item = {"generation": "7", "updated": "2026-11-23T10:00:00.123Z", "size": "3", "name": "k", **changes}
    return Answer(200, {}, json.dumps(item).encode())
