"""Repeat calls that failed for now, where repeating cannot do harm."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from attrs import frozen

from icechunk_core.clock import Clock, SystemClock
from icechunk_core.contract.io_stats import note_retry
from icechunk_core.contract.retrying import RetryPolicy
from icechunk_core.contract.storage import Storage
from icechunk_core.contract.types import Always
from icechunk_core.contract.wrappers._around import around_each
from icechunk_core.drive import pause
from icechunk_core.errors import RateLimited, StorageError
from icechunk_core.ids import IdSource, SystemIds

__all__ = ["RetryPolicy", "with_retries"]

_log = logging.getLogger("icechunk_core.storage.retries")

_REPEATABLE = frozenset({"get_range", "head", "delete", "copy", "sync"})
"""What has the same effect twice as once. A put has, if it is unconditional."""


def with_retries(
    storage: Storage,
    policy: RetryPolicy | None = None,
    *,
    clock: Clock | None = None,
    ids: IdSource | None = None,
) -> Storage:
    """A storage that repeats calls whose error is ``retryable``.

    Reads, deletes, copies and unconditional puts are repeated. A **conditional put** is
    repeated only when the storage refused to look at it (`RateLimited`): one whose answer was
    lost may have landed, and its repetition would then lose against itself. The engine reads
    such puts back instead. A listing goes on after the last key it showed.

    Backends for services bring retries of their own; this is for those that have none.

    Parameters
    ----------
    storage
        What to repeat calls of.
    policy
        How often and how long.
    clock, ids
        Time and randomness, the machine's by default.
    """
    chosen = policy if policy is not None else RetryPolicy()
    retries = _Retries(chosen, storage.may_suspend, clock or SystemClock(), ids or SystemIds())

    async def around(
        operation: str, arguments: tuple[Any, ...], perform: Callable[[], Awaitable[Any]]
    ) -> Any:
        failures = 0
        started = retries.clock.monotonic()
        while True:
            try:
                return await perform()
            except StorageError as error:
                failures += 1
                if not _may_repeat(operation, arguments, error):
                    raise
                await retries.wait_or_raise(error, failures, started)

    async def around_list(
        arguments: tuple[Any, ...], inner: Callable[..., AsyncGenerator[Any, None]]
    ) -> AsyncGenerator[Any, None]:
        prefix, start_after, *rest = arguments
        seen = None
        failures = 0
        started = retries.clock.monotonic()
        while True:
            try:
                async with aclosing(inner(prefix, seen or start_after, *rest)) as items:
                    async for info in items:
                        yield info
                        seen, failures, started = info.key, 0, retries.clock.monotonic()
                return
            except StorageError as error:
                failures += 1
                if not error.retryable or (seen is not None and not storage.capabilities.ordered_list):
                    raise
                await retries.wait_or_raise(error, failures, started)

    return around_each(
        storage,
        around,
        around_list=around_list,
        rewrap=partial(with_retries, policy=chosen, clock=clock, ids=ids),
    )


@frozen
class _Retries:
    policy: RetryPolicy
    may_suspend: bool
    clock: Clock
    ids: IdSource

    async def wait_or_raise(self, error: StorageError, failures: int, started: float) -> None:
        elapsed = self.clock.monotonic() - started
        wait = self.policy.next_wait(failures, elapsed, self.ids.uniform())
        if wait is None:
            raise error
        _log.info("repeating after failure %d (%s), in %.3f s", failures, error.kind, wait)
        await pause(wait, self.clock, may_suspend=self.may_suspend)
        note_retry()


def _may_repeat(operation: str, arguments: tuple[Any, ...], error: StorageError) -> bool:
    if not error.retryable:
        return False
    if operation in _REPEATABLE or isinstance(error, RateLimited):
        return True
    return operation == "put" and isinstance(arguments[2], Always)
