"""What is sent, and what is read out of the answers: pure functions."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from icechunk_core.contract import (
    ALWAYS,
    IF_ABSENT,
    ByteRange,
    From,
    IfVersion,
    Range,
    Suffix,
    Version,
    joined,
)
from icechunk_core.contract.errors import InvalidKey, InvalidRange, Unavailable, VersionMismatch
from icechunk_gcs._replies import (
    Reply,
    page_of,
    read_reply,
    size_from_head,
    told_by_headers,
    told_by_json,
    version_from_upload,
)
from icechunk_gcs._requests import (
    Request,
    checked_name,
    delete_object,
    get_object,
    head_object,
    list_objects,
    upload_object,
    wanted_generation,
)

NAME = "a b/ü%2F?#"


def test_reads_by_either_protocol() -> None:
    """The object's name is encoded once; a version is a condition in each protocol's own way."""
    xml = get_object("bucket", "k", NAME, None, Version("7"), xml=True)
    assert xml.url == "/bucket/a%20b/%C3%BC%252F%3F%23"
    assert xml.headers["x-goog-if-generation-match"] == "7"
    own = get_object("bucket", "k", NAME, None, Version("7"), xml=False)
    assert (
        own.url == "/download/storage/v1/b/bucket/o/a%20b%2F%C3%BC%252F%3F%23?alt=media&ifGenerationMatch=7"
    )
    assert head_object("bucket", NAME, xml=True).method == "HEAD"
    assert head_object("bucket", NAME, xml=False) == Request(
        "GET", "/storage/v1/b/bucket/o/a%20b%2F%C3%BC%252F%3F%23?projection=noAcl"
    )
    assert delete_object("bucket", NAME).reading is False


@pytest.mark.parametrize("xml", [True, False])
@pytest.mark.parametrize(
    ("byte_range", "header"),
    [(Range(2, 5), "bytes=2-4"), (From(3), "bytes=3-"), (Suffix(4), "bytes=-4"), (None, None)],
)
def test_ranges_are_headers(byte_range: ByteRange, header: str | None, xml: bool) -> None:
    """Ends are exclusive here and inclusive there; stored bytes are asked for as they are."""
    headers = get_object("bucket", "k", "k", byte_range, None, xml=xml).headers
    assert headers.get("range") == header
    assert headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize("byte_range", [Range(3, 3), Range(-1, 2), From(-1), Suffix(0)])
def test_ranges_that_fit_nothing_are_not_sent(byte_range: ByteRange) -> None:
    """They are refused at once."""
    with pytest.raises(InvalidRange):
        get_object("bucket", "k", "k", byte_range, None, xml=True)


@pytest.mark.parametrize("token", ["", "0", "07", "-1", "x", "1" * 20, "9223372036854775808", "１", "7\n"])
def test_what_is_no_generation_fits_no_object(token: str) -> None:
    """A made-up version is a version mismatch, and "0", which would mean "no object", is not sent."""
    with pytest.raises(VersionMismatch):
        wanted_generation(IfVersion(Version(token)), "k")


def test_conditions_are_generations() -> None:
    """None, no object, and one generation."""
    conditions = (ALWAYS, IF_ABSENT, IfVersion(Version("9223372036854775807")))
    assert [wanted_generation(each, "k") for each in conditions] == [None, 0, (1 << 63) - 1]


@pytest.mark.parametrize(
    "key", ["a\nb", "a\rb", "x" * 1025, "é" * 513, ".well-known/acme-challenge/x", "a//b", ""]
)
def test_names_that_cannot_be_are_refused(key: str) -> None:
    """Line breaks, more than 1024 bytes, and what Google reserves."""
    with pytest.raises(InvalidKey):
        checked_name(key, key)


def test_the_prefix_counts_into_the_length() -> None:
    """What is limited is the object's whole name."""
    assert checked_name("k" * 1000, "p" * 23 + "/" + "k" * 1000)
    with pytest.raises(InvalidKey):
        checked_name("k" * 1000, "p" * 24 + "/" + "k" * 1000)


def test_listing_requests() -> None:
    """Prefix, inclusive start and page token are parameters; empty ones are left out."""
    first = parse_qs(urlsplit(list_objects("bucket", "", None, None, 5).url).query)
    assert not {"prefix", "startOffset", "pageToken"} & first.keys()
    later = parse_qs(urlsplit(list_objects("bucket", "a&b/", "a&b/c", "t=", 5).url).query)
    assert (later["prefix"], later["startOffset"], later["pageToken"]) == (["a&b/"], ["a&b/c"], ["t="])


