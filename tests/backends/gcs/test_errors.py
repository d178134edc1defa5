"""Each failure of the service is the contract's error that says what to do, by either way of sending."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable

import pytest

from icechunk_core.contract import IF_ABSENT, IfVersion, Storage, Version
from icechunk_core.contract.errors import (
    AlreadyExists,
    InvalidRange,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    RateLimited,
    StorageConfigError,
    StorageError,
    Timeout,
    Unauthenticated,
    Unavailable,
    Unsupported,
    VersionMismatch,
)
from icechunk_core.errors import IcechunkError
from icechunk_core.storage import storage_from_url
from tests.backends.gcs.scripted import Answer, Asked, ScriptedServer, json_error, stored

SECRET = "ya29.a-token-to-keep"
Open = Callable[..., Storage]
_LATER = {"retry-after": "500"}
"""Longer than the deadline, so that it is not waited for."""


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (json_error(400, "Invalid argument."), StorageError, "Invalid argument"),
        (json_error(401, "Invalid Credentials"), Unauthenticated, "clock"),
        (
            json_error(403, "x@y does not have storage.objects.get access"),
            PermissionDenied,
            "storage.objects.get",
        ),
        (json_error(403, "slow", "rateLimitExceeded", **_LATER), RateLimited, "slow down"),
        (
            json_error(400, "Bucket is requester pays bucket but no user project"),
            PermissionDenied,
            "user_project",
        ),
        (json_error(404, "The specified bucket does not exist."), StorageConfigError, "create it"),
        (Answer(404, {}, b"<Error><Code>NoSuchBucket</Code></Error>"), StorageConfigError, "'bucket'"),
        (Answer(404, {}, b"<Error><Code>NoSuchKey</Code></Error>"), NotFound, "'k'"),
        (Answer(416), InvalidRange, "past"),
        (Answer(408), Timeout, "too long"),
        (Answer(429, _LATER), RateLimited, "slow down"),
        (Answer(500), Unavailable, "500"),
        (Answer(501), Unsupported, "operation"),
        (Answer(503), Unavailable, "overloaded"),
        (Answer(504), Timeout, "in time"),
        (Answer(599), Unavailable, "599"),
        (Answer(302), StorageError, "302"),
        (Answer(206, {}, b"x"), Unavailable, "part"),
    ],
)
async def test_answers_that_tell_of_a_failure(
    open_gcs: Open, server: ScriptedServer, answer: Answer, error: type[StorageError], text: str
) -> None:
    """The class is the one that the status or its reason calls for, the server's words are in it."""
    server.answers(answer)
    storage = open_gcs()
    with pytest.raises(error, match=text) as raised:
        await storage.get_range("k")
    assert type(raised.value) is error
    assert raised.value.kind


async def test_passing_failures_are_tried_again(open_gcs: Open, server: ScriptedServer) -> None:
    """Two of them, then the answer."""
    server.answers(Answer(503), Answer(429), stored(b"abc"))
    data, info = await open_gcs().get_range("k")
    assert (bytes(data), info.version) == (b"abc", Version("7"))
    assert len(server.asked) == 3


async def test_lasting_failures_are_not(open_gcs: Open, server: ScriptedServer) -> None:
    """One request, one error."""
    server.answers(json_error(403, "no"))
    with pytest.raises(PermissionDenied):
        await open_gcs().get_range("k")
    assert len(server.asked) == 1


async def test_bytes_that_do_not_fit_their_checksum_are_read_again(
    open_gcs: Open, server: ScriptedServer
) -> None:
    """And never handed out."""
    good = stored(b"123456789", x_goog_hash="crc32c=4waSgw==,md5=x")  # CRC32C's check value
    server.answers(stored(b"12345678X", x_goog_hash="crc32c=4waSgw==,md5=x"), good)
    data, _ = await open_gcs().get_range("k")
    assert bytes(data) == b"123456789"
    server.answers(stored(b"12345678X", x_goog_hash="crc32c=4waSgw=="))
    with pytest.raises(Unavailable, match="checksum"):
        await open_gcs().get_range("k")


# --- conditional writes ------------------------------------------------------


async def test_a_lost_race_is_named_by_its_condition(open_gcs: Open, server: ScriptedServer) -> None:
    """412 is "there already" for a create and "another version" for an update."""
    server.answers(json_error(412, "conditionNotMet"))
    with pytest.raises(AlreadyExists):
        await open_gcs().put("k", b"x", IF_ABSENT)
    with pytest.raises(VersionMismatch):
        await open_gcs().put("k", b"x", IfVersion(Version("5")))


@pytest.mark.parametrize("lost", [Answer(drop=True), Answer(503), Answer(200, {}, b"gibberish")])
async def test_a_lost_answer_is_never_a_lost_race(
    open_gcs: Open, server: ScriptedServer, lost: Answer
) -> None:
    """When the first attempt may have landed, "another version" may be our own: nobody knows."""
    server.answers(lost, json_error(412, "conditionNotMet"))
    with pytest.raises(OutcomeUnknown, match="our own"):
        await open_gcs().put("k", b"x", IF_ABSENT)


