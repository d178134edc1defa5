"""A read-only storage and its writable twin, which reach the same objects, as one client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from icechunk_core.contract import ALWAYS, Buffer, Condition, DeleteResult, Storage, Version

__all__ = ["with_twin"]


def with_twin(storage: Storage, twin: Storage) -> Storage:
    """The read-only storage, whose puts and deletes are carried out by the twin.

    The version that a put returns is the one that the read-only storage shows.
    """
    head, close, refuse = storage.hook("head"), storage.hook("close"), storage.put_hook

    async def put(
        key: str,
        data: Sequence[Buffer],
        condition: Condition,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
        storage_class: str | None,
    ) -> Version:
        if condition != ALWAYS:
            # The twin proves nothing about conditions: the storage itself has to refuse.
            return await refuse(key, data, condition, metadata, content_type, storage_class)
        await twin.put_hook(key, data, ALWAYS, metadata, content_type, storage_class)
        return (await head(key)).version or Version("")

    async def delete(keys: Sequence[str]) -> Sequence[DeleteResult]:
        return await twin.delete(keys)

    async def close_both() -> None:
        await twin.close()
        await close()

    return storage.with_hooks(put=put, delete=delete, close=close_both)
