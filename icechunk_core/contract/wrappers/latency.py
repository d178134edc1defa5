"""Slow a storage down: what a program does on a far-away storage, tried near by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from attrs import evolve

from icechunk_core.contract.storage import Storage
from icechunk_core.contract.wrappers._around import around_each

__all__ = ["with_latency"]


def with_latency(
    storage: Storage,
    seconds: float | Callable[[str], float],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Storage:
    """A storage each of whose calls waits first, by suspending.

    It declares ``may_suspend``, whatever the storage inside declares. It pickles if ``seconds``
    and ``sleep`` do.

    Parameters
    ----------
    storage
        What to slow down.
    seconds
        How long each call waits (a listing: before its first item), or a function of the
        operation's name that tells.
    sleep
        How to wait.
    """
    tell = seconds if callable(seconds) else lambda _: seconds

    async def around(
        operation: str, arguments: tuple[Any, ...], perform: Callable[[], Awaitable[Any]]
    ) -> Any:
        await sleep(tell(operation))
        return await perform()

    async def around_list(
        arguments: tuple[Any, ...], inner: Callable[..., AsyncGenerator[Any, None]]
    ) -> AsyncGenerator[Any, None]:
        await sleep(tell("list"))
        async with aclosing(inner(*arguments)) as items:
            async for info in items:
                yield info

    return around_each(
        storage,
        around,
        around_list=around_list,
        capabilities=evolve(storage.capabilities, may_suspend=True),
        rewrap=partial(with_latency, seconds=seconds, sleep=sleep),
    )
