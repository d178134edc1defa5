"""Requests that say for whom they are made: a repository's attribution, as an option of its storage."""

from __future__ import annotations

from typing import Any

import attrs

from icechunk_core.contract import Storage
from icechunk_core.plugins.structuring import option_names
from icechunk_core.repository.attribution import Attribution
from icechunk_core.version import __version__

__all__ = ["requesting_as", "user_agent_of"]


def user_agent_of(attribution: Attribution) -> str:
    """The ``User-Agent`` of a repository's requests.

    >>> user_agent_of(Attribution(client="weatherlib/0.9", workload="nightly")).partition(" ")[0]
    'weatherlib/0.9'
    """
    labels = [
        f"{name}={value}"
        for name, value in (("workload", attribution.workload), ("principal", attribution.principal))
        if value is not None
    ]
    words = [attribution.client, f"icechunk-core/{__version__}", f"({'; '.join(labels)})" if labels else None]
    return " ".join(word for word in words if word)


def requesting_as(storage: Storage, attribution: Attribution | None) -> Storage:
    """The storage with requests that carry the labels, if its backend makes requests.

    That is one whose configuration has the option ``user_agent``, or ``headers``. Others, and
    storages that were made in code, stay as they are.
    """
    if attribution is None or attribution == Attribution():
        return storage
    text = user_agent_of(attribution)
    config: Any = storage.config
    options = option_names(type(config)) if attrs.has(type(config)) else []
    if "user_agent" in options:
        return storage.reconfigured(user_agent=text)
    if "headers" in options:
        return storage.reconfigured(headers={**(config.headers or {}), "User-Agent": text})
    return storage
