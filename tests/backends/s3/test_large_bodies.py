"""Large bodies: which digests go with them, and how they are sent."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib
from typing import Any

import pytest
from attrs import evolve

from icechunk_core.clock import SystemClock
from icechunk_s3._config import S3Config
from icechunk_s3._connecting import Connections
from icechunk_s3._digests import CRC32, LARGE, BodyDigests
from icechunk_s3._lean import LeanClient
from icechunk_s3._quirks import PROFILES
from tests.backends.s3.scripted import WRITTEN, Answer, Asked, scripted

BODY = bytes(range(256)) * (LARGE // 256) + b"end"
SUM = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
MD5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
KNOWING = evolve(WRITTEN, headers={**WRITTEN.headers, "x-amz-checksum-crc32": SUM})


async def _asked(*answers: Answer, count: int = 1, body: Any = BODY, **options: Any) -> list[Asked]:
    async with scripted(*answers) as server:
        storage = server.storage(**options)
        for number in range(count):
            await storage.put(f"key{number}", body)
        await storage.close()
    return server.asked


async def test_a_view_arrives_whole() -> None:
    """A large body given as a view of wider items arrives byte for byte, with its length and its hash."""
    (asked,) = await _asked(body=memoryview(BODY + b"."))
    (wide,) = await _asked(body=memoryview(BODY[:LARGE]).cast("I"))
    assert asked.body == BODY + b"."
    assert wide.body == BODY[:LARGE]
    assert wide.headers["content-length"] == str(LARGE)
    assert wide.headers["x-amz-content-sha256"] == hashlib.sha256(BODY[:LARGE]).hexdigest()


async def test_several_buffers_are_one_body() -> None:
    """A pack's segments are sent as they are, one after the other, with the checksums of the whole."""
    view = memoryview(BODY)
    (asked,) = await _asked(KNOWING, body=[view[:7], view[7:700_000], view[700_000:]])
    assert asked.body == BODY
    assert (asked.headers[CRC32], asked.headers["content-md5"]) == (SUM, MD5)
    assert asked.headers["x-amz-content-sha256"] == hashlib.sha256(BODY).hexdigest()
    assert asked.headers["content-length"] == str(len(BODY))


async def test_md5_until_the_server_knows_crc32() -> None:
    """The first large body has both checksums; once the answer named CRC32, that alone is sent."""
    first, second = await _asked(KNOWING, count=2)
    assert (first.headers[CRC32], first.headers["content-md5"]) == (SUM, MD5)
    assert second.headers[CRC32] == SUM
    assert "content-md5" not in second.headers


async def test_md5_for_servers_that_do_not_know_crc32() -> None:
    """A server that says nothing about CRC32 gets MD5 with every body, and CRC32 no more."""
    asked = await _asked(count=3)
    assert [each.headers["content-md5"] for each in asked] == [MD5] * 3
    assert [CRC32 in each.headers for each in asked] == [True, False, False]


async def test_a_small_body_is_enough_to_find_out() -> None:
    """Large bodies that follow a small one, many at once, need only one checksum."""
    small = base64.b64encode(zlib.crc32(b"small").to_bytes(4, "big")).decode()
    knowing = evolve(WRITTEN, headers={**WRITTEN.headers, "x-amz-checksum-crc32": small})
    async with scripted(knowing) as server:
        storage = server.storage()
        await storage.put("small", b"small")
        await storage.put("large", BODY)
        await storage.close()
    first, second = server.asked
    assert first.headers["content-md5"] == base64.b64encode(hashlib.md5(b"small").digest()).decode()
    assert second.headers[CRC32] == SUM
    assert "content-md5" not in second.headers


def test_what_one_event_loop_finds_out_all_know() -> None:
    """zarr writes in a loop of its own, while the repository was created in another one."""
    config = S3Config(bucket="bucket", anonymous=True, endpoint_url="http://127.0.0.1:9", allow_http=True)
    clients = Connections(config, PROFILES["generic"], SystemClock())
    digests = [asyncio.run(_digests_of(clients)) for _ in range(2)]
    assert digests[0] is digests[1]


async def _digests_of(connections: Connections) -> BodyDigests:
    client = await connections.client()
    assert isinstance(client, LeanClient)
    return client._digests


async def test_an_answer_with_another_checksum_proves_nothing() -> None:
    """A checksum that is not the one sent does not make the server one that knows it."""
    answer = evolve(WRITTEN, headers={**WRITTEN.headers, "x-amz-checksum-crc32": "AAAAAA=="})
    asked = await _asked(answer, count=2)
    assert asked[1].headers["content-md5"] == MD5


@pytest.mark.parametrize("profile", ["gcs", "ceph"])
async def test_servers_that_may_refuse_the_header(profile: str) -> None:
    """Where the header is not known to be harmless, only MD5 is sent."""
    (asked,) = await _asked(quirks=profile)
    assert CRC32 not in asked.headers
    assert asked.headers["content-md5"] == MD5


def test_over_tls_the_connection_protects_a_large_body() -> None:
    """As with the SDK, the signature covers the checksum instead of the body, if there is one."""
    encrypted = BodyDigests(PROFILES["aws"], encrypted=True)
    assert encrypted.of([BODY]) == ("UNSIGNED-PAYLOAD", {CRC32: SUM})
    assert encrypted.of([b"small"]) == (hashlib.sha256(b"small").hexdigest(), {})
    assert BodyDigests(PROFILES["aws"], encrypted=False).of([BODY])[0] == hashlib.sha256(BODY).hexdigest()


def test_all_parts_have_one_kind_of_checksum() -> None:
    """A small last part has CRC32 as the others have."""
    digests = BodyDigests(PROFILES["aws"], encrypted=True)
    assert list(digests.of([b"end"], part=True)[1]) == [CRC32]
