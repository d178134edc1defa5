"""Checks of what the constructors of cloud storages are given."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from icechunk_core.errors import ErrorKind, StorageConfigError

__all__ = ["checked_choice", "checked_endpoint", "checked_seconds", "checked_text", "checked_texts", "given"]


def given(**options: Any) -> dict[str, Any]:
    """The options that are not ``None`` or ``False``: what a backend does by itself is left out."""
    return {name: value for name, value in options.items() if value is not None and value is not False}


def checked_text(name: str, value: object, *, empty: bool = False) -> str:
    """A required text option."""
    if not isinstance(value, str):
        raise StorageConfigError(f"{name!r} must be text, not a {type(value).__name__}")
    if not value and not empty:
        raise StorageConfigError(f"{name!r} must not be empty")
    return value


def checked_texts(name: str, value: Mapping[str, str] | None) -> dict[str, str] | None:
    """A mapping of text to text, such as HTTP headers; values are not shown, they may be secrets."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise StorageConfigError(f"{name!r} must be a mapping of texts, not a {type(value).__name__}")
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise StorageConfigError(f"{name!r}: the key and value of {key!r} must be texts")
    return dict(value)


def checked_seconds(name: str, value: int | None) -> int | None:
    """A whole number of seconds, 0 or more."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise StorageConfigError(f"{name!r} must be a whole number of seconds, 0 or more, not {value!r}")
    return value


def checked_endpoint(name: str, value: str | None, *, allow_http: bool = True) -> str | None:
    """An ``http(s)://`` URL without credentials in it."""
    if value is None:
        return None
    text = checked_text(name, value)
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise StorageConfigError(
            f"{name!r} must be a URL such as https://host:port", kind=ErrorKind.CANNOT_PARSE_URL
        )
    if parts.username or parts.password:
        raise StorageConfigError(f"{name!r} must not contain credentials; pass them as arguments")
    if parts.scheme == "http" and not allow_http:
        raise StorageConfigError(f"{name!r} is an http:// URL; pass allow_http=True to send data unencrypted")
    return text


def checked_choice(name: str, value: object | None, kind: type[enum.Enum]) -> str | None:
    """A member of an enumeration, or its name in any case, as its name."""
    if value is None or isinstance(value, kind):
        return None if value is None else value.name
    for member in kind:
        if isinstance(value, str) and value.lower() == member.name.lower():
            return member.name
    names = ", ".join(member.name for member in kind)
    raise StorageConfigError(f"{name!r} must be one of {names}, not {value!r}")
