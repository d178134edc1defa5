"""The plugin: ``memory:`` (a new private storage) and ``memory:name`` (shared within the process)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote

from icechunk_core.contract import BackendSpec, hookimpl
from icechunk_memory._config import MemoryConfig
from icechunk_memory._storage import CAPABILITIES, MemoryStorage

__all__ = ["icechunk_backends"]


def _options_from_url(url: SplitResult) -> Mapping[str, Any]:
    name = unquote(url.netloc + url.path).strip("/")
    return {"name": name} if name else {}


@hookimpl
def icechunk_backends() -> Iterable[BackendSpec]:
    return [
        BackendSpec(
            name="memory",
            schemes=("memory",),
            config=MemoryConfig,
            capabilities=CAPABILITIES,
            factory=MemoryStorage,
            options_from_url=_options_from_url,
        )
    ]
