"""Storage URLs: what they are, their parts, and their text without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

from icechunk_core.errors import ErrorKind, StorageConfigError

__all__ = ["is_url", "parse_url", "query_options", "redacted", "scheme_of"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
"""At least two characters: one is a Windows drive."""

_BEFORE_AUTHORITY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)?(//)?")


def scheme_of(text: str) -> str | None:
    """The scheme that a text begins with, in lower case, or ``None``.

    >>> scheme_of("S3://bucket/prefix"), scheme_of("C:\\\\data"), scheme_of("data/x")
    ('s3', None, None)
    """
    match = _SCHEME.match(text)
    return match.group(1).lower() if match else None


def is_url(text: str) -> bool:
    """Whether a text is a URL beyond doubt (``scheme://``), not a path."""
    return scheme_of(text) is not None and "://" in text


def parse_url(url: str) -> tuple[str, SplitResult]:
    """Scheme and parts of a storage URL.

    Raises
    ------
    StorageConfigError
        If it has no scheme, or cannot be split; without the text of the URL's secret parts.
    """
    scheme = scheme_of(url)
    if scheme is None:
        raise StorageConfigError(
            f"{redacted(url)!r} is no storage URL, it has no scheme; write for example "
            "file:///path/to/directory, s3://bucket/prefix or memory:",
            kind=ErrorKind.CANNOT_PARSE_URL,
        )
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise StorageConfigError(
            f"cannot parse the storage URL {redacted(url)!r}", kind=ErrorKind.CANNOT_PARSE_URL
        ) from None
    if parts.fragment:
        raise StorageConfigError(
            f"the storage URL {redacted(url)!r} has a fragment; write a literal '#' as %23",
            kind=ErrorKind.CANNOT_PARSE_URL,
        )
    return scheme, parts


def query_options(parts: SplitResult) -> Mapping[str, str]:
    """The query parameters of a URL, as options of the backend.

    Raises
    ------
    StorageConfigError
        If one is given twice.
    """
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in options:
            raise StorageConfigError(f"the storage URL gives the option {name!r} twice")
        options[name] = value
    return options


def redacted(url: str) -> str:
    """A URL as it may be shown: without user, password, query values and fragment.

    >>> redacted("s3://key:secret@bucket/prefix?session_token=abc&region=eu-west-1")
    's3://***@bucket/prefix?session_token=***&region=***'
    """
    location, mark, query = url.partition("#")[0].partition("?")
    start = _BEFORE_AUTHORITY.match(location)
    position = start.end() if start else 0
    authority, slash, path = location[position:].partition("/")
    if "@" in authority:
        authority = "***@" + authority.rpartition("@")[2]
    if mark:
        query = "&".join(each.partition("=")[0] + "=***" for each in query.split("&"))
    return location[:position] + authority + slash + path + mark + query
