"""Keys of the contract and names of objects in the bucket."""

from __future__ import annotations

import re

from icechunk_core.contract.errors import InvalidKey
from icechunk_core.contract.keys import check_key

__all__ = ["LONGEST_NAME", "Names"]

LONGEST_NAME = 1024
"""Bytes of UTF-8: S3's limit."""

_NOT_IN_XML = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")
"""Characters that listings and batched deletes cannot carry."""


class Names:
    """Object names below a root in the bucket.

    Parameters
    ----------
    root
        What every name begins with: empty, ``prefix/``, or ``/`` at the root of a bucket that
        an old version of Icechunk wrote.

    refused
        Characters that the server confuses with others.

    >>> names = Names("repos/a/")
    >>> names.of("snapshots/X"), names.key_of("repos/a/config.yaml")
    ('repos/a/snapshots/X', 'config.yaml')
    """

    def __init__(self, root: str, refused: str = "") -> None:
        self.root = root
        self._refused = refused

    def of(self, key: str) -> str:
        """The object name of a key.

        Raises
        ------
        InvalidKey
            If it is no key, has control characters, or is too long with the prefix.
        """
        name = self.root + check_key(key)
        if _NOT_IN_XML.search(key):
            raise InvalidKey(
                f"object key {key!r} has a control character, which S3 listings cannot hold", key=key
            )
        if self._refused and any(each in key for each in self._refused):
            raise InvalidKey(
                f"object key {key!r} has a character that this server confuses with another", key=key
            )
        if len(name) * 4 > LONGEST_NAME and len(name.encode()) > LONGEST_NAME:
            raise InvalidKey(
                f"with its prefix, object key {key[:60]!r}... has more than {LONGEST_NAME} bytes", key=key
            )
        return name

    def key_of(self, name: str) -> str | None:
        """The key of an object name; ``None`` for what no key names, such as markers of folders."""
        key = name.removeprefix(self.root)
        try:
            return check_key(key)
        except InvalidKey:
            return None
