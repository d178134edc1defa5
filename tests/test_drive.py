"""Driving coroutines: by hand, on the background loop, and after a fork."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import pytest

import icechunk_core
from icechunk_core import drive
from icechunk_core.errors import InternalError

MODES = pytest.mark.parametrize("may_suspend", [False, True], ids=["direct", "loop"])


async def _number() -> int:
    return 7


async def _failing() -> int:
    raise LookupError("nothing here")


@MODES
def test_result_and_error_come_through(may_suspend: bool) -> None:
    """A blocking call gives what the coroutine returns and raises what it raises."""
    assert drive.run(_number(), may_suspend=may_suspend) == 7
    with pytest.raises(LookupError, match="nothing here"):
        drive.run(_failing(), may_suspend=may_suspend)


async def test_direct_works_inside_a_running_loop() -> None:
    """A coroutine that never suspends can be driven where an event loop is already running."""
    assert drive.run(_number(), may_suspend=False) == 7


def test_a_suspension_in_direct_mode_is_an_error() -> None:
    """A storage that suspends although it declares the contrary is found out, and told so."""
    with pytest.raises(InternalError, match="may_suspend=True"):
        drive.run_direct(asyncio.sleep(0))


async def test_the_background_loop_serves_callers_with_a_loop_of_their_own() -> None:
    """A blocking call from inside another event loop runs on the background loop, in its thread."""

    async def where() -> tuple[str, asyncio.AbstractEventLoop]:
        return threading.current_thread().name, asyncio.get_running_loop()

    name, loop = drive.run(where(), may_suspend=True)
    assert name == "icechunk-core-loop"
    assert loop is not asyncio.get_running_loop()
    assert loop is drive.background_loop()


def test_a_blocking_call_on_the_background_loop_is_refused() -> None:
    """It would wait for itself for ever; the error names the twin to use instead."""

    async def nested() -> int:
        return drive.run(_number(), may_suspend=True)

    with pytest.raises(InternalError, match="_async"):
        drive.run(nested(), may_suspend=True)


def _child(queue: Any) -> None:
    queue.put((drive.run(_number(), may_suspend=False), drive.run(_number(), may_suspend=True)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_gets_a_loop_of_its_own() -> None:
    """After a fork the parent's loop thread is gone; blocking calls in the child work all the same."""
    assert drive.run(_number(), may_suspend=True) == 7
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == (7, 7)
    child.join()
    assert child.exitcode == 0


@MODES
def test_iterate_is_the_blocking_twin_of_async_for(may_suspend: bool) -> None:
    """Items arrive in order and one by one; nothing is produced that was not asked for."""
    produced = []

    async def items() -> AsyncIterator[int]:
        for number in range(5):
            produced.append(number)
            yield number

    iterator = drive.iterate(items(), may_suspend=may_suspend)
    assert [next(iterator), next(iterator)] == [0, 1]
    assert produced == [0, 1]
    assert list(iterator) == [2, 3, 4]


@MODES
def test_gather_keeps_the_order(may_suspend: bool) -> None:
    """Results come in the order of the jobs, whichever ends first."""

    def job(number: int) -> Callable[[], Coroutine[Any, Any, int]]:
        async def work() -> int:
            for _ in range(0 if not may_suspend else 5 - number):
                await asyncio.sleep(0)
            return number

        return work

    jobs = [job(number) for number in range(5)]
    assert drive.run(drive.gather(jobs, may_suspend=may_suspend), may_suspend=may_suspend) == [0, 1, 2, 3, 4]


async def test_gather_keeps_its_limit() -> None:
    """Never more jobs at once than allowed, and as many as that."""
    running, most = 0, 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await drive.gather([work] * 20, may_suspend=True, limit=3)
    assert most == 3


async def test_the_first_failure_of_gather_cancels_the_rest() -> None:
    """When one job fails, the others are cancelled and have ended before the error is raised."""
    ended = []

    async def waits() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
        return 0

    with pytest.raises(LookupError):
        await drive.gather([waits, _failing, waits], may_suspend=True)
    assert ended == ["cancelled", "cancelled"]


async def test_cancelling_a_wait_leaves_the_future_alone() -> None:
    """Others may be waiting for the same result."""
    future: Future[int] = Future()
    waiting = asyncio.ensure_future(drive.wait_for(future, may_suspend=True))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not future.cancelled()
    future.set_result(3)
    assert await drive.wait_for(future, may_suspend=True) == 3


# --- the twins of the public API ---------------------------------------------


@MODES
def test_background_jobs_outlive_their_callers(may_suspend: bool) -> None:
    """A job runs in another thread, with or without a loop around; its result or error is in the future."""

    async def where() -> str:
        return threading.current_thread().name

    async def start() -> Future[str]:
        return drive.in_background(where, may_suspend=may_suspend)

    for future in (drive.in_background(where, may_suspend=may_suspend), asyncio.run(start())):
        assert future.result().startswith("icechunk-core-")
    with pytest.raises(LookupError, match="nothing here"):
        drive.in_background(_failing, may_suspend=may_suspend).result()


def test_background_jobs_at_the_end_of_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """When no thread can be started any more the job is done on the spot."""

    class Ended:
        def submit(self, job: Callable[[], Any]) -> Any:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(drive, "_workers", Ended())
    assert drive.in_background(_number, may_suspend=False).result() == 7
    with pytest.raises(LookupError, match="nothing here"):
        drive.in_background(_failing, may_suspend=False).result()


def test_objects_of_loops() -> None:
    """Each event loop has its own object, the same on every call."""
    local: drive.LoopLocal[list[int]] = drive.LoopLocal(list)

    async def twice() -> tuple[list[int], list[int]]:
        return local.get(), local.get()

    first, again = asyncio.run(twice())
    other, _ = asyncio.run(twice())
    assert first is again
    assert other is not first


def _pairs() -> list[tuple[type, str, str]]:
    """Class, blocking name, async name of each public coroutine method."""
    found = []
    for owner in (icechunk_core.Repository, icechunk_core.Session):
        for name in dir(owner):
            if name.endswith("_async") and not name.startswith("_"):
                found.append((owner, name.removesuffix("_async"), name))
            elif name.startswith("async_"):
                found.append((owner, name.removeprefix("async_"), name))
    return found


@pytest.mark.parametrize(("owner", "blocking", "name"), _pairs(), ids=[pair[2] for pair in _pairs()])
def test_every_async_method_has_its_blocking_twin(owner: type, blocking: str, name: str) -> None:
    """The twin has the same parameters, its own name and a docstring, and is no coroutine function."""
    twin, original = getattr(owner, blocking), getattr(owner, name)
    assert list(inspect.signature(twin).parameters.values()) == list(
        inspect.signature(original).parameters.values()
    )
    assert twin.__name__ == blocking
    assert twin.__doc__
    assert not inspect.iscoroutinefunction(twin)


def test_the_public_api_has_twins() -> None:
    """The search for twins finds the ones that everybody uses."""
    names = {(owner.__name__, blocking) for owner, blocking, _ in _pairs()}
    assert {("Repository", "create"), ("Repository", "ancestry"), ("Session", "commit")} <= names