def test_an_upload_is_one_request() -> None:
    """Description and bytes in one body; the condition is a parameter, also when it is 0."""
    request = upload_object(
        "bucket",
        NAME,
        [b"one ", memoryview(b"two")],
        generation=0,
        metadata={"icechunkwriteid": "w"},
        content_type="text/plain",
        storage_class="NEARLINE",
        kms_key_name="projects/p/k",
        acl="private",
        boundary="BB",
        checksum=lambda data: "checksum",
    )
    query = parse_qs(urlsplit(request.url).query)
    assert query["ifGenerationMatch"] == ["0"]
    assert (query["kmsKeyName"], query["predefinedAcl"]) == (["projects/p/k"], ["private"])
    assert request.headers["content-type"] == 'multipart/related; boundary="BB"'
    head, _, rest = joined(request.body).partition(b"\r\n--BB\r\n")
    assert json.loads(head.partition(b"\r\n\r\n")[2]) == {
        "name": NAME,
        "contentType": "text/plain",
        "metadata": {"icechunkwriteid": "w"},
        "storageClass": "NEARLINE",
        "crc32c": "checksum",
    }
    assert rest == b"content-type: text/plain\r\n\r\none two\r\n--BB--"


# --- answers -----------------------------------------------------------------

_HEADERS = {
    "x-goog-generation": "7",
    "last-modified": "Mon, 23 Nov 2026 10:00:00 GMT",
    "X-Goog-Meta-Write-Id": "w",
    "etag": '"abc"',
}


def test_headers_describe_the_object() -> None:
    """Generation, time, metadata with small names, ETag without quotes."""
    info = told_by_headers("k", Reply(200, _HEADERS, b""), 12)
    assert (info.size, info.version, info.etag) == (12, Version("7"), "abc")
    assert info.metadata == {"write-id": "w"}
    assert info.last_modified.isoformat() == "2026-11-23T10:00:00+00:00"


def test_a_part_tells_of_the_whole() -> None:
    """The size comes from the range's header; the end is clamped."""
    reply = Reply(206, {"content-range": "bytes 2-9/10"}, b"x" * 8)
    assert read_reply("k", Range(2, 100), reply) == (b"x" * 8, 10)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(206, {"content-range": "bytes 2-9/10"}, b"x" * 7),
        Reply(206, {"content-range": "bytes 2-9/*"}, b"x" * 8),
        Reply(206, {}, b"x" * 8),
    ],
)
def test_answers_that_contradict_themselves_are_not_believed(reply: Reply) -> None:
    """Too few bytes, or no word about the whole."""
    with pytest.raises(Unavailable):
        read_reply("k", Range(2, 100), reply)


def test_a_server_may_send_more_than_was_asked_for() -> None:
    """An answer with the whole object is cut to the range, and of an empty one there is none."""
    assert read_reply("k", Suffix(3), Reply(200, {}, b"abcdef")) == (b"def", 6)
    with pytest.raises(InvalidRange):
        read_reply("k", From(0), Reply(200, {}, b""))


@pytest.mark.parametrize(
    "changes", [{"last-modified": "soon"}, {"x-goog-generation": None}, {"last-modified": None}]
)
def test_headers_that_describe_nothing_are_not_believed(changes: dict[str, str | None]) -> None:
    """A proxy's page with status 200 is no object."""
    headers = {name: value for name, value in {**_HEADERS, **changes}.items() if value is not None}
    with pytest.raises(Unavailable):
        told_by_headers("k", Reply(200, headers, b""), 12)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"<html>",
        b'{"generation": "1", "updated": "soon"}',
        b'{"generation": "1", "size": "x"}',
    ],
)
def test_json_that_describes_nothing_is_not_believed(body: bytes) -> None:
    """Nor is an entry without time or with nonsense in it."""
    with pytest.raises(Unavailable):
        told_by_json("k", body)


def test_a_head_tells_the_size_as_stored() -> None:
    """Which is not that of a body that would be unpacked; without either there is no answer."""
    headers = {"x-goog-stored-content-length": "7", "content-length": "70"}
    assert size_from_head("k", Reply(200, headers, b"")) == 7
    assert size_from_head("k", Reply(200, {"content-length": "70"}, b"")) == 70
    with pytest.raises(Unavailable):
        size_from_head("k", Reply(200, {}, b""))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"generation": null}', b"<html>"])
def test_an_upload_without_generation_is_no_success(body: bytes) -> None:
    """Without it, nobody could build on the write."""
    with pytest.raises(Unavailable):
        version_from_upload("k", body)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"items": [{}]}', b'{"items": [{"name": "a"}]}', b"<html>"])
def test_what_is_no_page_is_not_an_empty_page(body: bytes) -> None:
    """Garbage from a proxy does not look like an empty bucket."""
    with pytest.raises(Unavailable):
        page_of(body)


def test_an_empty_page() -> None:
    """That is one without items."""
    assert page_of(b'{"kind": "storage#objects"}') == ([], None)
