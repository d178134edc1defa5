"""When it is tried again: decided by an injected clock, so that no time passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from icechunk_core.contract import RetryPolicy
from icechunk_core.contract.errors import (
    OutcomeUnknown,
    PermissionDenied,
    RateLimited,
    StorageError,
    Unavailable,
    VersionMismatch,
)
from icechunk_core.ids import SeededIds
from icechunk_gcs._errors import AttemptFailed
from icechunk_gcs._retry import Retrying


class Clock:
    """Time passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def now_us(self) -> int:
        """Not used."""
        raise NotImplementedError

    def monotonic(self) -> float:
        """Seconds slept so far."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Not used."""
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Sleep."""
        self.slept.append(seconds)
        self.now += seconds


class Script:
    """Fails as it is told to, the last way again and again."""

    def __init__(self, *failures: Callable[[], AttemptFailed] | str) -> None:
        self.failures = list(failures)
        self.tries = 0

    async def __call__(self) -> str:
        """One attempt."""
        self.tries += 1
        each = self.failures.pop(0) if len(self.failures) > 1 else self.failures[0]
        if isinstance(each, str):
            return each
        raise each()


def failure(error: type[StorageError], **options: Any) -> Callable[[], AttemptFailed]:
    """A way to fail."""
    return lambda: AttemptFailed(error("told", key="k"), **options)


BUSY = failure(Unavailable, again=True, landed=True)
SLOW_DOWN = failure(RateLimited, again=True)
DOWN = failure(Unavailable, again=True, connecting=True)
STALE = failure(VersionMismatch)


def retrying(clock: Clock, **options: Any) -> Retrying:
    """The policy under test."""
    policy = RetryPolicy(**{"attempts": 8, "deadline": 120.0, **options})
    return Retrying(clock, SeededIds(1), policy, sleep=clock.pass_time)


async def test_waits_grow_with_full_jitter() -> None:
    """Each is anything up to a limit that doubles; after the last try comes the last error."""
    clock, script = Clock(), Script(BUSY)
    with pytest.raises(Unavailable):
        await retrying(clock)(script)
    assert script.tries == 8
    limits = [min(5.0, 0.1 * 2**number) for number in range(7)]
    assert all(0 <= slept <= limit for slept, limit in zip(clock.slept, limits, strict=True))
    assert len(set(clock.slept)) == 7


async def test_what_the_server_asks_for_is_waited() -> None:
    """Retry-After is the least, and who was told the same does not come back together."""
    clock = Clock()
    script = Script(failure(RateLimited, again=True, wait=9.0), "done")
    assert await retrying(clock)(script) == "done"
    (slept,) = clock.slept
    assert 9.0 < slept <= 9.1


async def test_the_deadline_ends_it() -> None:
    """Also when the server asks to wait for longer, and when it only ever asks to slow down."""
    clock, script = Clock(), Script(SLOW_DOWN)
    with pytest.raises(RateLimited):
        await retrying(clock)(script)
    assert script.tries > 8  # contention is waited out, not counted
    assert clock.now < 120
    clock, script = Clock(), Script(failure(Unavailable, again=True, wait=500.0))
    with pytest.raises(Unavailable):
        await retrying(clock)(script)
    assert clock.now == 0


async def test_a_server_that_cannot_be_reached_is_given_up_early() -> None:
    """After seconds, however many tries are allowed."""
    clock, script = Clock(), Script(DOWN)
    with pytest.raises(Unavailable):
        await retrying(clock, attempts=1000)(script)
    assert clock.now < 8


async def test_lasting_failures_are_reported_at_once() -> None:
    """Without a wait."""
    clock, script = Clock(), Script(failure(PermissionDenied))
    with pytest.raises(PermissionDenied):
        await retrying(clock)(script)
    assert (script.tries, clock.slept) == (1, [])


@pytest.mark.parametrize(
    ("failures", "error"),
    [
        ((STALE,), VersionMismatch),
        ((SLOW_DOWN, STALE), VersionMismatch),
        ((DOWN, STALE), VersionMismatch),
        ((BUSY, STALE), OutcomeUnknown),
        ((BUSY, SLOW_DOWN, STALE), OutcomeUnknown),
        ((BUSY, failure(PermissionDenied)), OutcomeUnknown),
        ((BUSY,), OutcomeUnknown),
        ((DOWN,), Unavailable),
        ((SLOW_DOWN,), RateLimited),
    ],
)
async def test_conditional_writes_say_what_is_known(failures: Any, error: type[StorageError]) -> None:
    """Unknown exactly if an attempt may have landed."""
    with pytest.raises(error) as raised:
        await retrying(Clock())(Script(*failures), conditional=True)
    assert type(raised.value) is error


async def test_an_answer_after_a_lost_one_is_a_success() -> None:
    """The write that is answered is the only one whose condition held."""
    assert await retrying(Clock())(Script(BUSY, SLOW_DOWN, "written"), conditional=True) == "written"
