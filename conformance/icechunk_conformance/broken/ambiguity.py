"""Clients that draw the wrong conclusion from an answer that got lost."""

from __future__ import annotations

from collections.abc import Mapping

from icechunk_conformance.broken.gallery import broken
from icechunk_conformance.reference_http import HttpReference
from icechunk_conformance.wire import Message, response
from icechunk_core.errors import AlreadyExists, PermissionDenied, RateLimited, Timeout, Unavailable


def is_conditional(headers: Mapping[str, str]) -> bool:
    return "If-None-Match" in headers or "If-Match" in headers


def answered(etag: str) -> Message:
    """A success that no server reported."""
    return Message(response(200, "Made Up", ETag=etag), b"")


@broken("lost-answer-is-a-conflict", "G06 G07 G10 G11 G14 G15")
class LostAnswerIsAConflict(HttpReference):
    """Reports a conditional put whose answer got lost as a lost race."""

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Message:
        if method == "PUT" and is_conditional(headers or {}):
            try:
                return await self.attempt(method, target, headers or {}, body)
            except (Unavailable, Timeout) as error:
                raise AlreadyExists("somebody was first") from error
        return await super().ask(method, target, headers, body)


@broken("timeout-is-a-success", "G04 G05 G07 G10 G11 G15 H02 H09 H12")
class TimeoutIsASuccess(HttpReference):
    """Swallows the failure of a put's transport: it will have arrived."""

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Message:
        try:
            return await super().ask(method, target, headers, body)
        except (Unavailable, Timeout):
            if method != "PUT":
                raise
            return answered("assumed")


@broken("retry-overwrites", "G08 G09 G11 G14")
class RetryOverwrites(HttpReference):
    """Leaves the condition out when it tries again: the first request may have made it untrue."""

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Message:
        given = dict(headers or {})
        try:
            return await self.attempt(method, target, given, body)
        except (Unavailable, Timeout, RateLimited):
            for name in ("If-None-Match", "If-Match") if method == "PUT" else ():
                given.pop(name, None)
            return await super().ask(method, target, given, body)


@broken("refused-retry-is-a-success", "G09 G12")
class RefusedRetryIsASuccess(HttpReference):
    """Takes the refusal of a repeated put as the sign that the first one landed."""

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Message:
        try:
            return await self.attempt(method, target, headers or {}, body)
        except (Unavailable, Timeout, RateLimited):
            answer = await super().ask(method, target, headers, body)
            if method == "PUT" and answer.status == 412:
                return await super().ask("HEAD", target)
            return answer


@broken("invents-a-version", "G01 G02 G03")
class InventsAVersion(HttpReference):
    """Recognises its own write behind a refusal, and returns a version that it made up."""

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Message:
        answer = await super().ask(method, target, headers, body)
        mark = (headers or {}).get("X-Meta-icechunkwriteid")
        if method == "PUT" and answer.status == 412 and mark is not None:
            there = await super().ask("HEAD", target)
            if there.header("x-meta-icechunkwriteid") == mark:
                return answered("mine")
        return answer


@broken("errors-are-denials", "G03 H08 H09 H13")
class ErrorsAreDenials(HttpReference):
    """Reports every error of the server as missing permission."""

    def check_status(self, status: int) -> None:
        if status >= 500:
            raise PermissionDenied("the server refused")
        super().check_status(status)


@broken(
    "lets-socket-errors-through",
    "G01 G04 G05 G06 G07 G08 G09 G10 G11 G13 G14 G15 H01 H02 H03 H04 H05 H12 H13 M05",
)
class LetsSocketErrorsThrough(HttpReference):
    """Raises what the socket raised."""

    async def attempt(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Message:
        try:
            return await super().attempt(method, target, headers, body)
        except Unavailable as error:
            if error.__cause__ is not None:
                raise error.__cause__ from None
            raise