async def test_a_busy_key_is_contention(open_gcs: Open, server: ScriptedServer) -> None:
    """429 changed nothing: after it, a lost race is a lost race, and a success a success."""
    server.answers(json_error(429, "rate"), json_error(429, "rate"), json_error(412, "conditionNotMet"))
    with pytest.raises(VersionMismatch):
        await open_gcs().put("k", b"x", IfVersion(Version("5")))
    server.answers(json_error(429, "rate"), Answer(200, {}, b'{"generation": "8"}'))
    assert await open_gcs().put("k", b"x", IfVersion(Version("5"))) == Version("8")


async def test_a_conditional_write_that_never_gets_an_answer_is_unknown(
    open_gcs: Open, server: ScriptedServer
) -> None:
    """And an unconditional one is unavailable."""
    server.answers(Answer(drop=True))
    with pytest.raises(OutcomeUnknown):
        await open_gcs().put("k", b"x", IF_ABSENT)
    with pytest.raises(Unavailable):
        await open_gcs().put("k", b"x")


# --- what is not there -------------------------------------------------------


async def test_an_unreachable_server_is_reported_as_that(lean: bool) -> None:
    """Refused connections and unknown hosts: what to check. Nothing was sent, so nothing is unknown."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        for endpoint in (address, "https://no-such-host.invalid"):
            storage = storage_from_url(
                "gs://bucket", endpoint_url=endpoint, anonymous=True, lean=lean, max_attempts=2
            )
            with pytest.raises(Unavailable, match=r"cannot connect to .*network"):
                await storage.put("k", b"x", IF_ABSENT)
            await storage.close()


async def test_a_missing_bucket_is_told_from_a_missing_object(open_gcs: Open, server: ScriptedServer) -> None:
    """Also by servers whose answers do not: the bucket is looked up once."""

    def no_bucket(asked: Asked) -> Answer:
        return Answer(404, {}, b"Not Found")

    def empty_bucket(asked: Asked) -> Answer:
        return Answer(200, {}, b"{}") if "/o?" in asked.path else Answer(404, {}, b"Not Found")

    server.script = no_bucket
    storage = open_gcs()
    for operation in (
        storage.get_range("k"),
        storage.head("k"),
        storage.put("k", b"x"),
        anext(storage.list()),
    ):
        with pytest.raises(StorageConfigError, match=r"no bucket 'bucket'.*create"):
            await operation
    server.script = empty_bucket
    other = open_gcs()
    server.asked.clear()
    for _ in range(3):
        with pytest.raises(NotFound):
            await other.get_range("k")
    assert len([asked for asked in server.asked if "/o?" in asked.path]) == 1


async def test_no_secret_shows_in_errors(open_gcs: Open, server: ScriptedServer) -> None:
    """Not even one that the server repeats."""
    server.answers(json_error(400, f"bad header 'Bearer {SECRET}'"))
    with pytest.raises(IcechunkError) as raised:
        await open_gcs(bearer_token=SECRET).get_range("k")
    assert SECRET not in str(raised.value)
    assert "***" in str(raised.value)
    assert server.asked[0].headers["authorization"] == f"Bearer {SECRET}"


async def test_extra_headers_go_with_their_kind_of_request(open_gcs: Open, server: ScriptedServer) -> None:
    """Read headers with reads, write headers with writes, the payer with all."""
    server.script = lambda asked: (
        stored(b"abc") if asked.method == "GET" else Answer(200, {}, json.dumps({"generation": "8"}).encode())
    )
    storage = open_gcs(
        headers={"x-both": "b"},
        read_headers={"x-read": "r"},
        write_headers={"x-write": "w"},
        user_project="payer",
    )
    await storage.get_range("k")
    await storage.put("k", b"x")
    read, write = (asked.headers for asked in server.asked)
    assert (read["x-both"], read["x-read"], read.get("x-write")) == ("b", "r", None)
    assert (write["x-both"], write["x-write"], write.get("x-read")) == ("b", "w", None)
    assert read["x-goog-user-project"] == write["x-goog-user-project"] == "payer"


async def test_a_server_that_says_nothing_is_given_up(open_gcs: Open, server: ScriptedServer) -> None:
    """After the timeout, with an error that names the option."""
    waiting = asyncio.Event()
    loop = asyncio.get_running_loop()

    def silent(asked: Asked) -> Answer:
        asyncio.run_coroutine_threadsafe(waiting.wait(), loop).result()
        return Answer(drop=True)

    server.script = silent
    try:
        with pytest.raises(Timeout, match="'read_timeout'"):
            await open_gcs(read_timeout=0.2, max_attempts=1).get_range("k")
    finally:
        waiting.set()
