"""Which server a storage talks to, and the same storage by way of another address.

A backend whose server can be reached at any URL says so in its configuration: the field with that URL has
``metadata={"endpoint": True}``. Fields with the seconds after which the client gives up (one attempt, or
all together) have ``metadata={"timeout": True}``, so that checks of servers that say nothing need not wait
for the default. Fields that allow plain http have ``metadata={"allow_http": True}``, and one with the
number of bytes from which objects are uploaded in parts ``metadata={"large_from": True}``.

>>> from attrs import field, frozen
>>> @frozen
... class Config:
...     endpoint_url: str = field(metadata={"endpoint": True})
...     request_timeout: float = field(default=30.0, metadata={"timeout": True})
>>> config = Config("http://localhost:9000")
>>> endpoint_of(config)
'http://localhost:9000'
>>> rerouted(config, "http://127.0.0.1:5000", patience=2.0)
Config(endpoint_url='http://127.0.0.1:5000', request_timeout=2.0)

Where no field is marked, those with the usual names are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["endpoint_of", "large_from", "rerouted"]

_ENDPOINTS = ("endpoint_url", "endpoint", "api_endpoint", "base_url", "url", "account_url")
_TIMEOUTS = (
    "timeout",
    "connect_timeout",
    "read_timeout",
    "request_timeout",
    "operation_timeout",
    "attempt_timeout",
    "network_stream_timeout_seconds",
    "total_timeout",
    "deadline",
    "retry_deadline",
)
_THRESHOLDS = ("multipart_threshold", "single_put", "resumable_from")
_HTTP = ("allow_http",)


def endpoint_of(config: Any) -> str | None:
    """The base URL of the server, or ``None`` where the configuration has no such field."""
    found: list[str] = []

    def note(attribute: attrs.Attribute[Any], value: Any) -> Any:
        if _is(attribute, "endpoint", _ENDPOINTS) and _is_http(value):
            found.append(value)
        return value

    _changed(config, note)
    return found[0] if found else None


def large_from(config: Any) -> int:
    """Bytes from which objects are uploaded in another way, in parts; 0 where the configuration does not
    say."""
    found = [0]

    def note(attribute: attrs.Attribute[Any], value: Any) -> Any:
        if _is(attribute, "large_from", _THRESHOLDS) and isinstance(value, int):
            found.append(value)
        return value

    _changed(config, note)
    return max(found)


def rerouted(config: Any, url: str, *, patience: float | None = None) -> Any:
    """The configuration with another endpoint and, with ``patience``, no timeout above it (in seconds)."""

    def change(attribute: attrs.Attribute[Any], value: Any) -> Any:
        if _is(attribute, "endpoint", _ENDPOINTS) and _is_http(value):
            return url
        if _is(attribute, "allow_http", _HTTP) and isinstance(value, bool):
            return True
        if patience is not None and _is(attribute, "timeout", _TIMEOUTS):
            if value is None:
                return patience
            if isinstance(value, int | float) and not isinstance(value, bool):
                return type(value)(min(value, patience))
        return value

    return _changed(config, change)


def _is(attribute: attrs.Attribute[Any], role: str, usual: tuple[str, ...]) -> bool:
    return bool(attribute.metadata.get(role, attribute.name in usual))


def _is_http(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _changed(config: Any, change: Callable[[attrs.Attribute[Any], Any], Any]) -> Any:
    """A copy with every field, nested ones too, put through ``change``; the same object if nothing
    changed."""
    if config is None or not attrs.has(type(config)):
        return config
    changes: dict[str, Any] = {}
    for attribute in attrs.fields(type(config)):
        value = getattr(config, attribute.name)
        new = _changed(value, change) if attrs.has(type(value)) else change(attribute, value)
        if new is not value and attribute.init:
            changes[attribute.alias] = new
    return attrs.evolve(config, **changes) if changes else config
