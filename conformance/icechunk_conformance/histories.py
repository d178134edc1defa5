"""Histories of compare-and-swapped objects whose bodies name their predecessors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from icechunk_conformance.expect import Failure, same, verify
from icechunk_core.contract import Version

__all__ = ["Attempt", "Step", "judge_attempts", "judge_steps", "parse_step", "step_body"]


def step_body(id: str, predecessor: str, count: int) -> bytes:
    """A unique body that names its predecessor."""
    return json.dumps({"id": id, "predecessor": predecessor, "count": count}).encode()


def parse_step(data: bytes) -> dict[str, Any]:
    """A body of `step_body`; fails for bytes that nobody wrote."""
    try:
        body: dict[str, Any] = json.loads(data)
    except ValueError:
        raise Failure(f"read a body that nobody wrote: {data[:80]!r}") from None
    return body


@frozen
class Step:
    """One accepted update: what was written over what."""

    writer: int
    id: str
    predecessor: str
    predecessor_version: Version
    version: Version
    count: int


def judge_steps(steps: Sequence[Step], start: Version) -> tuple[str, Version]:
    """Fail unless the accepted updates form one chain from the first object on; id and version of its end."""
    after: dict[str, Step] = {}
    for step in steps:
        other = after.setdefault(step.predecessor, step)
        verify(
            other is step,
            f"two updates of the same object were accepted: {other.id} and {step.id}, "
            f"both over {step.predecessor}",
        )
    same(
        len({step.version for step in steps}), len(steps), "number of different versions of accepted updates"
    )
    id, version, length = "start", start, 0
    last: dict[int, int] = {}
    while id in after:
        step = after[id]
        same(step.predecessor_version, version, f"version that update {step.id} replaced")
        order = int(step.id.split("-")[1])
        verify(
            order > last.get(step.writer, 0), "the updates of one writer are not in the order it made them"
        )
        last[step.writer] = order
        id, version, length = step.id, step.version, length + 1
    same(length, len(steps), "length of the chain of updates, against the number accepted")
    return id, version


@frozen
class Attempt:
    """One compare-and-swap, and what its writer was told: ``success``, ``conflict`` or ``unknown``."""

    id: str
    predecessor: str
    outcome: str


def judge_attempts(attempts: Sequence[Attempt], last: str, *, hidden_retries: bool = False) -> None:
    """Fail unless the chain that ends with ``last`` has every success, no conflict, and nothing foreign.

    Parameters
    ----------
    hidden_retries
        The storage's client repeats requests by itself. Then a write that landed, was replaced by another
        one and is refused when it is repeated cannot be told from a lost race, and a conflict may be in
        the chain, though not at its end.
    """
    known = {attempt.id: attempt for attempt in attempts}
    chain: list[str] = []
    while last != "start":
        attempt = known.get(last)
        if attempt is None:
            raise Failure(f"the object {last} was written by nobody")
        verify(attempt.id not in chain, f"the chain of updates has {attempt.id} twice")
        if attempt.outcome == "conflict" and not (hidden_retries and chain):
            raise Failure(f"update {attempt.id} landed and was reported as a conflict")
        chain.append(attempt.id)
        last = attempt.predecessor
    lost = [attempt.id for attempt in attempts if attempt.outcome == "success" and attempt.id not in chain]
    verify(not lost, f"updates were reported as success and are lost: {', '.join(lost)}")
