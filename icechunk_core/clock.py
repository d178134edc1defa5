"""Time, injected: the engine asks a `Clock`, so that tests decide what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock", "datetime_from_us", "us_from_datetime"]


class Clock(Protocol):
    """What the engine needs to know about time."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back, for deadlines."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the calling thread."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def datetime_from_us(value: int) -> datetime:
    """A timestamp of the format (µs since 1970) as an aware `datetime` in UTC.

    >>> datetime_from_us(0).isoformat()
    '1970-01-01T00:00:00+00:00'
    """
    seconds, micros = divmod(value, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def us_from_datetime(value: datetime) -> int:
    """An aware `datetime` as µs since 1970; naive ones are taken as UTC.

    >>> us_from_datetime(datetime_from_us(1_700_000_000_123_456))
    1700000000123456
    """
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    delta = value - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
