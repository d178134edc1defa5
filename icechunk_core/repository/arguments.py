"""Checks of what callers pass to a repository."""

from __future__ import annotations

from typing import Any

from icechunk_core.errors import ErrorKind, InvalidInputError
from icechunk_core.format import base32

__all__ = ["ref_name", "snapshot_id_bytes"]


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be text, not {type(value).__name__}")
    return value


def ref_name(value: Any, what: str = "the name of a branch") -> str:
    """A name of a branch or tag.

    Raises
    ------
    TypeError
        If it is no text.
    InvalidInputError
        ``invalid-ref-name``: it cannot be stored, which has UTF-8.
    """
    name = _text(value, what)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{name!r} cannot be {what}: it has half a surrogate pair in it", kind=ErrorKind.INVALID_REF_NAME
        ) from error
    return name


def snapshot_id_bytes(value: Any) -> bytes:
    """The 12 bytes of an id.

    Raises
    ------
    TypeError
        If it is no text.
    InvalidInputError
        ``invalid-snapshot-id``: it is no id.
    """
    return base32.decode(_text(value, "an id"))
