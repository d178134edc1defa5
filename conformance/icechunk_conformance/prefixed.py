"""Confine a storage to a prefix, so that a run touches nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from attrs import evolve

from icechunk_core.contract import (
    Buffer,
    ByteRange,
    Condition,
    DeleteResult,
    EndTurn,
    ObjectInfo,
    Storage,
    Version,
)
from icechunk_core.errors import InvalidKey

__all__ = ["prefixed"]


def prefixed(storage: Storage, prefix: str, written: set[str]) -> Storage:
    """The part of a storage under ``prefix``, with keys relative to it.

    Every key that is written is added to ``written``, in full.
    """
    head_hook = storage.hook("head")
    list_hook = storage.hook("list")
    delete_hook = storage.hook("delete")
    get_hook, put_hook = storage.get_range_hook, storage.put_hook

    def relative(info: ObjectInfo) -> ObjectInfo:
        return evolve(info, key=info.key.removeprefix(prefix))

    async def get_range(
        key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        data, info = await get_hook(prefix + key, byte_range, if_version)
        return data, relative(info)

    async def put(
        key: str,
        data: Sequence[Buffer],
        condition: Condition,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
        storage_class: str | None,
    ) -> Version:
        # Noted before: a put that is cancelled or fails may still land.
        written.add(prefix + key)
        try:
            return await put_hook(prefix + key, data, condition, metadata, content_type, storage_class)
        except InvalidKey:
            written.discard(prefix + key)
            raise

    async def head(key: str) -> ObjectInfo:
        return relative(await head_hook(prefix + key))

    async def list(text: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        after = None if start_after is None else prefix + start_after
        async for info in list_hook(prefix + text, after):
            yield relative(info)

    async def delete(keys: Sequence[str]) -> Sequence[DeleteResult]:
        results = await delete_hook([prefix + key for key in keys])
        return [evolve(result, key=result.key.removeprefix(prefix)) for result in results]

    hooks: dict[str, Callable[..., Any]] = {
        "get_range": get_range,
        "put": put,
        "head": head,
        "list": list,
        "delete": delete,
    }
    hooks.update(_optional(storage, prefix, written))
    return storage.with_hooks(None, **hooks)


def _optional(storage: Storage, prefix: str, written: set[str]) -> dict[str, Callable[..., Any]]:
    hooks: dict[str, Callable[..., Any]] = {}
    if "copy" in storage.hook_names:
        copy_hook = storage.hook("copy")

        async def copy(source: str, target: str) -> Version:
            written.add(prefix + target)
            version: Version = await copy_hook(prefix + source, prefix + target)
            return version

        hooks["copy"] = copy
    if "sync" in storage.hook_names:
        sync_hook = storage.hook("sync")

        async def sync(keys: Sequence[str]) -> None:
            await sync_hook([prefix + key for key in keys])

        hooks["sync"] = sync
    if "take_turn" in storage.hook_names:
        turn_hook = storage.hook("take_turn")

        async def take_turn(key: str, seconds: float) -> EndTurn | None:
            end: EndTurn | None = await turn_hook(prefix + key, seconds)
            return end

        hooks["take_turn"] = take_turn
    return hooks
