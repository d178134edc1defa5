"""Repetition of failed requests: full jitter, a deadline, and never where it could do harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from icechunk_azure._errors import Failed
from icechunk_core.clock import Clock
from icechunk_core.contract import RetryPolicy, note_retry
from icechunk_core.contract.errors import RateLimited
from icechunk_core.ids import IdSource

__all__ = ["Retrying"]

T = TypeVar("T")

_UNREACHABLE_ATTEMPTS = 3
"""Where no connection can be made, waiting seldom mends it."""


class Retrying:
    """Runs requests until they succeed, cannot, or time is up."""

    def __init__(self, policy: RetryPolicy, clock: Clock, ids: IdSource) -> None:
        self._policy = policy
        self._clock = clock
        self._ids = ids

    async def run(self, request: Callable[[], Awaitable[T]], *, repeatable: bool = True) -> T:
        """The result of the request.

        Parameters
        ----------
        repeatable
            Whether it may be sent again after the service may have acted on it. A conditional
            put may not: the second attempt would fail on the first one's success.

        Raises
        ------
        StorageError
            What the last attempt failed with.
        """
        started: float | None = None
        attempt = 0
        while True:
            attempt += 1
            try:
                return await request()
            except Failed as failed:
                now = self._clock.monotonic()
                started = now if started is None else started
                wait = self._wait(failed, attempt, now - started, repeatable)
                if wait is None:
                    raise failed.error from failed.cause
            await asyncio.sleep(wait)
            note_retry()

    def _wait(self, failed: Failed, attempt: int, elapsed: float, repeatable: bool) -> float | None:
        """Seconds before the next attempt; ``None`` to give up."""
        if not failed.error.retryable or not (repeatable or failed.unsent):
            return None
        # Who asks to slow down can be reached.
        unreachable = failed.unsent and not isinstance(failed.error, RateLimited)
        if unreachable and attempt >= _UNREACHABLE_ATTEMPTS:
            return None
        return self._policy.next_wait(attempt, elapsed, self._ids.uniform(), asked=failed.retry_after)
