"""What is sent: the same headers with and without the SDK's machinery, signed, and nothing else."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from icechunk_core.contract import IF_ABSENT, Condition, IfVersion, Range, Suffix, Version
from icechunk_core.contract.errors import VersionMismatch
from tests.backends.s3.scripted import WRITTEN, Answer, Asked, found, scripted

pytestmark = pytest.mark.parametrize("lean", [True, False], ids=["lean", "sdk"])

_OF_THE_CLIENT = {
    "accept",
    "accept-encoding",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "user-agent",
    "x-amz-checksum-crc32",
    "x-amz-content-sha256",
    "x-amz-date",
}


def _said(asked: Asked) -> dict[str, str]:
    """The headers that are about the operation."""
    return {name: value for name, value in asked.headers.items() if name not in _OF_THE_CLIENT}


async def _put(lean: bool, condition: Condition | None = None, **options: Any) -> Asked:
    async with scripted() as server:
        storage = server.storage(lean=lean, **options)
        arguments = (condition,) if condition is not None else ()
        await storage.put("key", b"body", *arguments, metadata={"a": "b"}, content_type="text/plain")
        await storage.close()
    return server.asked[-1]


async def test_put(lean: bool) -> None:
    """A put carries body, metadata, type and a checksum that lets the server notice a cut body."""
    asked = await _put(lean)
    assert (asked.method, asked.path, asked.body) == ("PUT", "/bucket/p/key", b"body")
    assert _said(asked) == {
        "content-md5": base64.b64encode(hashlib.md5(b"body").digest()).decode(),
        "content-type": "text/plain",
        "x-amz-meta-a": "b",
    }


@pytest.mark.parametrize(
    ("condition", "header"),
    [(IF_ABSENT, ("if-none-match", "*")), (IfVersion(Version("abc-2")), ("if-match", '"abc-2"'))],
)
async def test_conditions(lean: bool, condition: Condition, header: tuple[str, str]) -> None:
    """Conditions become the headers of the protocol."""
    assert header in _said(await _put(lean, condition)).items()


async def test_ceph_wants_the_etag_without_quotes(lean: bool) -> None:
    """With the profile for Ceph, If-Match has no quotes."""
    etag = "900150983cd24fb0d6963f7d28e17f72"
    asked = await _put(lean, IfVersion(Version(etag)), quirks="ceph")
    assert asked.headers["if-match"] == etag


async def test_ceph_is_not_asked_for_what_is_no_etag_of_its(lean: bool) -> None:
    """Ceph accepts what merely begins with its ETag, so anything longer is refused before it is sent."""
    with pytest.raises(VersionMismatch):
        await _put(lean, IfVersion(Version("900150983cd24fb0d6963f7d28e17f720")), quirks="ceph")


async def test_settings_of_new_objects(lean: bool) -> None:
    """Storage class, encryption, key and extra headers go with writes."""
    asked = await _put(
        lean,
        storage_class="STANDARD_IA",
        server_side_encryption="aws:kms",
        kms_key_id="arn:aws:kms:key",
        requester_pays=True,
        headers={"X-Both": "1"},
        read_headers={"X-Read": "1"},
        write_headers={"X-Amz-Acl": "bucket-owner-full-control"},
    )
    said = _said(asked)
    assert said["x-amz-storage-class"] == "STANDARD_IA"
    assert said["x-amz-server-side-encryption"] == "aws:kms"
    assert said["x-amz-server-side-encryption-aws-kms-key-id"] == "arn:aws:kms:key"
    assert said["x-amz-request-payer"] == "requester"
    assert said["x-both"] == "1"
    assert said["x-amz-acl"] == "bucket-owner-full-control"
    assert "x-read" not in said
    assert "x-amz-acl" in asked.headers["authorization"]


async def test_storage_class_of_one_put(lean: bool) -> None:
    """The storage class given to a put wins over the configured one."""
    async with scripted() as server:
        storage = server.storage(lean=lean, storage_class="GLACIER_IR")
        await storage.put("key", b"", storage_class="STANDARD_IA")
        await storage.close()
    assert server.asked[-1].headers["x-amz-storage-class"] == "STANDARD_IA"


@pytest.mark.parametrize("algorithm", ["Sha256", "Crc32"])
async def test_chosen_checksums(lean: bool, algorithm: str) -> None:
    """A chosen checksum is sent instead of Content-MD5."""
    asked = await _put(lean, checksum_algorithm=algorithm)
    assert f"x-amz-checksum-{algorithm.lower()}" in asked.headers
    assert "content-md5" not in asked.headers


async def test_reads(lean: bool) -> None:
    """Reads carry their range, the version that is meant and the headers for reads."""
    partial = Answer(
        206,
        b"23",
        {"etag": '"e"', "content-range": "bytes 2-3/9", "last-modified": "Wed, 01 Jul 2026 10:00:00 GMT"},
    )
    async with scripted(partial) as server:
        storage = server.storage(lean=lean, read_headers={"X-Read": "r"}, write_headers={"X-Write": "w"})
        data, info = await storage.get_range("key", Range(2, 4), Version("e"))
        await storage.close()
    assert (bytes(data), info.size, info.version) == (b"23", 9, Version("e"))
    assert _said(server.asked[-1]) == {"range": "bytes=2-3", "if-match": '"e"', "x-read": "r"}


async def test_suffix(lean: bool) -> None:
    """A suffix is one request: the server knows the size."""
    partial = Answer(206, b"89", {"etag": '"e"', "content-range": "bytes 7-8/9"})
    async with scripted(partial) as server:
        storage = server.storage(lean=lean)
        data, _ = await storage.get_range("key", Suffix(2))
        await storage.close()
    assert bytes(data) == b"89"
    assert [asked.headers["range"] for asked in server.asked] == ["bytes=-2"]


async def test_a_server_that_ignores_ranges(lean: bool) -> None:
    """Where the whole object comes back, the part that was asked for is given."""
    async with scripted(found(b"0123456789")) as server:
        storage = server.storage(lean=lean)
        assert bytes((await storage.get_range("key", Range(2, 4)))[0]) == b"23"
        assert bytes((await storage.get_range("key", Suffix(3)))[0]) == b"789"
        await storage.close()


async def test_anonymous_requests_are_not_signed(lean: bool) -> None:
    """Anonymous access sends no signature and no key."""
    async with scripted(found(b"x")) as server:
        storage = server.storage(lean=lean, anonymous=True)
        await storage.get_range("key")
        await storage.close()
    assert "authorization" not in server.asked[-1].headers


async def test_keys_are_encoded_once(lean: bool) -> None:
    """Percent signs, spaces, plus signs and other scripts arrive as they are, in one encoding."""
    async with scripted(WRITTEN) as server:
        storage = server.storage(lean=lean)
        await storage.put("a b/%2F+ä?#~", b"")
        await storage.close()
    assert server.asked[-1].path == "/bucket/p/a%20b/%252F%2B%C3%A4%3F%23~"
