"""Which objects never change once they are written, by the format of Icechunk repositories."""

from __future__ import annotations

import re

__all__ = ["may_be_cached", "never_changes"]

_RANDOM_NAME = re.compile(r"(?:.*/)?(chunks|manifests|transactions|snapshots)/([0-9A-HJKMNP-TV-Z]{20})")
_INITIAL_SNAPSHOT = "1CECHNKREP0F1RSTCMT0"
"""Not random: a repository that is deleted and created again has another object under the same key."""

_MAGIC = "ICE🧊CHUNK".encode()
_SPEC_VERSION_AT = 36


def may_be_cached(key: str) -> bool:
    """Whether a key has a random name that is given only once: not refs, configuration, ``repo``.

    >>> may_be_cached("chunks/0123456789ABCDEFGHJK"), may_be_cached("repo")
    (True, False)
    """
    match = _RANDOM_NAME.fullmatch(key)
    return match is not None and match[2] != _INITIAL_SNAPSHOT


def never_changes(key: str, beginning: bytes) -> bool:
    """Whether an object that may be cached can be, by how it begins.

    Snapshots of the format's version 1 cannot: expiration overwrites them in place.
    """
    match = _RANDOM_NAME.fullmatch(key)
    if match is None or match[1] != "snapshots":
        return match is not None
    known = beginning.startswith(_MAGIC) and len(beginning) > _SPEC_VERSION_AT
    return known and beginning[_SPEC_VERSION_AT] >= 2
