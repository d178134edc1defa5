"""Races inside this process: threads with an event loop and a client each.

Schedules are amplified. The interpreter switches threads far more often than usual, and in
the backend's own code a trace function gives way at random lines, so that a window of a
few instructions between a check and an action is hit within a few rounds.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

from icechunk_conformance.target import Target
from icechunk_core.contract import Storage

__all__ = ["Racer", "amplified", "race"]

Part: TypeAlias = "Callable[[Storage, Racer], Awaitable[Any]]"

SWITCH_INTERVAL = 1e-5
GIVE_WAY = 0.06
"""Probability of giving way at a line of the backend."""


class Racer:
    """One contender: its number, and a place to let others go first."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._random = random.Random(number)

    async def turn(self) -> None:
        """Give way now and then, so that schedules differ from round to round."""
        if self._random.random() < 0.3:
            await asyncio.sleep(0)


@contextmanager
def quick_switching() -> Iterator[None]:
    """Let the interpreter switch threads every few microseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def backend_files(storage: Storage) -> frozenset[str]:
    """The source files (folder) of the backend's own code; empty where it cannot be told."""
    found: set[str] = set()
    for name in ("put", "get_range"):
        function = inspect.unwrap(storage.hook(name))
        owner = getattr(function, "__self__", None)
        classes = type(owner).__mro__ if owner is not None else ()
        for module in {function.__module__, *(cls.__module__ for cls in classes)}:
            path = getattr(sys.modules.get(module), "__file__", None)
            if path and not module.startswith(("icechunk_core", "builtins")):
                found.add(path)
    return frozenset(found)


def amplified(files: frozenset[str], seed: int) -> None:
    """Make this thread give way at random lines of those files."""
    if not files or sys.gettrace() is not None:
        return
    chance = random.Random(seed).random

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and chance() < GIVE_WAY:
            time.sleep(chance() * 2e-4)
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_code.co_filename in files else None

    sys.settrace(call)


async def race(target: Target, parts: Sequence[Part], *, share: bool = False) -> list[Any]:
    """Run each part in a thread of its own with an event loop of its own; results in order.

    Parameters
    ----------
    parts
        Coroutine functions of a client and a `Racer`.
    share
        One client for all, instead of one each.
    """
    first = await target.client()
    clients = [first if share else await target.client() for _ in parts]
    files = backend_files(target.location.origin)
    barrier = threading.Barrier(len(parts))
    results: list[Any] = [None] * len(parts)
    failures: list[BaseException] = []
    seed = int.from_bytes(os.urandom(4), "big")

    def contend(number: int) -> None:
        async def run() -> Any:
            barrier.wait(target.budget.timeout)
            amplified(files, seed + number)
            try:
                return await parts[number](clients[number], Racer(number))
            finally:
                sys.settrace(None)

        try:
            results[number] = asyncio.run(run())
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=contend, args=(number,), daemon=True) for number in range(len(parts))]
    with quick_switching():
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join, target.budget.timeout)
    if any(thread.is_alive() for thread in threads):
        raise TimeoutError("a contender of a race did not come to an end")
    real = [error for error in failures if not isinstance(error, threading.BrokenBarrierError)]
    if real:
        raise real[0]
    return results
