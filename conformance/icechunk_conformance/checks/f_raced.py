"""Group F: conditional put under contention, between threads, event loops, clients and processes.

Every body is unique and names its predecessor, so that a history can be put together
afterwards: accepted updates must form one chain.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence

from attrs import frozen

from icechunk_conformance.chance import fresh_seed
from icechunk_conformance.expect import read, same, state, verify
from icechunk_conformance.histories import Step, judge_steps, parse_step, step_body
from icechunk_conformance.injection import about
from icechunk_conformance.racing import Racer, race
from icechunk_conformance.registers import History, judge, play
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_conformance.wire_faults import Gate
from icechunk_core.assets.conditional import conditional_put
from icechunk_core.contract import ALWAYS, IF_ABSENT, Condition, IfVersion, Storage, Version
from icechunk_core.contract.errors import AlreadyExists, NotFound, VersionMismatch
from icechunk_core.ids import SystemIds

LOST_COMMITS = (
    "Icechunk 2.3.0 on a local directory acknowledges 80 commits of 8 processes and keeps 70 to 73; "
    "moto lets 2 to 6 of 16 racing creates win in a third of the rounds."
)


# --- creates -----------------------------------------------------------------


@frozen
class Created:
    """What one contender saw of one raced create."""

    key: str
    body: bytes
    version: Version | None
    """Of its own object, if it won."""
    seen: bytes | None
    """What it read right after it lost."""


async def create_each(client: Storage, racer: Racer, keys: Sequence[str]) -> list[Created]:
    """Try to create every key, with a body of its own."""
    outcomes = []
    for key in keys:
        body = f"{key} by contender {racer.number}".encode()
        version, seen = None, None
        racer.together()
        try:
            version = await client.put(key, body, IF_ABSENT)
        except AlreadyExists:
            try:
                seen = await read(client, key)
            except NotFound:
                seen = b""
        outcomes.append(Created(key, body, version, seen))
        await racer.turn()
    return outcomes


async def judge_creates(client: Storage, outcomes: Sequence[Created]) -> None:
    """One winner for each key, its object in place, and every loser saw it."""
    for key in sorted({outcome.key for outcome in outcomes}):
        contenders = [outcome for outcome in outcomes if outcome.key == key]
        winners = [outcome for outcome in contenders if outcome.version is not None]
        same(
            len(winners), 1, f"number of {len(contenders)} racing creates of {key!r} that were told they won"
        )
        final = await state(client, key)
        same(final and final.data, winners[0].body, f"bytes of {key!r}, against those of the winner")
        same(final and final.version, winners[0].version, f"version of {key!r}, against the winner's")
        for loser in contenders:
            if loser.version is None:
                same(
                    loser.seen,
                    winners[0].body,
                    f"what a loser of the race for {key!r} read after it had lost",
                )


def raced_keys(target: Target) -> list[str]:
    return [f"raced/{number:03d}" for number in range(target.budget.rounds)]


async def _race_creates(target: Target, *, share: bool) -> None:
    keys = raced_keys(target)

    async def contend(client: Storage, racer: Racer) -> list[Created]:
        return await create_each(client, racer, keys)

    results = await race(target, [contend] * target.budget.threads, share=share)
    await judge_creates(await target.client(), [outcome for each in results for outcome in each])


@check(
    "F01",
    "Of racing creates one wins: threads",
    requires=("create", "threads"),
    known_failure=LOST_COMMITS,
)
async def creates_between_threads(target: Target) -> None:
    """Of the creates (`IfAbsent`) that several threads try at the same time, with an event loop and a
    client each, exactly one succeeds per key; the others get `AlreadyExists`, change nothing, and see the
    winner's object when they look."""
    await _race_creates(target, share=False)


@check("F02", "Of racing creates one wins: one client in many threads", requires=("create", "threads"))
async def creates_through_one_client(target: Target) -> None:
    """As F01, with one client that all threads and event loops share."""
    await _race_creates(target, share=True)


@check("F03", "Of racing creates one wins: tasks of one event loop", requires=("create", "threads"))
async def creates_between_tasks(target: Target) -> None:
    """As F01, with many tasks of one event loop on one client."""
    client = await target.client()
    keys = raced_keys(target)
    count = target.budget.threads * 2
    jobs = [create_each(client, Racer(number, count), keys) for number in range(count)]
    results = await asyncio.gather(*jobs)
    await judge_creates(client, [outcome for each in results for outcome in each])


# --- updates -----------------------------------------------------------------


