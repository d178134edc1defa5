"""Put code around every operation of a storage, whatever arguments the contract has or will have."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

from icechunk_core.contract.storage import Storage
from icechunk_core.contract.types import Capabilities

__all__ = ["Around", "around_each", "keys_of"]

Around: TypeAlias = Callable[[str, tuple[Any, ...], Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Called with the operation's name, its arguments, and what performs it."""


def around_each(
    storage: Storage,
    around: Around,
    *,
    around_list: Callable[
        [tuple[Any, ...], Callable[..., AsyncGenerator[Any, None]]], AsyncGenerator[Any, None]
    ],
    capabilities: Capabilities | None = None,
    rewrap: Callable[[Storage], Storage] | None = None,
) -> Storage:
    """A storage whose coroutine hooks go through ``around`` and whose listings through ``around_list``.

    Parameters
    ----------
    storage
        What to put code around.
    around
        A coroutine function, called for each operation but ``list`` with the operation's name, its
        arguments, and a function that performs it.
    around_list
        An async generator function, called for each listing with its arguments and the
        storage's own ``list``.
    capabilities
        Those of the result, if they are not the storage's.
    rewrap
        Does the same to a storage that was unpickled; see `Storage.with_hooks`.
    """
    hooks: dict[str, Callable[..., Any]] = {}
    for name in storage.hook_names - {"list"}:
        hooks[name] = _wrapped(name, storage.hook(name), around)
    inner_list = storage.hook("list")

    async def list_(*arguments: Any) -> AsyncGenerator[Any, None]:
        async with aclosing(around_list(arguments, inner_list)) as items:
            async for info in items:
                yield info

    hooks["list"] = list_
    return storage.with_hooks(capabilities, rewrap, **hooks)


def _wrapped(name: str, inner: Callable[..., Any], around: Around) -> Callable[..., Any]:
    async def call(*arguments: Any) -> Any:
        return await around(name, arguments, lambda: inner(*arguments))

    return call


def keys_of(operation: str, arguments: tuple[Any, ...]) -> tuple[str, ...]:
    """The keys (for ``list`` the prefix) that a call is about."""
    if operation == "close":
        return ()
    if operation in ("delete", "sync"):
        return tuple(arguments[0])
    if operation == "copy":
        return (arguments[0], arguments[1])
    return (arguments[0],)
