"""Repetition of failed requests: full jitter, a deadline, and never where it could do harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from attrs import frozen

from icechunk_azure._errors import Failed
from icechunk_core.clock import Clock
from icechunk_core.contract import note_retry
from icechunk_core.contract.errors import RateLimited
from icechunk_core.ids import IdSource

__all__ = ["RetryPolicy", "Retrying"]

T = TypeVar("T")

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 8.0
_UNREACHABLE_TRIES = 3


@frozen
class RetryPolicy:
    """How long to go on.

    Attributes
    ----------
    tries
        Attempts in all; three where no connection can be made, which waiting seldom mends.
    deadline
        Seconds from the first attempt after which no other is begun.
    """

    tries: int
    deadline: float


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
        if attempt >= (min(_UNREACHABLE_TRIES, self._policy.tries) if unreachable else self._policy.tries):
            return None
        longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (attempt - 1))
        wait = longest * self._ids.uniform()
        if failed.retry_after is not None:
            wait += failed.retry_after
        return wait if elapsed + wait <= self._policy.deadline else None
