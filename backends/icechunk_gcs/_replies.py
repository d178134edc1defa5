"""What the server's answers to plain reads and writes mean: values, made without I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from attrs import field, frozen

from icechunk_core.contract import Buffer, ByteRange, ObjectInfo, Version, resolve_range
from icechunk_core.contract.errors import Unavailable

__all__ = [
    "Reply",
    "incomplete",
    "page_of",
    "read_reply",
    "size_from_head",
    "told_by_headers",
    "told_by_json",
    "version_from_upload",
]

_METADATA = "x-goog-meta-"


@frozen
class Reply:
    """One HTTP answer; the names of its headers are looked up in any case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: Buffer = field(repr=False)

    @property
    def told(self) -> bytes:
        """The body of an answer that is a document."""
        return bytes(self.body)


def incomplete(reply: Reply) -> bool:
    """Whether an answer lacks what Google's always has (some emulators')."""
    return "x-goog-generation" not in reply.headers or "last-modified" not in reply.headers


def told_by_headers(key: str, reply: Reply, size: int) -> ObjectInfo:
    """The object that the headers of a read describe.

    ``size`` is the whole object's.

    Raises
    ------
    Unavailable
        If they do not.
    """
    headers = reply.headers
    try:
        modified = parsedate_to_datetime(headers["last-modified"]).replace(tzinfo=UTC)
        version = Version(headers["x-goog-generation"])
    except (KeyError, ValueError, TypeError) as error:
        raise Unavailable(f"object {key!r}: the server's answer does not describe it", key=key) from error
    metadata = {
        name.lower()[len(_METADATA) :]: value
        for name, value in headers.items()
        if name[:12].lower() == _METADATA
    }
    return ObjectInfo(
        key,
        size,
        version,
        modified,
        metadata,
        headers.get("etag", "").strip('"') or None,
    )


def read_reply(key: str, byte_range: ByteRange, reply: Reply) -> tuple[Buffer, int]:
    """The bytes that were asked for, and the size of the whole object.

    Raises
    ------
    InvalidRange
        If the server ignored the range (it may, for an empty object) and it does not fit.
    Unavailable
        If the answer contradicts itself.
    """
    if reply.status == 206:
        total = reply.headers.get("content-range", "").rpartition("/")[2]
        if not total.isdigit():
            raise Unavailable(f"object {key!r}: the server sent a part without saying of how much", key=key)
        size = int(total)
        start, end = resolve_range(byte_range, size, key=key)
        if len(reply.body) != end - start:
            raise Unavailable(
                f"object {key!r}: {len(reply.body)} bytes came of {end - start} that were asked for", key=key
            )
        return reply.body, size
    size = len(reply.body)
    if byte_range is None:
        return reply.body, size
    start, end = resolve_range(byte_range, size, key=key)
    return reply.body[start:end], size


def size_from_head(key: str, reply: Reply) -> int:
    """The object's size as stored, from the answer to a HEAD.

    Raises
    ------
    Unavailable
        If it does not tell.
    """
    told = reply.headers.get("x-goog-stored-content-length") or reply.headers.get("content-length") or ""
    if not told.isdigit():
        raise Unavailable(f"object {key!r}: the server's answer does not tell its size", key=key)
    return int(told)


def version_from_upload(key: str, body: bytes) -> Version:
    """The generation that a finished upload made.

    Raises
    ------
    Unavailable
        If the answer does not say; the object was written.
    """
    try:
        return Version(str(int(json.loads(body)["generation"])))
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(
            f"object {key!r} was written, but the server did not say which generation it is", key=key
        ) from error


def told_by_json(key: str, body: bytes) -> ObjectInfo:
    """The object that an entry of the JSON protocol describes.

    Raises
    ------
    Unavailable
        If it is none.
    """
    try:
        return _info(key, json.loads(body))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(f"object {key!r}: the server's answer does not describe it", key=key) from error


def _info(key: str, item: Mapping[str, Any]) -> ObjectInfo:
    # Times are cut to seconds, which is what the headers of reads tell.
    updated = datetime.fromisoformat(str(item["updated"])).astimezone(UTC).replace(microsecond=0)
    return ObjectInfo(
        key,
        int(item.get("size", 0)),
        Version(str(item["generation"])),
        updated,
        dict(item.get("metadata") or {}),
        str(item["etag"]) if "etag" in item else None,
    )


def page_of(body: bytes) -> tuple[list[tuple[str, ObjectInfo]], str | None]:
    """Names and objects of one page of a listing, and the token of the next page.

    Raises
    ------
    Unavailable
        If it is none.
    """
    try:
        page = json.loads(body)
        found = [(item["name"], _info(item["name"], item)) for item in page.get("items") or ()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable("the server's answer is not a page of a listing") from error
    return found, page.get("nextPageToken") or None
