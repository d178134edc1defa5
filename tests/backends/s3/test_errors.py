"""What servers' refusals become, with and without the SDK's machinery; no secret shows in any."""

from __future__ import annotations

import socket
import traceback

import pytest

from icechunk_core.contract import IF_ABSENT, IfVersion, Range, Version
from icechunk_core.contract.errors import (
    AlreadyExists,
    InvalidKey,
    InvalidRange,
    NotFound,
    PermissionDenied,
    RateLimited,
    ReadOnly,
    StorageConfigError,
    StorageError,
    StorageFull,
    Timeout,
    Unauthenticated,
    Unavailable,
    Unsupported,
    VersionMismatch,
)
from tests.backends.s3.scripted import SECRET_KEY, Answer, error, found, scripted

LEAN = pytest.mark.parametrize("lean", [True, False], ids=["lean", "sdk"])

REFUSALS = [
    (404, "NoSuchKey", NotFound, "no such object"),
    (404, "NoSuchBucket", StorageConfigError, "does not exist; check its name, region and endpoint_url"),
    (403, "AccessDenied", PermissionDenied, "check that the credentials may do this"),
    (403, "InvalidAccessKeyId", Unauthenticated, "check access_key_id"),
    (403, "SignatureDoesNotMatch", Unauthenticated, "check secret_access_key"),
    (400, "ExpiredToken", Unauthenticated, "expired; renew them"),
    (403, "RequestTimeTooSkewed", Unauthenticated, "clock is wrong .the server's says Wed"),
    (416, "InvalidRange", InvalidRange, "past the end"),
    (400, "KeyTooLongError", InvalidKey, "cannot hold"),
    (400, "EntityTooLarge", Unsupported, "larger than"),
    (403, "InvalidObjectState", Unsupported, "archived; restore"),
    (501, "NotImplemented", Unsupported, "does not have this operation"),
    (507, "XMinioStorageFull", StorageFull, "free some"),
    (400, "SomethingNew", StorageError, "rejects the request: as scripted .400 SomethingNew"),
    (418, "", StorageError, "rejects the request"),
]


@LEAN
@pytest.mark.parametrize(("status", "code", "cls", "says"), REFUSALS)
async def test_refusals(lean: bool, status: int, code: str, cls: type[StorageError], says: str) -> None:
    """Each code of a server is one error that says what to check; it is not repeated."""
    async with scripted(error(status, code, date="Wed, 01 Jul 2026 10:00:00 GMT")) as server:
        storage = server.storage(lean=lean)
        with pytest.raises(cls, match=says) as raised:
            await storage.get_range("key", Range(0, 4))
        await storage.close()
    assert type(raised.value) is cls
    assert len(server.asked) == 1
    assert SECRET_KEY not in "".join(traceback.format_exception(raised.value))


@LEAN
@pytest.mark.parametrize(
    ("status", "code", "cls"),
    [
        (500, "InternalError", Unavailable),
        (502, "", Unavailable),
        (503, "SlowDown", RateLimited),
        (429, "", RateLimited),
        (409, "ConditionalRequestConflict", Unavailable),
        (400, "RequestTimeout", Timeout),
    ],
)
async def test_passing_troubles_are_repeated(
    lean: bool, status: int, code: str, cls: type[StorageError]
) -> None:
    """What may pass is tried again, up to the given number of times, and then reported as that."""
    async with scripted(error(status, code), error(status, code), found(b"x")) as server:
        storage = server.storage(lean=lean)
        assert bytes((await storage.get_range("key"))[0]) == b"x"
        await storage.close()
    assert len(server.asked) == 3
    async with scripted(error(status, code)) as server:
        storage = server.storage(lean=lean, max_attempts=2)
        with pytest.raises(cls, match="gave up after 2 attempts"):
            await storage.get_range("key")
        await storage.close()
    assert len(server.asked) == 2


@LEAN
async def test_conditions_that_do_not_hold(lean: bool) -> None:
    """412 is `AlreadyExists` for a create and `VersionMismatch` for an update; so is 404 for an update."""
    async with scripted(error(412, "PreconditionFailed")) as server:
        storage = server.storage(lean=lean)
        with pytest.raises(AlreadyExists):
            await storage.put("key", b"x", IF_ABSENT)
        with pytest.raises(VersionMismatch):
            await storage.put("key", b"x", IfVersion(Version("e")))
        with pytest.raises(VersionMismatch):
            await storage.get_range("key", None, Version("e"))
        server.answers[:] = [error(404, "NoSuchKey")]
        with pytest.raises(VersionMismatch, match="found no object"):
            await storage.put("key", b"x", IfVersion(Version("e")))
        await storage.close()


