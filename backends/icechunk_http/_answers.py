"""What an answer says about an object, and which of its bytes were asked for. No I/O."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from attrs import frozen

from icechunk_core.contract import ByteRange, From, ObjectInfo, Suffix, Version
from icechunk_core.contract.errors import InvalidRange, Unavailable, Unsupported, VersionMismatch

__all__ = [
    "Extent",
    "check_version",
    "condition_header",
    "extent_of",
    "object_info",
    "range_header",
    "total_of",
]

_CONTENT_RANGE = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)")
_SAME_SECOND = timedelta(seconds=2)
_UNSATISFIED = re.compile(r"bytes\s+\*/(\d+)")


@frozen
class Extent:
    """Which bytes of an object a body holds: ``start`` inclusive, ``end`` exclusive; ``None`` if unknown."""

    start: int
    end: int | None
    total: int | None


def range_header(byte_range: ByteRange, key: str) -> str | None:
    """The value of ``Range``, or ``None`` for the whole object.

    Raises
    ------
    InvalidRange
        If no object can have that range.

    >>> from icechunk_core.contract import Range
    >>> range_header(Range(2, 10), "k"), range_header(Suffix(4), "k")
    ('bytes=2-9', 'bytes=-4')
    """
    if byte_range is None:
        return None
    if isinstance(byte_range, Suffix):
        if byte_range.length <= 0:
            raise InvalidRange(f"suffix of {byte_range.length} bytes; ask for at least 1", key=key)
        return f"bytes=-{byte_range.length}"
    if isinstance(byte_range, From):
        if byte_range.offset < 0:
            raise InvalidRange(f"negative offset {byte_range.offset}", key=key)
        return f"bytes={byte_range.offset}-"
    if not 0 <= byte_range.start < byte_range.end:
        raise InvalidRange(f"empty or negative byte range {byte_range.start}..{byte_range.end}", key=key)
    return f"bytes={byte_range.start}-{byte_range.end - 1}"


def extent_of(status: int, headers: Mapping[str, str], key: str) -> Extent:
    """What the body of a successful answer holds.

    Raises
    ------
    Unavailable
        If the answer does not say, or nonsense.
    """
    if status == 206:
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if match is None:
            raise Unavailable(
                f"object {key!r}: the server sent a part without saying which; it cannot be used for ranges",
                key=key,
            )
        first, last = int(match.group(1)), int(match.group(2))
        total = None if match.group(3) == "*" else int(match.group(3))
        if last < first or (total is not None and last >= total):
            raise Unavailable(f"object {key!r}: the server sent an impossible part", key=key)
        return Extent(first, last + 1, total)
    length = headers.get("Content-Length", "")
    if length.isdecimal():
        return Extent(0, int(length), int(length))
    return Extent(0, None, None)


def total_of(headers: Mapping[str, str]) -> int | None:
    """The object's size as status 416 tells it, if it does."""
    match = _UNSATISFIED.fullmatch(headers.get("Content-Range", "").strip())
    return int(match.group(1)) if match else None


def object_info(key: str, size: int, headers: Mapping[str, str], now: datetime) -> ObjectInfo:
    """What the headers tell about the object.

    The version is the ETag, else time and size, else only the size, which `check_version` knows
    to be no version at all. Times are whole seconds: one that has only just passed says nothing
    about another write in the same second (RFC 9110, section 8.8.2.2).
    """
    etag = headers.get("ETag", "").strip()
    modified = headers.get("Last-Modified", "").strip()
    if etag:
        token = f"etag {etag}"
    elif modified and _settled(modified, _moment(headers.get("Date", "")) or now):
        token = f"time {modified} {size}"
    else:
        token = f"none {size}"
    moment = _moment(modified) or _moment(headers.get("Date", "")) or now
    bare = etag.removeprefix("W/").strip('"') or None
    return ObjectInfo(key, size, Version(token), moment, etag=bare)


def _settled(modified: str, now: datetime) -> bool:
    moment = _moment(modified)
    return moment is not None and now - moment >= _SAME_SECOND


def _moment(text: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def condition_header(version: Version | None) -> dict[str, str]:
    """``If-Match``, where the version is an ETag that servers can compare (not a weak one)."""
    if version is None or not version.token.startswith('etag "'):
        return {}
    return {"If-Match": version.token.removeprefix("etag ")}


def check_version(info: ObjectInfo, wanted: Version | None) -> None:
    """Check the answer too, for servers that ignore conditions.

    Raises
    ------
    VersionMismatch
        If it is about another version.
    Unsupported
        If the server tells nothing that could be compared.
    """
    if wanted is None:
        return
    if wanted.token.startswith("none ") or info.version is None or info.version.token.startswith("none "):
        raise Unsupported(
            f"object {info.key!r}: the server sends neither an ETag nor a Last-Modified of more than a "
            "moment ago, so that a read of one certain version cannot be promised",
            key=info.key,
        )
    if info.version != wanted:
        raise VersionMismatch(f"object {info.key!r} has another version", key=info.key)
