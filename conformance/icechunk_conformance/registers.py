"""Raced registers: random operations on a few objects, recorded so that a checker can decide."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from icechunk_conformance.chance import Chance
from icechunk_conformance.expect import Failure
from icechunk_conformance.linearizability import ABSENT, Event, Undecided, linearizable
from icechunk_conformance.racing import Racer
from icechunk_core.clock import SystemClock
from icechunk_core.contract import IF_ABSENT, IfVersion, Storage, Version
from icechunk_core.errors import (
    AlreadyExists,
    NotFound,
    OutcomeUnknown,
    Timeout,
    Unavailable,
    VersionMismatch,
)

__all__ = ["History", "judge", "play"]

History = list[tuple[str, Event]]
"""Events with the key that each is about."""

_UNKNOWN = (OutcomeUnknown, Timeout, Unavailable)


async def play(client: Storage, racer: Racer, keys: Sequence[str], turns: int, seed: int) -> History:
    """Random operations, one after the other; what was seen of each.

    Deletes come with a create after them, so that objects are there most of the time.
    """
    chance = Chance(seed * 1000 + racer.number)
    history: History = []
    known: dict[str, tuple[str, Version]] = {}
    for turn in range(turns):
        # All begin with one key, then with the next: contention is what finds mistakes.
        key = keys[turn * len(keys) // turns]
        event = await _one(client, key, f"{racer.number}.{turn}", known, chance)
        history.append((key, event))
        await racer.turn()
    return history


async def _one(
    client: Storage, key: str, value: str, known: dict[str, tuple[str, Version]], chance: Chance
) -> Event:
    now = SystemClock().monotonic
    kind = _kind(client, chance, key in known)
    body = f"{key} {value}".encode()
    event = Event(kind, now(), 0.0, new="" if kind in ("read", "delete") else body.decode())
    try:
        if kind == "read":
            try:
                data, info = await client.get_range(key)
            except NotFound:
                event = evolve(event, seen=ABSENT)
            else:
                event = evolve(event, seen=bytes(data).decode())
                known[key] = (event.seen, info.version or Version(""))
        elif kind == "delete":
            (result,) = await client.delete([key])
            if result.error is not None:
                raise result.error
        elif kind == "write":
            known[key] = (event.new, await client.put(key, body))
        elif kind == "create":
            known[key] = (event.new, await client.put(key, body, IF_ABSENT))
        else:
            expected, version = known[key]
            event = evolve(event, expected=expected)
            known[key] = (event.new, await client.put(key, body, IfVersion(version)))
    except (AlreadyExists, VersionMismatch):
        known.pop(key, None)
        event = evolve(event, outcome="conflict")
    except _UNKNOWN:
        # A read that failed has shown nothing.
        event = evolve(event, outcome="unknown")
    return evolve(event, end=now())


def _kind(client: Storage, chance: Chance, known: bool) -> str:
    has = client.capabilities
    # Mostly reads: they are what shows.
    kinds = ["read"] * 8 + ["write", "delete"]
    if has.create:
        kinds += ["create"] * 2
    if has.update and known:
        kinds += ["swap"] * 4
    return chance.choice(kinds)


def judge(histories: Sequence[History]) -> None:
    """Fail unless the events of each key fit a register that does one thing at a time."""
    events = [each for history in histories for each in history]
    for key in sorted({key for key, _ in events}):
        of_key = [event for each, event in events if each == key]
        counted = [event for event in of_key if not (event.kind == "read" and event.outcome == "unknown")]
        try:
            fits = linearizable(counted)
        except Undecided:
            continue
        if not fits:
            raise Failure(
                f"what {len(counted)} operations on {key!r} saw fits no order in which they can have been: "
                f"{_shortest(counted)}"
            )


def _shortest(events: list[Event]) -> str:
    """The history up to the first moment at which no order fits any more, at its end."""
    by_end = sorted(events, key=lambda event: event.end)
    for count in range(1, len(by_end) + 1):
        begun = by_end[:count]
        running = [
            evolve(event, outcome="unknown")
            for event in by_end[count:]
            if event.start <= begun[-1].end and event.kind != "read"
        ]
        if not linearizable([*begun, *running]):
            return "; ".join(_told(event) for event in begun[-6:])
    return "; ".join(_told(event) for event in by_end[-6:])


def _told(event: Event) -> str:
    value = {"read": f"saw {event.seen or 'nothing'}", "delete": ""}.get(event.kind, event.new)
    over = f" over {event.expected}" if event.kind == "swap" else ""
    refused = " (refused)" if event.outcome == "conflict" else ""
    return f"{event.kind} {value}{over}{refused}".strip()
