"""Drive coroutines: by hand when nothing in them can suspend, on one background loop otherwise.

The engine is written once, as coroutines. Two kinds of storage call for two ways to
run them from blocking code:

* a storage that **never suspends** (memory, a small local filesystem) needs no event
  loop: `run_direct` sends ``None`` once and has the result. That costs a fraction of a
  microsecond and works on any thread, inside or outside a running loop;
* a storage that **may suspend** (network) runs on one background loop and thread,
  made on first use and made anew in a forked child.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from itertools import chain
from types import FrameType
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary, WeakSet

from icechunk_core.clock import Clock
from icechunk_core.errors import InternalError

__all__ = [
    "LoopFuture",
    "LoopLocal",
    "blocking",
    "blocking_iterator",
    "blocking_on_loop",
    "blocking_opener",
    "child_safe",
    "driven_directly",
    "gather",
    "in_background",
    "in_thread",
    "iterate",
    "new_future",
    "next_turn",
    "pause",
    "run",
    "run_direct",
    "wait_for",
]

T = TypeVar("T")
L = TypeVar("L")
C = TypeVar("C")
P = ParamSpec("P")

_SUSPENDED = (
    "a coroutine suspended although its storage declares that it never does; "
    "the backend must declare may_suspend=True"
)


def run_direct(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends to its end, here and now.

    Raises
    ------
    InternalError
        If it does suspend: a storage that declares that it never suspends did.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast(T, stop.value)
    coroutine.close()
    raise InternalError(_SUSPENDED)


def driven_directly() -> bool:
    """Whether the coroutine that asks is run by `run_direct`, and so must not suspend.

    It may be awaited in an event loop although its repository's storage never suspends: only
    the stack tells, in microseconds. For the rare coroutine that meets another storage, one that
    does suspend.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is run_direct.__code__:
            return True
        if frame.f_code is asyncio.events.Handle._run.__code__:
            return False
        frame = frame.f_back
    return False


class _Background:
    """One event loop on one daemon thread, for blocking calls on suspending storages."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._main, name="icechunk-core-loop", daemon=True)
        self.thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


_lock = threading.Lock()
_background: _Background | None = None
_workers: ThreadPoolExecutor | None = None
_computers: ThreadPoolExecutor | None = None
_WORKERS = 2
_child_safe: WeakSet[Any] = WeakSet()
_COMPUTERS = 4


def _after_fork_in_child() -> None:
    # The parent's loop thread does not exist here, and its lock may be held for ever.
    global _lock, _background, _workers, _computers
    _lock = threading.Lock()
    _background = None
    _workers = None
    _computers = None
    for lock in _child_safe:
        lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def child_safe(lock: L) -> L:
    """A lock that is free in a forked child, where a thread that held it does not exist.

    For locks that are never held while a process is forked by their own thread.
    """
    _child_safe.add(lock)
    return lock


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop that blocking calls on suspending storages run on."""
    global _background
    with _lock:
        if _background is None or _background.pid != os.getpid():
            _background = _Background()
        return _background.loop


def run(coroutine: Coroutine[Any, Any, T], *, may_suspend: bool) -> T:
    """Block until the coroutine is done; directly if it cannot suspend."""
    if not may_suspend:
        return run_direct(coroutine)
    loop = background_loop()
    try:
        inside = asyncio.get_running_loop() is loop
    except RuntimeError:
        inside = False
    if inside:
        coroutine.close()
        raise InternalError(
            "a blocking call was made from icechunk-core's own event loop; use the _async twin"
        )
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        # An interrupt while waiting must not leave the work running unseen.
        future.cancel()
        raise


def iterate(items: AsyncIterator[T], *, may_suspend: bool) -> Iterator[T]:
    """The blocking twin of an async iterator.

    The first step is taken at once, so that a call that cannot work fails where it is made.
    """

    if not may_suspend:
        return _iterate_direct(items)

    async def step() -> tuple[bool, T | None]:
        try:
            return True, await anext(items)
        except StopAsyncIteration:
            return False, None

    def steps(more: bool, item: T | None) -> Iterator[T]:
        while more:
            yield cast(T, item)
            more, item = run(step(), may_suspend=may_suspend)

    return steps(*run(step(), may_suspend=may_suspend))


