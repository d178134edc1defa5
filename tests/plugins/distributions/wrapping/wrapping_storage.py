"""A plugin that decorates the storages it opens: every key is written in upper case."""

from __future__ import annotations

from typing import Any

from icechunk_core.contract import BackendSpec, Storage, hookimpl
from icechunk_memory._config import MemoryConfig
from icechunk_memory._storage import CAPABILITIES, MemoryStorage

seen: list[dict[str, Any]] = []


@hookimpl
def icechunk_backends() -> Any:
    return [BackendSpec("wrapped", ["wrapped"], MemoryConfig, CAPABILITIES, MemoryStorage, lambda _: {})]


@hookimpl
def icechunk_wrap_storage(storage: Storage, config: Any) -> Storage:
    seen.append(dict(config))
    inner = storage.put_hook

    async def put(key: str, *arguments: Any) -> Any:
        return await inner(key.upper(), *arguments)

    return storage.with_hooks(put=put)
