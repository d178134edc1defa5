"""Spread work over an executor: threads, processes, or the workers of a Dask cluster.

What runs elsewhere is a plain function of one small, picklable argument. It opens nothing by
itself but what it is given, and it may run again: a scheduler repeats what a lost worker was
doing, and so does this module with what was cancelled.
"""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from attrs import define, field

from icechunk_core.contract import Storage
from icechunk_core.drive import wait_for
from icechunk_core.errors import ErrorKind, ExecutorError, InvalidInputError
from icechunk_core.ids import SystemIds
from icechunk_core.session.sharing import arrived

__all__ = ["LentStorage", "batches", "check_executor", "fan_out"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
A = TypeVar("A")

_AHEAD = 64
_TRIES = 3


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive items in lists of at most ``size``.

    >>> list(batches("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def check_executor(executor: Executor | None) -> None:
    """Refuse what is no executor.

    Raises
    ------
    InvalidInputError
        With the way to get one.

    >>> check_executor(8)
    Traceback (most recent call last):
    icechunk_core.errors.InvalidInputError: executor is a concurrent.futures.Executor, not a int
    """
    if executor is None or isinstance(executor, Executor):
        return
    mend = "; pass client.get_executor()" if hasattr(executor, "get_executor") else ""
    raise InvalidInputError(
        f"executor is a concurrent.futures.Executor, not a {type(executor).__name__}{mend}",
        kind=ErrorKind.UNKNOWN,
    )


class LentStorage:
    """A storage for jobs: however many of them arrive in a process, it is opened there once.

    That happens where it is used: an error there is the job's, while one of unpickling would break
    the executor.
    """

    def __init__(self, storage: Storage) -> None:
        self._token = SystemIds().object_id()
        self._opening = storage.__reduce__
        self._storage: Storage | None = storage

    @property
    def storage(self) -> Storage:
        """The storage, open."""
        if self._storage is None:
            reopen, arguments = self._opening()
            self._storage = arrived(self._token, lambda: reopen(*arguments))
        return self._storage

    def __getstate__(self) -> tuple[bytes, tuple[Callable[[Any], Storage], tuple[Any]]]:
        return self._token, self._opening()

    def __setstate__(self, saved: tuple[bytes, tuple[Callable[[Any], Storage], tuple[Any]]]) -> None:
        self._token, opening = saved
        self._opening = lambda: opening
        self._storage = None


def _call(run: bytes, function: Callable[[A], T], argument: A) -> T:
    # The id makes each run another one for schedulers that remember the results of equal calls.
    return function(argument)


async def fan_out(
    executor: Executor,
    function: Callable[[A], T],
    arguments: Iterable[A],
    done: Callable[[T], None],
    *,
    may_suspend: bool,
    weight: Callable[[A], float] = lambda _: 0.0,
) -> None:
    """Call ``done`` with each result, in order.

    At most 64 calls are waiting at a time, and unless one is alone only such whose weights add up
    to at most 1. The first failure cancels what has not begun, and is raised.

    Parameters
    ----------
    function
        May run more than once with the same argument.
    may_suspend
        Whether to wait in an event loop.

    Raises
    ------
    ExecutorError
        A worker was lost, or the executor takes no more work.
    """
    waiting: deque[_Job] = deque()
    weights = 0.0
    run = SystemIds().object_id()
    try:
        for argument in arguments:
            heavy = weight(argument)
            while waiting and (len(waiting) >= _AHEAD or weights + heavy > 1):
                weights -= waiting[0].weight
                done(await waiting[0].result(may_suspend=may_suspend))
                waiting.popleft()
            waiting.append(_Job(executor, function, argument, run, heavy))
            weights += heavy
        while waiting:
            done(await waiting[0].result(may_suspend=may_suspend))
            waiting.popleft()
    finally:
        for job in waiting:
            job.future.cancel()


@define
class _Job:
    """A call that was sent to an executor."""

    executor: Executor
    function: Callable[[Any], Any]
    argument: Any
    run: bytes
    weight: float
    future: Future[Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._submit()

    def _submit(self) -> None:
        try:
            call: tuple[Any, ...] = (_call, self.run, self.function, self.argument)
            if isinstance(self.executor, ThreadPoolExecutor):  # others may be other processes
                call = (contextvars.copy_context().run, *call)
            self.future = self.executor.submit(*call)
        except RuntimeError as error:  # BrokenExecutor is one
            raise _lost("takes no more work", error) from error

    async def result(self, *, may_suspend: bool) -> Any:
        """The result, asked for again where the executor dropped the call."""
        for failures in range(1, _TRIES + 1):
            try:
                return await wait_for(self.future, may_suspend=may_suspend)
            except BrokenExecutor as error:
                raise _lost("has lost a worker", error) from error
            except CancelledError as error:
                if failures == _TRIES:
                    raise _lost("cancels its work", error) from error
                _log.warning("the executor cancelled a job; it is sent again")
                self._submit()
            except Exception as error:
                # Dask's, for a job whose workers died one after the other.
                if type(error).__name__ == "KilledWorker":
                    raise _lost("has lost several workers", error) from error
                raise
        raise AssertionError  # the last turn returns or raises


def _lost(what: str, error: BaseException) -> ExecutorError:
    return ExecutorError(
        f"the executor {what} ({type(error).__name__}: {error}). Nothing is half done: run the operation "
        "again with a new executor. Workers that end abruptly often lack memory: use fewer of them, or "
        "pass smaller limits"
    )
