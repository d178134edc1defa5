"""Options under the names of object_store's HTTP client, which Icechunk's users know (``opts``)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

from attrs import evolve

from icechunk_core.errors import StorageConfigError
from icechunk_http._config import HttpConfig

__all__ = ["with_opts"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"\s*([0-9.]+)\s*(ms|millis\w*|s|sec\w*|m|min\w*|h|hours?)\s*")


def _seconds(text: str) -> float:
    """Seconds of ``"30s"``, ``"1m 30s"``, ``"5 seconds"`` or ``"500ms"``."""
    total, position = 0.0, 0
    while position < len(text):
        match = _DURATION.match(text, position)
        if match is None:
            raise ValueError("expected a duration such as '30s'")
        unit = "ms" if match.group(2).startswith(("ms", "milli")) else match.group(2)[0]
        total += float(match.group(1)) * _UNITS[unit]
        position = match.end()
    return total


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError("expected true or false")
    return text.lower() in ("true", "1")


_MEANINGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "allow_invalid_certificates": ("allow_invalid_certificates", _flag),
    "connect_timeout": ("connect_timeout", _seconds),
    "proxy_url": ("proxy", str),
    "timeout": ("request_timeout", _seconds),
    "user_agent": ("user_agent", str),
}
_WITHOUT_EFFECT = frozenset(
    {
        "default_content_type", "http1_only", "http2_keep_alive_interval", "http2_keep_alive_timeout",
        "http2_keep_alive_while_idle", "http2_max_frame_size", "http2_only", "pool_idle_timeout",
        "pool_max_idle_per_host", "proxy_ca_certificate", "proxy_excludes", "randomize_addresses",
    }
)  # fmt: skip
_KNOWN = (*_MEANINGS, "allow_http", *_WITHOUT_EFFECT)


def with_opts(config: HttpConfig) -> HttpConfig:
    """The configuration with its ``opts`` filled in.

    Raises
    ------
    StorageConfigError
        If one is unknown or its value does not fit; values are not shown.
    """
    changes: dict[str, Any] = {}
    for name, value in config.opts.items():
        if name not in _KNOWN:
            close = difflib.get_close_matches(name, _KNOWN, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise StorageConfigError(
                f"http storage: 'opts' has the unknown name {name!r}{hint} "
                f"It knows {', '.join(sorted(_KNOWN))}"
            )
        try:
            if name == "allow_http" and not _flag(value) and config.base_url.startswith("http:"):
                raise StorageConfigError(
                    "http storage: 'base_url' is http://, which allow_http=false forbids"
                )
            if name in _MEANINGS:
                field, read = _MEANINGS[name]
                changes[field] = read(value)
        except StorageConfigError:
            raise
        except ValueError as error:
            raise StorageConfigError(f"http storage: 'opts', {name!r}: {error}") from None
    return evolve(config, opts={}, **changes)
