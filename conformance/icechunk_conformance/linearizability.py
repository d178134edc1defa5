"""Is a recorded history of one register linearizable? Decided by search, after Wing and Gong.

A history is a set of events, each with the moments between which it happened. It is
linearizable if the events can be put in an order that respects those moments (what ended before
another began comes first) and in which each one's result is that of a register that does one thing
at a time. An event of unknown outcome may take effect at any moment after it began, or never.

Every written value is unique, so the value tells the write.

>>> writes = [Event("write", 0, 1, new="a"), Event("write", 2, 3, new="b")]
>>> linearizable([*writes, Event("read", 4, 5, seen="b")])
True
>>> linearizable([*writes, Event("read", 4, 5, seen="a")])
False
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import frozen

__all__ = ["ABSENT", "Event", "Undecided", "linearizable"]

ABSENT = ""
"""The value of a register that is not there."""

_LIMIT = 500_000


class Undecided(Exception):
    """The history has too many orders to try them all."""


@frozen
class Event:
    """One operation on the register.

    Attributes
    ----------
    kind
        ``read``, ``write``, ``delete``, ``create`` or ``swap``.
    start, end
        Moments before and after it; ``end`` does not count where the outcome is unknown.
    new
        Value written.
    expected
        Value that a swap names.
    seen
        Value that a read saw.
    outcome
        ``success``; ``conflict`` for a create or swap that was refused; ``unknown``.
    """

    kind: str
    start: float
    end: float
    new: str = ABSENT
    expected: str = ABSENT
    seen: str = ABSENT
    outcome: str = "success"

    def after(self, value: str) -> str | None:
        """The register's value after the event took place in that state; ``None`` if it cannot have."""
        if self.kind == "read":
            return value if value == self.seen else None
        if self.kind == "write":
            return self.new
        if self.kind == "delete":
            return ABSENT
        holds = value == ABSENT if self.kind == "create" else value == self.expected
        if self.outcome == "conflict":
            return None if holds else value
        return self.new if holds else None


def linearizable(events: Sequence[Event], initial: str = ABSENT) -> bool:
    """Whether the events fit a register that does one thing at a time.

    Raises
    ------
    Undecided
        After half a million states.
    """
    ordered = sorted(events, key=lambda event: event.start)
    ends = [math.inf if event.outcome == "unknown" else event.end for event in ordered]
    needed = sum(1 << number for number, event in enumerate(ordered) if event.outcome != "unknown")
    pending: list[tuple[int, str]] = [(0, initial)]
    tried: set[tuple[int, str]] = {(0, initial)}
    while pending:
        done, value = pending.pop()
        if done & needed == needed:
            return True
        for number in _next(ordered, ends, done):
            then = ordered[number].after(value)
            if then is None:
                continue
            state = (done | 1 << number, then)
            if state not in tried:
                if len(tried) == _LIMIT:
                    raise Undecided(f"gave up after {_LIMIT} states of {len(events)} events")
                tried.add(state)
                pending.append(state)
    return False


def _next(ordered: Sequence[Event], ends: Sequence[float], done: int) -> list[int]:
    """Events that may come next: those that began before any of the others that are left had ended."""
    found: list[int] = []
    earliest = math.inf
    for number, event in enumerate(ordered):
        if done >> number & 1:
            continue
        if event.start > earliest:
            break
        found.append(number)
        earliest = min(earliest, ends[number])
    return found
