"""When an operation that failed is tried again, and what is said in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from attrs import evolve, frozen

from icechunk_core.clock import Clock
from icechunk_core.contract import RetryPolicy, note_retry
from icechunk_core.contract.errors import (
    OutcomeUnknown,
    RateLimited,
    StorageError,
    Unavailable,
    VersionMismatch,
)
from icechunk_core.ids import IdSource
from icechunk_gcs._errors import AttemptFailed

__all__ = ["Retrying"]

T = TypeVar("T")

_CONNECT_GIVE_UP = 8.0
"""Seconds after which a server that cannot be reached is reported: nobody waits minutes for a typo."""


@frozen
class Retrying:
    """Exponential backoff with full jitter, a limit of tries and a total deadline.

    A server that asks to slow down is waited for until the deadline: it is contention, and ends.
    """

    clock: Clock
    ids: IdSource
    policy: RetryPolicy
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def __call__(self, attempt: Callable[[], Awaitable[T]], *, conditional: bool = False) -> T:
        """The result of the first attempt that succeeds.

        Parameters
        ----------
        conditional
            Whether it is a conditional put. When an attempt that may have landed is followed by
            one that finds another version, that version may be our own.

        Raises
        ------
        StorageError
            That of the last attempt.
        OutcomeUnknown
            If a conditional put may have landed.
        """
        started = self.clock.monotonic()
        landed = False
        tries = 0
        while True:
            try:
                return await attempt()
            except AttemptFailed as failed:
                failure, cause = failed, failed.__cause__
            except Unavailable as error:  # an answer that makes no sense
                failure, cause = AttemptFailed(error, again=True, landed=True), error.__cause__
            landed = landed or failure.landed
            if conditional and landed and (not failure.again):
                raise _unknown(failure.error) from cause
            wait = self._wait(failure, tries, self.clock.monotonic() - started)
            if wait is None:
                if conditional and landed:
                    raise _unknown(failure.error) from cause
                raise failure.error from cause
            tries += 1
            await self.sleep(wait)
            note_retry()

    def _wait(self, failure: AttemptFailed, tries: int, elapsed: float) -> float | None:
        """Seconds until the next attempt, or ``None`` to give up."""
        if not failure.again:
            return None
        deadline = min(self.policy.deadline, _CONNECT_GIVE_UP) if failure.connecting else self.policy.deadline
        return evolve(self.policy, deadline=deadline).next_wait(
            tries + 1,
            elapsed,
            self.ids.uniform(),
            asked=failure.wait,
            counted=not isinstance(failure.error, RateLimited),
        )


def _unknown(error: StorageError) -> OutcomeUnknown:
    if isinstance(error, VersionMismatch):
        what = "an earlier attempt got no answer, and now another version is there, perhaps our own"
    else:
        what = error.message
    return OutcomeUnknown(
        f"it is not known whether object {error.key!r} was written: {what}; read it before repeating",
        key=error.key,
    )