async def increment(client: Storage, racer: Racer, key: str, increments: int) -> list[Step]:
    """Increment the counter by compare-and-swap, again after each lost race; the accepted steps."""
    steps: list[Step] = []
    attempt = 0
    while len(steps) < increments:
        attempt += 1
        # A refusal means that somebody else got through, which happens so many times only.
        verify(
            attempt < 100 + 20 * increments * racer.contenders,
            "updates are refused again and again, although each names the version that was just read",
        )
        data, info = await client.get_range(key)
        current = parse_step(bytes(data))
        verify(info.version is not None, "get returned no version")
        before = info.version or Version("")
        id = f"{racer.number}-{attempt}"
        try:
            version = await client.put(
                key, step_body(id, current["id"], current["count"] + 1), IfVersion(before)
            )
        except VersionMismatch:
            await racer.turn()
            continue
        steps.append(Step(racer.number, id, current["id"], before, version, current["count"] + 1))
    return steps


async def judge_count(client: Storage, steps: Sequence[Step]) -> None:
    """As many increments as were acknowledged."""
    final = parse_step(await read(client, "counter"))
    same(final["count"], len(steps), "value of the counter, against the number of acknowledged increments")


async def judge_chain(client: Storage, steps: Sequence[Step], start: Version) -> None:
    """The accepted updates form one chain from the first object to the last."""
    id, version = judge_steps(steps, start)
    final = await state(client, "counter")
    verify(final is not None, "the object is gone")
    same(json.loads(final.data)["id"] if final else "", id, "the last object, against the end of the chain")
    same(final and final.version, version, "the last version, against the end of the chain")


async def _count_between_threads(
    target: Target, *, share: bool = False
) -> tuple[Storage, list[Step], Version]:
    client = await target.client()
    start = await client.put("counter", step_body("start", "", 0))

    async def contend(own: Storage, racer: Racer) -> list[Step]:
        return await increment(own, racer, "counter", target.budget.increments)

    results = await race(target, [contend] * target.budget.threads, share=share)
    return client, [step for steps in results for step in steps], start


@check(
    "F04",
    "No acknowledged update is lost: threads",
    requires=("update", "threads"),
    known_failure=LOST_COMMITS,
)
async def increments_between_threads(target: Target) -> None:
    """Several threads, with an event loop and a client each, increment one counter by compare-and-swap.
    At the end it has the value that the acknowledged increments add up to."""
    client, steps, _ = await _count_between_threads(target)
    await judge_count(client, steps)


@check("F05", "Accepted updates form one chain: threads", requires=("update", "threads"))
async def chain_between_threads(target: Target) -> None:
    """Of the same race, each accepted update names the object that it replaced: no object was replaced
    twice, the chain from the first to the last has every accepted update, and each writer's in the order
    it made them."""
    client, steps, start = await _count_between_threads(target)
    await judge_chain(client, steps, start)


@check("F06", "Accepted updates form one chain: one client in many threads", requires=("update", "threads"))
async def chain_through_one_client(target: Target) -> None:
    """As F05, with one client that all threads and event loops share."""
    client, steps, start = await _count_between_threads(target, share=True)
    await judge_chain(client, steps, start)


@check("F07", "Accepted updates form one chain: tasks of one event loop", requires=("update", "threads"))
async def chain_between_tasks(target: Target) -> None:
    """As F05, with many tasks of one event loop on one client."""
    client = await target.client()
    start = await client.put("counter", step_body("start", "", 0))
    count = target.budget.threads
    jobs = [
        increment(client, Racer(each, count), "counter", target.budget.increments) for each in range(count)
    ]
    steps = [step for each in await asyncio.gather(*jobs) for step in each]
    await judge_chain(client, steps, start)


# --- readers -----------------------------------------------------------------


def whole_body(writer: int, turn: int) -> bytes:
    """A body that shows when a part of it is missing or from another one; sizes differ widely."""
    mark = f"<{writer}.{turn}>".encode()
    return mark * (50 + (writer * 37 + turn * 211) % 3000) + b"$" + mark