def _iterate_direct(items: AsyncIterator[T]) -> Iterator[T]:
    """Each step driven by hand, without a coroutine around it: long histories have many."""
    ended = object()

    def step() -> Any:
        try:
            next(items.__anext__().__await__())
        except StopIteration as stop:
            return stop.value
        except StopAsyncIteration:
            return ended
        raise InternalError(_SUSPENDED)

    def steps(item: Any) -> Iterator[T]:
        while item is not ended:
            yield item
            item = step()

    return steps(step())


async def gather(
    jobs: Iterable[Callable[[], Coroutine[Any, Any, T]]], *, may_suspend: bool, limit: int = 64
) -> list[T]:
    """Results of all jobs, in order: one after the other in direct mode, else at most ``limit`` at once.

    The first failure cancels the rest and is raised. This is the only place of the
    engine that creates tasks.
    """
    if not may_suspend:
        return [await job() for job in jobs]
    pending = list(jobs)
    if len(pending) <= 1:
        return [await job() for job in pending]
    gate = asyncio.Semaphore(max(1, limit))

    async def guarded(job: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with gate:
            return await job()

    tasks = [asyncio.ensure_future(guarded(job)) for job in pending]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def in_background(job: Callable[[], Coroutine[Any, Any, T]], *, may_suspend: bool) -> Future[T]:
    """Start a job beside the caller, which needs no event loop, and whose end does not end the job.

    The job runs on the background loop, or if it cannot suspend on one of a few threads.
    """
    global _workers
    if may_suspend:
        return asyncio.run_coroutine_threadsafe(job(), background_loop())
    with _lock:
        if _workers is None:
            _workers = ThreadPoolExecutor(_WORKERS, "icechunk-core-worker")
        workers = _workers
    try:
        context = contextvars.copy_context()
        return workers.submit(lambda: context.run(lambda: run_direct(job())))
    except RuntimeError:  # the interpreter is about to end, and takes no more work
        done: Future[T] = Future()
        try:
            done.set_result(run_direct(job()))
        except Exception as error:
            done.set_exception(error)
        return done


def in_thread(compute: Callable[[], T]) -> Future[T]:
    """Compute something beside the caller, without waiting for anything, where that takes milliseconds."""
    global _computers
    with _lock:
        if _computers is None:
            threads = min(os.cpu_count() or 1, _COMPUTERS)
            _computers = ThreadPoolExecutor(threads, "icechunk-core-computer")
        computers = _computers
    try:
        return computers.submit(compute)
    except RuntimeError:  # the interpreter is about to end, and takes no more work
        done: Future[T] = Future()
        try:
            done.set_result(compute())
        except Exception as error:
            done.set_exception(error)
        return done


async def next_turn() -> None:
    """Let everything run once that is ready to; only where suspending is possible."""
    await asyncio.sleep(0)


LoopFuture: TypeAlias = asyncio.Future[T]


def new_future() -> LoopFuture[Any]:
    """A future of the running loop, for those who wait for what another coroutine of it does."""
    return asyncio.get_running_loop().create_future()


class LoopLocal(Generic[T]):
    """An object for each event loop, made on first use and gone with the loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()
        self._guard = child_safe(threading.Lock())

    def get(self) -> T:
        """The object of the running loop."""
        loop = asyncio.get_running_loop()
        found = self._of_loop.get(loop)
        if found is None:
            with self._guard:
                found = self._of_loop.setdefault(loop, self._make())
        return found


async def pause(seconds: float, clock: Clock, *, may_suspend: bool) -> None:
    """Wait: suspending where that is possible, else blocking the thread."""
    if may_suspend:
        await asyncio.sleep(seconds)
    else:
        clock.sleep(seconds)


async def wait_for(future: Future[T], *, may_suspend: bool) -> T:
    """The result of a future that another thread or task completes; cancelling the wait leaves it alone.

    Raises
    ------
    concurrent.futures.CancelledError
        The future was cancelled, which is no cancellation of who waits.
    """
    if not may_suspend:
        return future.result()
    try:
        return await asyncio.shield(asyncio.wrap_future(future))
    except asyncio.CancelledError as error:
        if future.cancelled():
            raise CancelledError from error
        raise


# --- blocking twins ----------------------------------------------------------


def _name_twin(twin: Callable[..., Any], function: Callable[..., Any]) -> None:
    """Name the twin: `foo` of `foo_async`, `async_foo` or `_foo_async`."""
    owner, dot, name = function.__qualname__.rpartition(".")
    name = name.removesuffix("_async").removeprefix("async_")
    twin.__name__ = name
    twin.__qualname__ = owner + dot + name


def blocking(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Derive ``foo`` from the method ``async def foo_async``: same signature, same docstring.

    The object tells through ``_may_suspend`` how to drive its coroutines.

    >>> class Counter:
    ...     _may_suspend = False
    ...     async def one_async(self) -> int:
    ...         return 1
    ...     one = blocking(one_async)
    >>> Counter().one()
    1
    """

    @functools.wraps(function)
    def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        may_suspend: bool = args[0]._may_suspend  # type: ignore[attr-defined]
        return run(function(*args, **kwargs), may_suspend=may_suspend)

    _name_twin(twin, function)
    return twin


def blocking_on_loop(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """As `blocking`, for methods that also use another storage than the object's: that may suspend."""

    @functools.wraps(function)
    def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(function(*args, **kwargs), may_suspend=True)

    _name_twin(twin, function)
    return twin


def blocking_iterator(
    function: Callable[P, AsyncIterator[T]],
    *,
    blocks: Callable[..., AsyncIterator[Sequence[T]]] | None = None,
) -> Callable[P, Iterator[T]]:
    """Derive the blocking twin of a method that returns an async iterator.

    Parameters
    ----------
    blocks
        A method with the same arguments that gives the same items in blocks: a coroutine is driven once
        for each block then, and not for each of many items.
    """

    @functools.wraps(function)
    def twin(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        may_suspend: bool = args[0]._may_suspend  # type: ignore[attr-defined]
        if blocks is not None:
            return chain.from_iterable(iterate(blocks(*args, **kwargs), may_suspend=may_suspend))
        return iterate(function(*args, **kwargs), may_suspend=may_suspend)

    _name_twin(twin, function)
    return twin


def blocking_opener(
    resolve: Callable[[Any], Any],
) -> Callable[[Callable[Concatenate[type[C], P], Coroutine[Any, Any, T]]], classmethod[C, P, T]]:
    """Derive the blocking twin of a class method whose first argument is a storage.

    There is no object yet to ask; the storage, once ``resolve`` has made one of what was
    passed, tells through ``may_suspend``.
    """

    def derive(
        method: Callable[Concatenate[type[C], P], Coroutine[Any, Any, T]],
    ) -> classmethod[C, P, T]:
        # Inside a class body, a class method is still the descriptor.
        function: Callable[..., Coroutine[Any, Any, T]] = getattr(method, "__func__", method)

        @functools.wraps(function)
        def twin(*args: Any, **kwargs: Any) -> T:
            may_suspend = False  # a call without storage raises its TypeError right away
            if "storage" in kwargs:
                kwargs["storage"] = resolve(kwargs["storage"])
                may_suspend = kwargs["storage"].may_suspend
            elif len(args) > 1:
                args = (args[0], resolve(args[1]), *args[2:])
                may_suspend = args[1].may_suspend
            return run(function(*args, **kwargs), may_suspend=may_suspend)

        _name_twin(twin, function)
        return cast("classmethod[C, P, T]", classmethod(twin))

    return derive
