"""The checker of raced registers: right histories pass, wrong ones do not."""

from __future__ import annotations

import pytest

from icechunk_conformance.chance import Chance
from icechunk_conformance.expect import Failure
from icechunk_conformance.histories import Attempt, Step, judge_attempts, judge_steps
from icechunk_conformance.linearizability import ABSENT, Event, linearizable
from icechunk_conformance.registers import judge
from icechunk_core.contract import Version


def write(value: str, start: float, end: float, outcome: str = "success") -> Event:
    return Event("write", start, end, new=value, outcome=outcome)


def read(value: str, start: float, end: float) -> Event:
    return Event("read", start, end, seen=value)


def create(value: str, start: float, end: float, outcome: str = "success") -> Event:
    return Event("create", start, end, new=value, outcome=outcome)


def swap(old: str, value: str, start: float, end: float, outcome: str = "success") -> Event:
    return Event("swap", start, end, new=value, expected=old, outcome=outcome)


def delete(start: float, end: float) -> Event:
    return Event("delete", start, end)


RIGHT = {
    "nothing happened": [],
    "one after the other": [write("a", 0, 1), read("a", 2, 3), write("b", 4, 5), read("b", 6, 7)],
    "a read during a write sees either": [
        write("a", 0, 1),
        write("b", 2, 5),
        read("a", 3, 4),
        read("b", 3, 4),
    ],
    "racing creates": [create("a", 0, 3), create("b", 1, 2, "conflict"), read("a", 4, 5)],
    "a create after a delete": [create("a", 0, 1), delete(2, 3), create("b", 4, 5), read("b", 6, 7)],
    "a swap, and another that came too late": [
        write("a", 0, 1),
        swap("a", "b", 2, 5),
        swap("a", "c", 3, 4, "conflict"),
        read("b", 6, 7),
    ],
    "an unknown write that landed": [write("a", 0, 1), write("b", 2, 3, "unknown"), read("b", 4, 5)],
    "an unknown write that did not": [write("a", 0, 1), write("b", 2, 3, "unknown"), read("a", 4, 5)],
    "an unknown write that landed late": [
        write("a", 0, 1),
        write("b", 2, 3, "unknown"),
        read("a", 4, 5),
        read("b", 6, 7),
    ],
    "an unknown swap beneath a success": [
        write("a", 0, 1),
        swap("a", "b", 2, 3, "unknown"),
        swap("b", "c", 4, 5),
    ],
}
WRONG = {
    "a read of what nobody wrote": [write("a", 0, 1), read("x", 2, 3)],
    "a stale read": [write("a", 0, 1), write("b", 2, 3), read("a", 4, 5)],
    "new, then old": [write("a", 0, 1), write("b", 2, 9), read("b", 3, 4), read("a", 5, 6)],
    "a write that got lost": [write("a", 0, 1), read(ABSENT, 2, 3)],
    "two creates won": [create("a", 0, 3), create("b", 1, 2)],
    "a refused create of nothing": [create("a", 0, 1, "conflict")],
    "two swaps of one value": [write("a", 0, 1), swap("a", "b", 2, 5), swap("a", "c", 3, 4)],
    "a refused swap that landed": [write("a", 0, 1), swap("a", "b", 2, 3, "conflict"), read("b", 4, 5)],
    "a swap refused for no reason": [write("a", 0, 1), swap("a", "b", 2, 3, "conflict")],
    "a deleted object came back": [write("a", 0, 1), delete(2, 3), read("a", 4, 5)],
    "an unknown write landed and left": [
        write("a", 0, 1),
        write("b", 2, 3, "unknown"),
        read("b", 4, 5),
        read("a", 6, 7),
    ],
    "an unknown write landed before it began": [
        write("a", 0, 1),
        read("b", 2, 3),
        write("b", 4, 5, "unknown"),
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_histories(name: str) -> None:
    """Histories for which there is an order."""
    assert linearizable(RIGHT[name])


@pytest.mark.parametrize("name", WRONG)
def test_wrong_histories(name: str) -> None:
    """Histories for which there is none; the failure tells the operations."""
    assert not linearizable(WRONG[name])
    with pytest.raises(Failure, match="fits no order"):
        judge([[("key", event) for event in WRONG[name]]])


def test_order_in_the_list_does_not_matter() -> None:
    """Events are known by their times, not by where they stand."""
    assert linearizable(list(reversed(RIGHT["one after the other"])))
    assert not linearizable(list(reversed(WRONG["a stale read"])))


@pytest.mark.parametrize("seed", range(20))
def test_long_histories_are_decided(seed: int) -> None:
    """Two hundred operations of several contenders, made by a true register, fit; with one read changed to an
    older value they do not."""
    chance = Chance(seed)
    value, events, seen = ABSENT, [], []
    for number in range(200):
        # The register acts at the moment `number`; the contenders see times around it.
        start, end = number - 2 * chance.uniform(), number + 2 * chance.uniform()
        if chance.uniform() < 0.4:
            value = f"v{number}"
            events.append(write(value, start, end))
        else:
            events.append(read(value, start, end))
        seen.append(value)
    assert linearizable(events)
    last = max(number for number, event in enumerate(events) if event.kind == "read")
    events[last] = read(seen[50], events[last].start, events[last].end)
    assert not linearizable(events)


def step(writer: int, id: str, over: str, count: int) -> Step:
    return Step(writer, id, over, Version(over), Version(id), count)


def test_chains_of_updates() -> None:
    """Accepted updates form one chain; forks, gaps and disorder are named."""
    chain = [step(0, "0-1", "start", 1), step(1, "1-1", "0-1", 2), step(0, "0-2", "1-1", 3)]
    assert judge_steps(chain, Version("start")) == ("0-2", Version("0-2"))
    with pytest.raises(Failure, match="same object"):
        judge_steps([*chain, step(2, "2-1", "0-1", 2)], Version("start"))
    with pytest.raises(Failure, match="length of the chain"):
        judge_steps([chain[0], chain[2]], Version("start"))
    with pytest.raises(Failure, match="order"):
        judge_steps([step(0, "0-2", "start", 1), step(0, "0-1", "0-2", 2)], Version("start"))


def test_chains_with_unknown_outcomes() -> None:
    """Successes are in the chain, conflicts are not, unknown ones may be."""
    chain = [Attempt("a", "start", "success"), Attempt("b", "a", "unknown"), Attempt("c", "b", "success")]
    judge_attempts([*chain, Attempt("x", "a", "conflict"), Attempt("y", "a", "unknown")], "c")
    with pytest.raises(Failure, match="are lost: y"):
        judge_attempts([*chain, Attempt("y", "a", "success")], "c")
    with pytest.raises(Failure, match="a landed and was reported as a conflict"):
        judge_attempts([Attempt("a", "start", "conflict"), *chain[1:]], "c")
    judge_attempts([Attempt("a", "start", "conflict"), *chain[1:]], "c", hidden_retries=True)
    with pytest.raises(Failure, match="c landed and was reported as a conflict"):
        judge_attempts([*chain[:2], Attempt("c", "b", "conflict")], "c", hidden_retries=True)
    with pytest.raises(Failure, match="nobody"):
        judge_attempts(chain, "z")
