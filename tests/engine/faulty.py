"""Storages whose answers get lost, for tests of what the engine makes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve

from icechunk_core.contract import IfAbsent, IfVersion, Storage
from icechunk_core.errors import StorageError

Act = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


def intercept_conditional_puts(storage: Storage, acts: list[Act], *, metadata: bool = True) -> Storage:
    """The storage, with the next conditional puts carried out by ``acts``, one each.

    Every act gets the real put as a function. ``metadata=False`` hides user metadata, as
    on storages that have none.
    """
    put = storage.hook("put")

    async def faulty_put(
        key: str, data: Any, condition: Any, user: Any, content_type: Any, storage_class: Any
    ) -> Any:
        async def really() -> Any:
            return await put(key, data, condition, user, content_type, storage_class)

        if isinstance(condition, IfAbsent | IfVersion) and acts:
            return await acts.pop(0)(really)
        return await really()

    capabilities = evolve(storage.capabilities, metadata=metadata and storage.capabilities.metadata)
    return storage.with_hooks(capabilities, put=faulty_put)


def lands_then(error: StorageError) -> Act:
    """The put happens; its answer is ``error``."""

    async def act(really: Callable[[], Awaitable[Any]]) -> Any:
        await really()
        raise error

    return act


def never_lands(error: StorageError) -> Act:
    """The put does not happen; the answer is ``error``."""

    async def act(really: Callable[[], Awaitable[Any]]) -> Any:
        raise error

    return act


def lands_then_others(error: StorageError, others: Callable[[], Awaitable[Any]]) -> Act:
    """The put happens, others write on top of it, the answer is ``error``."""

    async def act(really: Callable[[], Awaitable[Any]]) -> Any:
        await really()
        await others()
        raise error

    return act
