"""What the operations need of a server: one method a request of the protocol, and values for the answers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Protocol

from attrs import field, frozen

from icechunk_core.contract import Buffer, ObjectInfo, Version
from icechunk_core.contract.errors import Unavailable
from icechunk_s3._config import S3Config

__all__ = [
    "Client",
    "Listed",
    "ObjectClient",
    "Page",
    "Reply",
    "WriteOptions",
    "combined_etag",
    "content_md5",
    "etag_of",
    "extra_headers",
    "info_from",
    "sse_headers",
]

METADATA_PREFIX = "x-amz-meta-"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@frozen
class Reply:
    """An answer with an object or what is known about it; header names are in lower case."""

    headers: Mapping[str, str]
    body: Buffer = b""


@frozen
class WriteOptions:
    """What goes with a written object.

    Attributes
    ----------
    if_match
        The value for If-Match, quoted or not as the server has it.
    if_absent
        Send ``If-None-Match: *``.
    """

    if_match: str | None = None
    if_absent: bool = False
    metadata: Mapping[str, str] = field(factory=dict)
    content_type: str | None = None
    storage_class: str | None = None


@frozen
class Listed:
    """An entry of a listing."""

    name: str
    size: int
    etag: str
    last_modified: datetime


@frozen
class Page:
    """A page of a listing; ``token`` asks for the next one."""

    objects: Sequence[Listed]
    folders: Sequence[str]
    token: str | None


class ObjectClient(Protocol):
    """The frequent requests to one bucket, in one event loop. Methods raise what `failure_of` knows."""

    async def full(self) -> Client:
        """A client for all requests."""
        ...

    async def get(self, name: str, byte_range: str | None, if_match: str | None) -> Reply:
        """An object, or the part of it that the value of a ``Range`` header names."""
        ...

    async def head(self, name: str) -> Reply:
        """What is known about an object."""
        ...

    async def put(self, name: str, body: Sequence[Buffer], options: WriteOptions) -> str:
        """Write an object, of several buffers, in one request; its ETag."""
        ...

    async def upload_part(self, name: str, upload: str, number: int, body: memoryview) -> Mapping[str, str]:
        """Upload a part; what completing the upload has to say about it."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


class Client(ObjectClient, Protocol):
    """All requests."""

    async def list_page(
        self,
        prefix: str,
        start_after: str | None,
        token: str | None,
        *,
        folders: bool,
        limit: int | None = None,
    ) -> Page:
        """A page of the objects below a prefix, or with ``folders`` of one level of it."""
        ...

    async def delete(self, name: str) -> None:
        """Delete one object."""
        ...

    async def delete_many(self, names: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Delete up to 1,000 objects; code and message of those that failed."""
        ...

    async def copy(self, source: str, target: str, options: WriteOptions) -> str:
        """Copy an object; the ETag of the copy."""
        ...

    async def create_upload(self, name: str, options: WriteOptions) -> str:
        """Begin a multipart upload; its id."""
        ...

    async def complete_upload(
        self, name: str, upload: str, parts: Sequence[Mapping[str, str]], options: WriteOptions
    ) -> str:
        """Put the parts together, under the condition; the object's ETag."""
        ...

    async def abort_upload(self, name: str, upload: str) -> None:
        """Give up a multipart upload."""
        ...


def etag_of(text: str | None) -> str:
    """An ETag without quotes.

    Raises
    ------
    Unavailable
        If the server gave none: without it the write cannot be built upon.
    """
    if not text:
        raise Unavailable("the server's answer has no ETag; it may be no S3 service, check endpoint_url")
    return text.removeprefix("W/").strip('"')


def combined_etag(parts: Sequence[Mapping[str, str]]) -> str | None:
    """The ETag that S3 gives to the whole, from those of its parts; ``None`` if they are no MD5 sums.

    Ceph leaves it out of its answer to the completion of an upload.
    """
    try:
        digests = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
    except ValueError:
        return None
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


def content_md5(*body: Buffer) -> str:
    """The value of ``Content-MD5`` for a body of several buffers.

    Servers that get it refuse a body that was cut or damaged.
    SeaweedFS 4.48 stores an empty object when a connection ends between headers and body,
    unless it was told what to expect.
    """
    digest = hashlib.md5(usedforsecurity=False)
    for each in body:
        digest.update(each)
    return base64.b64encode(digest.digest()).decode()


def info_from(headers: Mapping[str, str], key: str) -> ObjectInfo:
    """What the headers of an answer say about an object.

    Raises
    ------
    Unavailable
        If there is no size or ETag in them.
    """
    etag = etag_of(headers.get("etag"))
    total = headers.get("content-range", "").rpartition("/")[2]
    size = total if total.isdigit() else headers.get("content-length", "")
    if not size.isdigit():
        raise Unavailable(f"object {key!r}: the server's answer does not tell its size", key=key)
    metadata = {
        name[len(METADATA_PREFIX) :]: value
        for name, value in headers.items()
        if name.startswith(METADATA_PREFIX)
    }
    return ObjectInfo(
        key,
        int(size),
        Version(etag),
        _modified(headers.get("last-modified") or headers.get("date")),
        metadata,
        etag,
    )


@lru_cache(maxsize=1024)
def _modified(text: str | None) -> datetime:
    if text is None:
        return _EPOCH
    try:
        parsed = parsedate_to_datetime(text)
    except ValueError:
        return _EPOCH
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def extra_headers(config: S3Config, *, write: bool) -> dict[str, str]:
    """Headers that the configuration adds to reads or to writes."""
    headers = dict(config.headers or {})
    headers.update((config.write_headers if write else config.read_headers) or {})
    if config.requester_pays:
        headers["x-amz-request-payer"] = "requester"
    return headers


def sse_headers(encryption: str | None, key_id: str | None) -> dict[str, str]:
    """Headers that ask for server-side encryption."""
    headers = {}
    if encryption is not None:
        headers["x-amz-server-side-encryption"] = encryption
    if key_id is not None:
        headers["x-amz-server-side-encryption-aws-kms-key-id"] = key_id
    return headers
