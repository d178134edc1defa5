"""Group F between processes: fresh interpreters that share nothing but the storage."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

from icechunk_conformance.chance import fresh_seed
from icechunk_conformance.checks.f_raced import (
    LOST_COMMITS,
    Created,
    create_each,
    increment,
    judge_chain,
    judge_count,
    judge_creates,
    overwrite,
    raced_keys,
    register_turns,
    watch,
    whole_body,
)
from icechunk_conformance.histories import step_body
from icechunk_conformance.prefixed import prefixed
from icechunk_conformance.racing import Racer, amplified, backend_files
from icechunk_conformance.registers import History, judge, play
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_conformance.workers import line_up
from icechunk_core.contract import Storage


async def _elsewhere(
    reopen: Callable[[], Storage],
    prefix: str,
    number: int,
    contenders: int,
    job: Callable[..., Any],
    *arguments: Any,
) -> Any:
    """Run a contender in this process, with a client of its own."""
    raw = reopen()
    client = prefixed(raw, prefix, set())
    amplified(backend_files(raw), number)
    try:
        line_up()
        return await job(client, Racer(number, contenders), *arguments)
    finally:
        sys.settrace(None)
        await client.close()


def _map_processes(target: Target, jobs: Sequence[tuple[Any, ...]]) -> list[Any]:
    reopen = target.reopener()
    arguments = [(reopen, target.prefix, number, len(jobs), *job) for number, job in enumerate(jobs)]
    return target.location.workers().race(_elsewhere, arguments)


@check(
    "F10",
    "Of racing creates one wins: processes",
    requires=("create", "processes"),
    known_failure=LOST_COMMITS,
)
async def creates_between_processes(target: Target) -> None:
    """As F01, between processes that share nothing but the storage."""
    keys = raced_keys(target)
    target.remember(keys)
    outcomes: list[Created] = []
    for start in range(0, len(keys), 3):
        # In short rounds, so that nobody runs ahead.
        jobs = [(create_each, keys[start : start + 3])] * target.budget.processes
        for each in await asyncio.to_thread(_map_processes, target, jobs):
            outcomes += each
    await judge_creates(await target.client(), outcomes)


@check(
    "F11",
    "Accepted updates form one chain: processes",
    requires=("update", "processes"),
    known_failure=LOST_COMMITS,
)
async def chain_between_processes(target: Target) -> None:
    """As F04 and F05, between processes that share nothing but the storage: no acknowledged increment is
    lost, no object is replaced twice."""
    client = await target.client()
    start = await client.put("counter", step_body("start", "", 0))
    jobs = [(increment, "counter", target.budget.increments * 2)] * target.budget.processes
    results = await asyncio.to_thread(_map_processes, target, jobs)
    steps = [step for each in results for step in each]
    await judge_count(client, steps)
    await judge_chain(client, steps, start)


@check("F12", "Readers see whole objects only: processes", requires=("processes",))
async def readers_between_processes(target: Target) -> None:
    """While processes overwrite an object with bodies of very different sizes, others that read it
    see whole bodies that were written, never a mixture, a part or nothing."""
    client = await target.client()
    await client.put("object", whole_body(0, 0))
    turns = target.budget.rounds * 4
    writers = max(1, target.budget.processes // 2)
    jobs: list[tuple[Any, ...]] = [(overwrite, turns, False)] * writers
    jobs += [(watch, turns)] * (target.budget.processes - writers)
    await asyncio.to_thread(_map_processes, target, jobs)
    await watch(client, Racer(0, 1), 1)


@check("F14", "A raced object behaves as one register: processes", requires=("processes",))
async def registers_between_processes(target: Target) -> None:
    """As F13, between processes that share nothing but the storage."""
    keys, turns = register_turns(target)
    target.remember(keys)
    histories: list[History] = []
    for key in keys:
        # One after the other, so that nobody runs ahead.
        jobs = [(play, [key], turns, fresh_seed())] * target.budget.processes
        histories += await asyncio.to_thread(_map_processes, target, jobs)
    judge(histories)