@LEAN
async def test_head_finds_out_why(lean: bool) -> None:
    """Answers to HEAD have no code: a missing bucket and a wrong key are told apart from a missing object."""
    for code, cls in (("NoSuchBucket", StorageConfigError), ("NoSuchKey", NotFound)):
        async with scripted(Answer(404), error(404, code)) as server:
            storage = server.storage(lean=lean)
            with pytest.raises(cls):
                await storage.head("key")
            await storage.close()
        assert [asked.method for asked in server.asked] == ["HEAD", "GET"]


async def test_wrong_region() -> None:
    """A bucket elsewhere: the error names its region, if the server does."""
    text = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>"
    async with scripted(Answer(400, text)) as server:
        storage = server.storage()
        with pytest.raises(
            StorageConfigError, match="'eu-west-3', not in 'us-east-1'; set the option region"
        ):
            await storage.get_range("key")
        await storage.close()


async def test_lean_requests_go_on_through_the_sdk_elsewhere() -> None:
    """A redirect to another region is left to the SDK, which follows it; later requests stay there."""
    moved = Answer(
        301, b"<Error><Code>PermanentRedirect</Code></Error>", {"x-amz-bucket-region": "eu-west-3"}
    )
    async with scripted(moved, moved, found(b"x")) as server:
        storage = server.storage(endpoint_url=server.endpoint, quirks="aws")
        assert bytes((await storage.get_range("key"))[0]) == b"x"
        await storage.get_range("key")
        await storage.close()
    assert "eu-west-3" in server.asked[-1].headers["authorization"]


@LEAN
@pytest.mark.parametrize("byte_range", [Range(3, 3), Range(-1, 2)])
async def test_impossible_ranges(lean: bool, byte_range: Range) -> None:
    """Empty and negative ranges are refused without asking the server."""
    async with scripted() as server:
        storage = server.storage(lean=lean)
        with pytest.raises(InvalidRange):
            await storage.get_range("key", byte_range)
        await storage.close()
    assert server.asked == []


@LEAN
@pytest.mark.parametrize("key", ["tab\t", "x" * 1023, "nul\0", "a//b", "back\\slash", "\ufffe"])
async def test_impossible_keys(lean: bool, key: str) -> None:
    """Keys that S3, its listings or unknown servers cannot hold are refused without asking."""
    async with scripted() as server:
        storage = server.storage(lean=lean)
        with pytest.raises(InvalidKey):
            await storage.put(key, b"")
        await storage.close()
    assert server.asked == []


def _unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@LEAN
@pytest.mark.parametrize("host", ["127.0.0.1", "nothing-here.invalid"])
async def test_nobody_there(lean: bool, host: str) -> None:
    """A refused connection and an unknown host say what to check, after three attempts."""
    async with scripted() as server:
        storage = server.storage(lean=lean, endpoint_url=f"http://{host}:{_unused_port()}")
        with pytest.raises(Unavailable, match=r"cannot connect; check endpoint_url.*3 attempts"):
            await storage.get_range("key")
        await storage.close()


@LEAN
async def test_no_credentials(lean: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment has none, the error says where they can come from."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    async with scripted() as server:
        storage = server.storage(lean=lean, from_env=True)
        with pytest.raises(Unauthenticated, match="AWS_ACCESS_KEY_ID"):
            await storage.get_range("key")
        await storage.close()
    assert server.asked == []


async def test_unknown_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that the configuration files lack is named."""
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    async with scripted() as server:
        storage = server.storage(from_env=True, credentials=None, profile="nosuch")
        with pytest.raises(StorageConfigError, match="nosuch"):
            await storage.get_range("key")
        await storage.close()


async def test_not_s3_at_all() -> None:
    """A server that answers without ETag or size is reported, not believed."""
    async with scripted(Answer(200, b"<html>hello</html>")) as server:
        storage = server.storage()
        with pytest.raises(Unavailable, match="check endpoint_url"):
            await storage.get_range("key")
        with pytest.raises(Unavailable, match="check endpoint_url"):
            await storage.put("key", b"")
        await storage.close()


async def test_read_only() -> None:
    """A storage that was opened read-only writes, copies and deletes nothing."""
    async with scripted() as server:
        storage = server.storage(read_only=True)
        for operation in (storage.put("a", b""), storage.copy("a", "b"), storage.delete(["a"])):
            with pytest.raises(ReadOnly):
                await operation
        await storage.close()
    assert {asked.method for asked in server.asked} <= {"GET"}


async def test_a_server_without_conditions() -> None:
    """Where conditional writes are not declared, they are `Unsupported` and nothing is sent."""
    async with scripted() as server:
        storage = server.storage(conditional_put=False)
        assert not storage.capabilities.commit_safe
        with pytest.raises(Unsupported):
            await storage.put("key", b"", IF_ABSENT)
        with pytest.raises(Unsupported):
            await storage.put("key", b"", IfVersion(Version("e")))
        await storage.close()
    assert server.asked == []
