"""S3 storage on real servers: large objects, listings in order, deletes, errors that say what to check."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from icechunk_core.contract import IF_ABSENT, From, IfVersion, Range, Storage, Suffix
from icechunk_core.contract.errors import (
    AlreadyExists,
    StorageConfigError,
    StorageError,
    Unauthenticated,
    VersionMismatch,
)
from tests.backends.s3.scripted import reopened
from tests.servers.s3 import S3Server

PART = 5 << 20
BODY = bytes(range(256)) * (2 * PART // 256) + b"the last part"


@pytest.fixture(params=["ministack", "seaweedfs"])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the required servers."""
    running: S3Server = request.getfixturevalue(request.param)
    return running


def _in_parts(storage: Storage) -> Storage:
    """The same storage with the smallest parts."""
    return reopened(
        storage,
        multipart_threshold=PART,
        multipart_part_size=PART,
        read_part_size=1 << 20,
        concurrent_parts=3,
    )


def _uploads(server: S3Server, bucket: str) -> list[Any]:
    client = server.client()
    try:
        found: list[Any] = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return found
    finally:
        client.close()


async def test_large_objects(server: S3Server) -> None:
    """An object is uploaded in parts, under conditions that hold, and read back in parallel pieces."""
    bucket = server.new_bucket()
    storage = _in_parts(server.storage(bucket, "p"))
    version = await storage.put("large", BODY, IF_ABSENT, {"a": "b"}, "application/x-test")
    assert version.token.endswith("-3")
    data, info = await storage.get_range("large")
    assert bytes(data) == BODY
    assert (info.size, info.version, info.metadata) == (len(BODY), version, {"a": "b"})
    for asked in (Range(PART - 5, 2 * PART + 5), Range(3, 10**9)):
        assert bytes((await storage.get_range("large", asked))[0]) == BODY[asked.start : asked.end]
    assert bytes((await storage.get_range("large", From(PART)))[0]) == BODY[PART:]
    assert bytes((await storage.get_range("large", Suffix(PART)))[0]) == BODY[-PART:]
    with pytest.raises(AlreadyExists):
        await storage.put("large", BODY, IF_ABSENT)
    newer = await storage.put("large", BODY + b"!", IfVersion(version))
    with pytest.raises(VersionMismatch):
        await storage.put("large", BODY, IfVersion(version))
    assert (await storage.head("large")).version == newer
    await storage.close()
    assert _uploads(server, bucket) == []


async def test_cancelled_uploads_leave_nothing(server: S3Server) -> None:
    """An upload in parts that is cancelled at any point leaves the whole object or none, and no parts."""
    bucket = server.new_bucket()
    storage = _in_parts(server.storage(bucket, "p"))
    await storage.put("first", BODY)  # opens the connections
    for turns in (1, 5, 20, 60, 150, 300):
        upload = asyncio.ensure_future(storage.put(f"cancelled-{turns}", BODY))
        for _ in range(turns):
            await asyncio.sleep(0)
        upload.cancel()
        with suppress(asyncio.CancelledError):
            await upload  # a late one may have come to its end
    for info in [info async for info in storage.list()]:
        assert info.size == len(BODY)
    await storage.close()
    assert _uploads(server, bucket) == []


async def test_overwritten_while_it_is_read(server: S3Server) -> None:
    """All pieces of one read come from one version; if that is gone meanwhile, the read says so."""
    bucket = server.new_bucket()
    plain = server.storage(bucket, "p")
    storage = _in_parts(plain)
    await storage.put("object", BODY)
    reading = storage.hook("get_range").__self__._requests  # type: ignore[attr-defined]
    client = await reading.connections.client()
    original, pieces = client.get, []

    async def get(name: str, byte_range: str | None, if_match: str | None) -> Any:
        pieces.append(byte_range)
        if len(pieces) == 3:
            await plain.put("object", b"other" + BODY)
        return await original(name, byte_range, if_match)

    type(client).get, restored = lambda _, *arguments: get(*arguments), type(client).get
    try:
        with pytest.raises(StorageError, match="overwritten while it was read"):
            await storage.get_range("object")
    finally:
        type(client).get = restored
    assert bytes((await storage.get_range("object"))[0]) == b"other" + BODY
    await storage.close()
    await plain.close()


