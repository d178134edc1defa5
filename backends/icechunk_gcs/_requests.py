"""Plain reads and writes as HTTP requests: values, made without I/O.

Google is read by the XML protocol, whose one answer has the bytes, the size, the generation, the
time and the user metadata; the JSON protocol's leaves the metadata out. Emulators put it in there too,
and not all have the XML protocol. Everything else is JSON. An upload is a multipart one: one request,
whole or not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, urlencode

from attrs import field, frozen

from icechunk_core.contract import (
    Buffer,
    ByteRange,
    Condition,
    From,
    IfAbsent,
    IfVersion,
    Range,
    Suffix,
    Version,
    resolve_range,
)
from icechunk_core.contract.errors import InvalidKey, VersionMismatch
from icechunk_core.contract.keys import check_key

__all__ = [
    "Request",
    "checked_name",
    "delete_object",
    "generation_of",
    "get_object",
    "head_object",
    "list_objects",
    "upload_object",
    "wanted_generation",
]

_GENERATION = re.compile(r"[1-9][0-9]{0,18}")
_ANY_SIZE = 1 << 62
_LISTED = "items(name,size,generation,updated,etag,metadata),nextPageToken"


@frozen
class Request:
    """One HTTP request to the endpoint.

    Attributes
    ----------
    url
        Path and query, encoded.
    body
        Buffers to send one after the other; none for no body.
    reading
        Whether it only reads, which decides about extra headers.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(factory=dict)
    body: Sequence[Buffer] = field(default=(), repr=False)
    reading: bool = True

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum([memoryview(each).nbytes for each in self.body])


# --- keys and generations ----------------------------------------------------


def checked_name(key: str, name: str) -> str:
    """The object name for a key, if Google Cloud Storage can hold it.

    Raises
    ------
    InvalidKey
        Saying what is wrong with it.
    """
    check_key(key)
    if "\r" in key or "\n" in key:
        raise InvalidKey(f"object key {key!r} has a line break, which no object's name may have", key=key)
    if len(name.encode()) > 1024:
        raise InvalidKey(f"the object's name {name[:40]!r}... is longer than 1024 bytes", key=key)
    if name.startswith(".well-known/acme-challenge/"):
        raise InvalidKey(f"object names may not begin with {name[:27]!r}", key=key)
    return name


def generation_of(version: Version, key: str) -> int:
    """The generation that a version stands for.

    Raises
    ------
    VersionMismatch
        If it is no version of this backend's, so that no object can have it.
    """
    if not _GENERATION.fullmatch(version.token) or int(version.token) >= 1 << 63:
        raise VersionMismatch(f"object {key!r} does not have the version {version.token!r}", key=key)
    return int(version.token)


def wanted_generation(condition: Condition, key: str) -> int | None:
    """The generation that a put insists on: 0 is "no object", ``None`` any."""
    if isinstance(condition, IfAbsent):
        return 0
    if isinstance(condition, IfVersion):
        return generation_of(condition.version, key)
    return None


# --- reading -----------------------------------------------------------------


def get_object(
    bucket: str, key: str, name: str, byte_range: ByteRange, if_version: Version | None, *, xml: bool
) -> Request:
    """Read an object or a part of it.

    Raises
    ------
    InvalidRange, VersionMismatch
        If no object could fit.
    """
    # Stored bytes are wanted as they are; without this header the server unpacks gzip.
    headers = {"accept-encoding": "gzip"}
    if byte_range is not None:
        headers["range"] = _range_header(byte_range, key)
    generation = None if if_version is None else generation_of(if_version, key)
    if xml:
        if generation is not None:
            headers["x-goog-if-generation-match"] = str(generation)
        return Request("GET", _xml_path(bucket, name), headers)
    query = "?alt=media" if generation is None else f"?alt=media&ifGenerationMatch={generation}"
    return Request("GET", "/download" + _json_path(bucket, name) + query, headers)


def head_object(bucket: str, name: str, *, xml: bool) -> Request:
    """Ask what is known about an object: in headers, or, by the JSON protocol, as an entry."""
    if xml:
        return Request("HEAD", _xml_path(bucket, name), {"accept-encoding": "gzip"})
    return Request("GET", _json_path(bucket, name) + "?projection=noAcl")


def list_objects(bucket: str, prefix: str, start: str | None, token: str | None, limit: int) -> Request:
    """One page of a listing: names that begin with a text, from ``start`` on (which is included)."""
    query = {"maxResults": str(limit), "projection": "noAcl", "fields": _LISTED}
    if prefix:
        query["prefix"] = prefix
    if start:
        query["startOffset"] = start
    if token:
        query["pageToken"] = token
    return Request("GET", f"/storage/v1/b/{bucket}/o?{urlencode(query)}")


def _xml_path(bucket: str, name: str) -> str:
    return f"/{bucket}/{quote(name, safe='/')}"


def _json_path(bucket: str, name: str) -> str:
    return f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"


def _range_header(byte_range: ByteRange, key: str) -> str:
    resolve_range(byte_range, _ANY_SIZE, key=key)
    if isinstance(byte_range, Range):
        return f"bytes={byte_range.start}-{byte_range.end - 1}"
    if isinstance(byte_range, From):
        return f"bytes={byte_range.offset}-"
    assert isinstance(byte_range, Suffix)
    return f"bytes=-{byte_range.length}"


# --- writing -----------------------------------------------------------------


def delete_object(bucket: str, name: str) -> Request:
    """Delete an object."""
    return Request("DELETE", _json_path(bucket, name), reading=False)


def upload_object(
    bucket: str,
    name: str,
    data: Sequence[Buffer],
    *,
    generation: int | None,
    metadata: Mapping[str, str] | None,
    content_type: str | None,
    storage_class: str | None,
    kms_key_name: str | None,
    acl: str | None,
    boundary: str,
    checksum: Callable[[Sequence[Buffer]], str | None],
) -> Request:
    """Write an object in one request.

    Parameters
    ----------
    generation
        That the object must have; 0 for none, ``None`` for any.
    boundary
        Text that does not occur in the data.
    checksum
        CRC32C as the server writes it (big-endian, base64), or ``None`` where it would be slow.
    """
    query: dict[str, str] = {"uploadType": "multipart", "fields": "generation"}
    if generation is not None:
        query["ifGenerationMatch"] = str(generation)
    if kms_key_name:
        query["kmsKeyName"] = kms_key_name
    if acl:
        query["predefinedAcl"] = acl
    kind = content_type or "application/octet-stream"
    described = {
        "name": name,
        "contentType": kind,
        "metadata": dict(metadata) if metadata else None,
        "storageClass": storage_class,
        "crc32c": checksum(data),
    }
    about = json.dumps({field: value for field, value in described.items() if value is not None})
    head = (
        f"--{boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{about}\r\n"
        f"--{boundary}\r\ncontent-type: {kind}\r\n\r\n"
    ).encode()
    return Request(
        "POST",
        f"/upload/storage/v1/b/{bucket}/o?{urlencode(query)}",
        {"content-type": f'multipart/related; boundary="{boundary}"'},
        [head, *data, f"\r\n--{boundary}--".encode()],
        reading=False,
    )
