"""Group F, turns: updates of one object come one after the other, where a storage can have it so."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from icechunk_conformance.expect import Failure, NotApplicable, read, same, verify
from icechunk_conformance.prefixed import prefixed
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_conformance.workers import WorkerPool
from icechunk_core.clock import SystemClock
from icechunk_core.contract import EndTurn, Storage

_AT_ONCE = 0.05
"""Seconds after which a turn that somebody has is not waited for any more."""
_PATIENCE = 5.0
"""Seconds in which one comes that nobody has."""


def _require_turns(client: Storage) -> None:
    if "take_turn" not in client.hook_names:
        raise NotApplicable("the storage has no take_turn: racing updates repeat what they did")


async def _turn(client: Storage, what: str) -> EndTurn:
    end = await client.take_turn("raced", _PATIENCE)
    if end is None:
        raise Failure(f"no turn came {what}")
    return end


@check("F17", "A turn is one's own until it ends")
async def turns(target: Target) -> None:
    """Where a storage has ``take_turn``: while one client has the turn no other gets it, and who waits gives
    up in time; it can be had again once it ended; to end it twice does not end the turn of the next.
    Writes need no turn."""
    one, other = await target.client(), await target.client()
    _require_turns(one)
    end = await _turn(one, "although nobody had it")
    verify(await other.take_turn("raced", _AT_ONCE) is None, "two clients had the same turn at a time")
    await other.put("raced", b"without a turn")
    same(await read(one, "raced"), b"without a turn", "bytes that were written without a turn")
    end()
    end_of_other = await _turn(other, "to the next client after the first one's had ended")
    end()
    third = await one.take_turn("raced", _AT_ONCE)
    verify(third is None, "to end a turn twice ended the turn of another client")
    end_of_other()
    (await _turn(one, "to a client that had it before"))()


async def take_turn_for_ever(reopen: Callable[[], Storage], prefix: str, report: str) -> None:
    """Take a turn, note it in a file, and do nothing more until killed."""
    client = prefixed(reopen(), prefix, set())
    await client.take_turn("raced", 10)
    Path(report).write_bytes(b"taken")
    while True:
        SystemClock().sleep(1)


def _killed_in_its_turn(pool: WorkerPool, target: Target, report: str) -> None:
    clock = SystemClock()
    pool.begin(take_turn_for_ever, (target.reopener(), target.prefix, report))
    deadline = clock.monotonic() + target.budget.timeout / 2
    while not Path(report).read_bytes():
        if clock.monotonic() > deadline or pool.ended():
            raise Failure("a process that took a turn did not get it")
        clock.sleep(0.002)
    pool.kill()


@check("F18", "The turn of a killed process is over", requires=("processes",))
async def killed_in_its_turn(target: Target) -> None:
    """Where a storage has ``take_turn``: a process is killed (``SIGKILL``) in its turn, and the next client
    gets it."""
    client = await target.client()
    _require_turns(client)
    handle, report = tempfile.mkstemp(prefix="conformance-")
    os.close(handle)
    pool = WorkerPool(1, timeout=target.budget.timeout)
    try:
        await asyncio.to_thread(_killed_in_its_turn, pool, target, report)
    finally:
        pool.stop()
        os.unlink(report)
    (await _turn(client, "after the process that had it was killed"))()
