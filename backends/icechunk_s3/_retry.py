"""What is repeated, and when: every request of a storage goes through one `Retries`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

from icechunk_core.clock import Clock
from icechunk_core.contract import RetryPolicy, note_retry
from icechunk_core.contract.errors import OutcomeUnknown, StorageError, Timeout, Unavailable
from icechunk_core.ids import IdSource
from icechunk_s3._errors import Failure, Where, failure_of

__all__ = ["Retries"]

T = TypeVar("T")

CONNECTION_ATTEMPTS = 3
"""A host that cannot be reached is not waited for: the user wants to know within seconds."""
_OPEN_OUTCOME = (Unavailable, Timeout, OutcomeUnknown)


class Retries:
    """Repeats failed requests with full jitter, until the policy says that it is enough.

    Parameters
    ----------
    renew
        Called when credentials seem to have expired; tells whether there are new ones.
    """

    def __init__(
        self, policy: RetryPolicy, clock: Clock, ids: IdSource, renew: Callable[[], Awaitable[bool]]
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._ids = ids
        self._renew = renew

    async def run(self, request: Callable[[], Awaitable[T]], where: Where, *, conditional: bool = False) -> T:
        """Send a request until it is answered.

        Parameters
        ----------
        conditional
            It is a conditional write: once a try may have landed, a refusal of the next one
            proves nothing any more.

        Raises
        ------
        StorageError
            The last failure; `OutcomeUnknown` where an earlier try may have landed and the last
            one was refused.
        """
        started = self._clock.monotonic()
        doubt: Failure | None = None
        renewed = False
        for attempt in count(1):
            try:
                return await request()
            except Exception as error:
                failure = failure_of(error, where)
                cause = error
            if failure.stale_credentials and not renewed:
                renewed = True
                if await self._renew():
                    note_retry()
                    continue
            wait = self._wait(failure, attempt, started)
            if wait is None:
                raise _last(failure, doubt if conditional else None, where, attempt) from cause
            if failure.doubtful:
                doubt = failure
            await asyncio.sleep(wait)
            note_retry()
        raise AssertionError("unreachable")

    def _wait(self, failure: Failure, attempt: int, started: float) -> float | None:
        """Seconds until the next try; ``None`` if there is to be none."""
        if not failure.retry or (failure.unreachable and attempt >= CONNECTION_ATTEMPTS):
            return None
        return self._policy.next_wait(
            attempt,
            self._clock.monotonic() - started,
            self._ids.uniform(),
            asked=failure.retry_after,
            at_once=failure.at_once,
        )


def _last(failure: Failure, doubt: Failure | None, where: Where, attempts: int) -> StorageError:
    error = failure.error
    if doubt is not None and not isinstance(error, _OPEN_OUTCOME):
        return OutcomeUnknown(
            f"{where}: a try to write it was not answered ({doubt.error.message}), and the next one was "
            f"refused ({error.message}); the first may have been carried out. Look before repeating it",
            key=where.key,
        )
    if attempts > 1:
        told = f"{error.message}; gave up after {attempts} attempts"
        return type(error)(told, key=error.key, kind=error.kind)
    return error
