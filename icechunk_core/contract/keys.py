"""Which object keys the contract allows: the check that every backend shares."""

from __future__ import annotations

from icechunk_core.errors import InvalidKey

__all__ = ["check_key"]

_NEVER_A_SEGMENT = ("", ".", "..")


def check_key(key: str) -> str:
    """Return the key if the contract allows it.

    A key is non-empty text, ``/``-separated, without leading or trailing slash, without
    empty, ``.`` or ``..`` segments, without NUL and without lone surrogates (it has to
    encode as UTF-8). What else a backend cannot hold (length, names that an operating
    system reserves) is for the backend to refuse, with `InvalidKey` too.

    Raises
    ------
    InvalidKey
        Saying what is wrong.

    >>> check_key("chunks/ÄÖ %2F")
    'chunks/ÄÖ %2F'
    >>> check_key("a/../b")
    Traceback (most recent call last):
    ...
    icechunk_core.errors.InvalidKey: object key 'a/../b' has a segment '..'
    """
    if not isinstance(key, str):
        raise InvalidKey(f"an object key is text, not {type(key).__name__}")
    if not key:
        raise InvalidKey("an object key cannot be empty", key=key)
    for segment in key.split("/"):
        if segment in _NEVER_A_SEGMENT:
            what = (
                f"a segment {segment!r}"
                if segment
                else "an empty segment (leading, trailing or double slash)"
            )
            raise InvalidKey(f"object key {key!r} has {what}", key=key)
    if "\0" in key:
        raise InvalidKey(f"object key {key!r} has a NUL character", key=key)
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError:
            raise InvalidKey(
                f"object key {key!r} has a lone surrogate, which UTF-8 cannot encode", key=key
            ) from None
    return key
