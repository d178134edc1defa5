"""Races inside this process: threads with an event loop and a client each.

Schedules are amplified. The interpreter switches threads far more often than usual, and in
the backend's own code a trace function gives way at random lines, so that a window of a
few instructions between a check and an action is hit within a few rounds.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

from icechunk_conformance.target import Target
from icechunk_core.clock import SystemClock
from icechunk_core.contract import Storage
from icechunk_core.ids import SystemIds

__all__ = ["Racer", "amplified", "race"]

Part: TypeAlias = "Callable[[Storage, Racer], Awaitable[Any]]"

SWITCH_INTERVAL = 1e-5
GIVE_WAY = 0.2
"""Probability of giving way at a line of the backend."""


def _chances(seed: int) -> Iterator[float]:
    """Numbers in [0, 1) that look random: cheap, repeatable, and a thread's own."""
    state = seed * 2654435761 % 2**32 or 1
    while True:
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        yield state / 2**32


class Racer:
    """One contender.

    Attributes
    ----------
    number
        Its number, from 0.
    contenders
        How many take part.
    """

    def __init__(self, number: int, contenders: int, barrier: threading.Barrier | None = None) -> None:
        self.number = number
        self.contenders = contenders
        self._barrier = barrier
        self._chance = _chances(number)

    def together(self) -> None:
        """Wait for all contenders, where they run in threads: a round begins at one moment."""
        if self._barrier is not None:
            self._barrier.wait()

    async def turn(self) -> None:
        """Give way now and then, so that schedules differ from round to round."""
        if next(self._chance) < 0.3:
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
    """The source files of the backend's own package; none where it cannot be told."""
    modules: set[str] = set()
    for name in ("put", "get_range"):
        function = inspect.unwrap(storage.hook(name))
        owner = getattr(function, "__self__", None)
        classes = type(owner).__mro__ if owner is not None else ()
        modules.update({function.__module__, *(each.__module__ for each in classes)})
    for package in {name.partition(".")[0] for name in modules} - {"icechunk_conformance"}:
        modules.update(name for name in list(sys.modules) if name.startswith(package + "."))
    paths = (
        getattr(sys.modules.get(name), "__file__", None)
        for name in modules
        if name.partition(".")[0] not in ("icechunk_core", "builtins")
    )
    return frozenset(path for path in paths if path)


def amplified(files: frozenset[str], seed: int) -> None:
    """Make this thread give way at random lines of those files."""
    if not files or sys.gettrace() is not None:
        return
    chances, pause = _chances(seed), SystemClock().sleep

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and next(chances) < GIVE_WAY:
            pause(next(chances) * 2e-4)
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
    barrier = threading.Barrier(len(parts), timeout=target.budget.timeout)
    results: list[Any] = [None] * len(parts)
    failures: list[BaseException] = []
    seed = int(SystemIds().uniform() * 2**31)

    def contend(number: int) -> None:
        async def run() -> Any:
            barrier.wait()
            amplified(files, seed + number)
            try:
                return await parts[number](clients[number], Racer(number, len(parts), barrier))
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