def judge_body(data: bytes, size: int) -> None:
    """Fail unless the bytes are one whole body, of that size."""
    same(len(data), size, "number of bytes read, against the size reported with them")
    head, dollar, tail = data.partition(b"$")
    whole = bool(tail) and dollar == b"$" and head == tail * (len(head) // len(tail))
    verify(whole, f"a reader saw a body that nobody wrote: {len(data)} bytes, beginning {data[:30]!r}")
    writer, turn = (int(part) for part in tail.strip(b"<>").split(b"."))
    same(
        len(data), len(whole_body(writer, turn)), "size of a body that a reader saw, against the one written"
    )


async def overwrite(client: Storage, racer: Racer, turns: int, conditional: bool) -> None:
    """Overwrite the object again and again: by compare-and-swap, or unconditionally."""
    for turn in range(turns):
        body = whole_body(racer.number, turn)
        if conditional:
            version = (await client.head("object")).version or Version("")
            with contextlib.suppress(VersionMismatch):
                await client.put("object", body, IfVersion(version))
        else:
            await client.put("object", body, ALWAYS)
        await racer.turn()


async def watch(client: Storage, racer: Racer, turns: int) -> None:
    """Read the object again and again; fail when what is seen is not one whole body."""
    for _ in range(turns):
        data, info = await client.get_range("object")
        judge_body(bytes(data), info.size)
        await racer.turn()


async def _watch_between_threads(target: Target, *, conditional: bool) -> None:
    client = await target.client()
    await client.put("object", whole_body(0, 0))
    turns = target.budget.rounds * 2

    async def write(own: Storage, racer: Racer) -> None:
        await overwrite(own, racer, turns, conditional)

    async def look(own: Storage, racer: Racer) -> None:
        await watch(own, racer, turns)

    count = max(2, target.budget.threads // 2)
    await race(target, [write] * count + [look] * count)
    await watch(client, Racer(0, 1), 1)


@check("F08", "Readers see whole objects only: threads", requires=("threads",))
async def readers_between_threads(target: Target) -> None:
    """While threads overwrite an object with bodies of very different sizes, other threads that read it
    see whole bodies that were written, never a mixture, a part or nothing."""
    await _watch_between_threads(target, conditional=False)


@check("F09", "Readers see whole objects only, updates: threads", requires=("update", "threads"))
async def readers_of_updates_between_threads(target: Target) -> None:
    """While threads update an object conditionally with bodies of very different sizes, other
    threads that read it see whole bodies that were written."""
    await _watch_between_threads(target, conditional=True)


# --- linearizability -----------------------------------------------------------


def register_turns(target: Target) -> tuple[list[str], int]:
    """Registers and turns of each contender: histories short enough to be decided."""
    count = max(2, target.budget.rounds // 6)
    return [f"register-{number}" for number in range(count)], count * 10


@check("F13", "A raced object behaves as one register: threads", requires=("threads",))
async def registers_between_threads(target: Target) -> None:
    """Threads read, write, create, update and delete a few objects at random, and record when each operation
    began and ended and what it saw. A checker finds an order that respects those times, in which
    every result is that of a register that does one thing at a time (linearizability). A seed decides the
    operations."""
    keys, turns = register_turns(target)
    seed = fresh_seed()

    async def contend(client: Storage, racer: Racer) -> History:
        return await play(client, racer, keys, turns, seed)

    judge(await race(target, [contend] * target.budget.threads))


# --- metadata and timing ---------------------------------------------------------


@check(
    "F15",
    "An object and its metadata are one",
    requires=("metadata", "threads"),
    known_failure="moto makes an object visible before it sets its metadata.",
)
async def metadata_with_the_object(target: Target) -> None:
    """While threads overwrite an object, with metadata that names its body, every reader sees the metadata
    of the body that it reads. By the metadata a writer recognises its own object."""
    client = await target.client()
    await client.put("object", b"0.0", metadata={"body": "0.0"})
    turns = target.budget.rounds * 2

    async def write(own: Storage, racer: Racer) -> None:
        for turn in range(turns):
            name = f"{racer.number}.{turn}"
            await own.put("object", name.encode(), metadata={"body": name})
            await racer.turn()

    async def look(own: Storage, racer: Racer) -> None:
        for _ in range(turns):
            data, info = await own.get_range("object")
            same(
                info.metadata.get("body"),
                bytes(data).decode(),
                "metadata read with an object, against its body",
            )
            await racer.turn()

    count = max(1, target.budget.threads // 2)
    await race(target, [write] * count + [look] * count)


@check(
    "F16",
    "Of requests that arrive together one wins",
    requires=("create", "update", "threads"),
    known_failure=LOST_COMMITS,
)
async def released_together(target: Target) -> None:
    """The faulting proxy holds the last byte of every contender's request back until all are there, and
    lets them go at one moment: the closest race that can be had from outside of a server. Of the creates
    one wins, and of the updates over one version."""
    wire = await target.wire()
    clean = await target.client()
    count = target.budget.threads * 2
    rounds = max(4, target.budget.rounds // 2)
    gate = Gate(count)
    concerns = about(target.prefix + "raced")
    wire.inject(gate, lambda request: request.method in ("PUT", "POST") and concerns(request), times=None)
    for turn in range(rounds):
        key = f"raced-{turn}"
        for body in (b"created by", b"updated by"):
            condition = (
                IF_ABSENT
                if body == b"created by"
                else IfVersion((await clean.head(key)).version or Version(""))
            )
            tries = [_told(wire.client, key, b"%s %d" % (body, number), condition) for number in range(count)]
            winners = [won for won in await asyncio.gather(*tries) if won is not None]
            same(len(winners), 1, f"number of {count} writes of {key!r} that were told they won")
            same(await read(clean, key), winners[0], f"bytes of {key!r}, against those of the winner")
    verify(gate.together > 1, "the requests never came together, so nothing was shown")


async def _told(client: Storage, key: str, body: bytes, condition: Condition) -> bytes | None:
    try:
        await conditional_put(client, key, body, condition, ids=SystemIds(), unique=True)
    except (AlreadyExists, VersionMismatch):
        return None
    return body
