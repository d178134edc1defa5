"""A plugin of a wrapper: it adds a suffix to every key that is written."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from icechunk_core.contract import Storage, WrapperSpec, hookimpl


@frozen
class SuffixConfig:
    suffix: str = "-suffix"
    times: int = 1
    password: str = field(default="", repr=False)


def wrap(storage: Storage, config: SuffixConfig) -> Storage:
    if config.password == "wrong password":
        raise RuntimeError(f"cannot use {config.password}")
    inner = storage.put_hook

    async def put(key: str, *arguments: Any) -> Any:
        return await inner(key + config.suffix * config.times, *arguments)

    return storage.with_hooks(put=put)


@hookimpl
def icechunk_wrappers() -> Any:
    return [WrapperSpec("suffixed", SuffixConfig, wrap)]