ORDERED = [
    "B/x",
    "a",
    "a b",
    "a!",
    "a!/c",
    "a-b/c",
    "a.txt",
    "a/b",
    "a/b!",
    "a/b-/x",
    "a/b.c",
    "a/b0",
    "a0",
    "é",
    "𝔷",
]
"""In the order of their bytes, which is not that of their segments."""


async def test_listings_are_in_order(server: S3Server) -> None:
    """Keys come in the order of their bytes, whatever the server's own order is, also after a key and
    below a prefix."""
    storage = server.storage(server.new_bucket(), "p")
    await asyncio.gather(*(storage.put(key, b"x") for key in reversed(ORDERED)))
    expected = sorted(ORDERED, key=str.encode)
    assert [info.key async for info in storage.list()] == expected
    for after in ("a", "a!", "a/", "a/b", "a/b-/x", "a/zzz", "Z"):
        rest = [key for key in expected if key.encode() > after.encode()]
        assert [info.key async for info in storage.list("", after)] == rest
    for prefix in ("a", "a/", "a/b", "a!", "x"):
        below = [key for key in expected if key.startswith(prefix)]
        assert [info.key async for info in storage.list(prefix)] == below
    await storage.close()


async def test_many_deletes(server: S3Server) -> None:
    """More objects than one request takes are deleted, missing ones and wrong keys are told apart."""
    storage = server.storage(server.new_bucket(), "p")
    keys = [f"k/{number:04d} +%&<>\"'" for number in range(1002)]
    for start in range(0, len(keys), 50):
        await asyncio.gather(*(storage.put(key, b"") for key in keys[start : start + 50]))
    results = await storage.delete(["missing", *keys, "wrong//key"])
    assert [result.key for result in results] == ["missing", *keys, "wrong//key"]
    assert [result.error is None for result in results] == [True] * 1003 + [False]
    assert [info.key async for info in storage.list()] == []
    await storage.close()


async def test_missing_bucket(server: S3Server) -> None:
    """Every operation says that the bucket does not exist; none says that an object does not."""
    storage = server.storage("no-such-bucket-anywhere", "p")

    async def listed() -> None:
        async for _ in storage.list():
            pass

    for operation in (storage.get_range("key"), storage.head("key"), storage.put("key", b"x"), listed()):
        with pytest.raises(StorageConfigError, match="does not exist; check its name"):
            await operation
    await storage.close()


async def test_wrong_keys(seaweedfs: S3Server) -> None:
    """A wrong secret and an unknown key say which option to check, and do not show themselves."""
    bucket = seaweedfs.new_bucket()
    for option, says in (
        ("secret_access_key", "check secret_access_key"),
        ("access_key_id", "check access_key_id"),
    ):
        storage = seaweedfs.storage(bucket, "p", **{option: "wrong-" + "x" * 20})
        for operation in (storage.get_range("key"), storage.head("key"), storage.put("key", b"x")):
            with pytest.raises(Unauthenticated, match=says) as raised:
                await operation
            assert "wrong-xxx" not in str(raised.value)
        await storage.close()


async def test_root_of_a_bucket(ministack: S3Server) -> None:
    """Without a prefix objects are at the root; names with a slash in front, as old versions wrote them,
    are found by themselves, or by option."""
    bucket = ministack.new_bucket()
    plain = ministack.storage(bucket)
    await plain.put("repo", b"new")
    assert [info.key async for info in plain.list()] == ["repo"]
    await plain.close()
    client = ministack.client()
    client.put_object(Bucket=bucket, Key="/repo", Body=b"old")
    client.close()
    for options in ({}, {"legacy_rooted_keys": True}):
        old = ministack.storage(bucket, **options)
        assert bytes((await old.get_range("repo"))[0]) == b"old"
        assert [info.key async for info in old.list()] == ["repo"]
        await old.close()
    new = ministack.storage(bucket, legacy_rooted_keys=False)
    assert bytes((await new.get_range("repo"))[0]) == b"new"
    await new.close()
