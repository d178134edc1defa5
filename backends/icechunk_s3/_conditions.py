"""Conditions of the contract as the protocol has them."""

from __future__ import annotations

import re

from attrs import evolve

from icechunk_core.contract import Always, Condition, IfAbsent, IfVersion, Version
from icechunk_core.contract.errors import Unsupported, VersionMismatch
from icechunk_s3._client import WriteOptions
from icechunk_s3._quirks import Quirks

__all__ = ["header_of", "with_condition"]

_ETAG = re.compile(r"[!#-~]+")
"""What an ETag may consist of; no quotes, and nothing that a header cannot carry."""
_MD5 = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")
"""What Ceph's ETags are. It compares only as many characters as its own has: a longer one would fit."""


def header_of(version: Version, quirks: Quirks) -> str | None:
    """The value for If-Match; ``None`` if no object can have such a version."""
    if _ETAG.fullmatch(version.token) is None or version.token == "*":
        return None
    if quirks.quoted_etag:
        return f'"{version.token}"'
    return version.token if _MD5.fullmatch(version.token) else None


def with_condition(options: WriteOptions, condition: Condition, quirks: Quirks, key: str) -> WriteOptions:
    """Write options under a condition.

    Raises
    ------
    Unsupported
        If the server does not honour it. Nothing is sent then.
    VersionMismatch
        If no object can have that version.
    """
    if isinstance(condition, Always):
        return options
    if isinstance(condition, IfAbsent):
        if quirks.create:
            return evolve(options, if_absent=True)
    elif isinstance(condition, IfVersion) and quirks.update:
        header = header_of(condition.version, quirks)
        if header is None:
            raise VersionMismatch(f"object {key!r} has another version; nothing was written", key=key)
        return evolve(options, if_match=header)
    raise Unsupported(
        f"this server ({quirks.name}) does not honour {type(condition).__name__}; nothing was written",
        key=key,
    )
