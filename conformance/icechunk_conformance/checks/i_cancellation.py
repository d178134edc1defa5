"""Group I: cancellation, several event loops, no event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from icechunk_conformance.expect import Failure, put_all, read, refused, same, state, verify
from icechunk_conformance.racing import Racer, race
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_core import drive
from icechunk_core.clock import SystemClock
from icechunk_core.contract import ALWAYS, IF_ABSENT, Condition, IfVersion, Storage, Version
from icechunk_core.contract.errors import AlreadyExists, NotFound, VersionMismatch
from icechunk_core.errors import InternalError

STEPS = (0, 1, 2, 3, 4, 6, 9, 14, 25, 60, 150)
"""After how many turns of the event loop an operation is cancelled."""
BODY = b"new " * 50_000


async def cancelled(operation: Coroutine[Any, Any, Any], turns: int) -> bool:
    """Start an operation, cancel it after some turns of the loop; whether it came to its end regardless."""
    task = asyncio.ensure_future(operation)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=30)
    verify(bool(done), "a cancelled operation did not end within 30 seconds")
    if task.cancelled():
        return False
    error = task.exception()
    if error is not None:
        raise Failure(f"a cancelled operation raised {type(error).__name__}: {error}") from error
    return True


async def _cancel_puts(target: Target, before: bytes | None, conditional: bool) -> None:
    """Cancel puts at many points; every time the old or the new object must be there, whole."""
    client, observer = await target.client(), await target.client()
    for number, turns in enumerate(STEPS):
        key = f"object-{number}"
        condition: Condition = ALWAYS
        if before is not None:
            version = await client.put(key, before)
            condition = IfVersion(version) if conditional else ALWAYS
        elif conditional:
            condition = IF_ABSENT
        finished = await cancelled(client.put(key, BODY, condition), turns)
        for _ in range(6):
            seen = await state(observer, key)
            allowed = (BODY,) if finished else (BODY, before)
            data = seen.data if seen is not None else None
            verify(
                data in allowed,
                f"after a put that {'finished' if finished else 'was cancelled'} there is "
                + (
                    f"an object of {len(data)} bytes, neither old nor new"
                    if data is not None
                    else "no object"
                ),
            )
            await asyncio.sleep(0)
        later = f"later-{number}"
        await client.put(later, b"fine")
        same(await read(observer, later), b"fine", "bytes written after a cancelled put")


@check("I01", "A cancelled put is whole or absent", requires=("may_suspend",))
async def cancelled_put(target: Target) -> None:
    """A put of a new object that is cancelled at any point ends at once, as cancelled or as finished.
    Afterwards the whole object is there, or none; and if it ended as finished, it is there. The client
    goes on working."""
    await _cancel_puts(target, None, conditional=False)


@check("I02", "A cancelled overwrite leaves old or new", requires=("may_suspend",))
async def cancelled_overwrite(target: Target) -> None:
    """As I01, over an existing object: the old or the new one is there, whole."""
    await _cancel_puts(target, b"old " * 10_000, conditional=False)


@check("I03", "A cancelled conditional put leaves old or new", requires=("may_suspend", "create", "update"))
async def cancelled_conditional(target: Target) -> None:
    """As I01 and I02, for creates and updates. No lock is left behind: afterwards the next conditional
    put of the same key is answered, and by what is there."""
    await _cancel_puts(target, None, conditional=True)
    await _cancel_puts(target, b"old " * 10_000, conditional=True)
    client = await target.client()
    for number in range(len(STEPS)):
        key = f"object-{number}"
        version = (await client.head(key)).version or Version("")
        await client.put(key, b"next", IfVersion(version))
        await refused(client.put(key, b"x", IfVersion(version)), VersionMismatch, what="a stale update")
        await refused(client.put(key, b"x", IF_ABSENT), AlreadyExists, what="a create over an object")


@check("I04", "Cancelled reads do no harm", requires=("may_suspend",), reading=True)
async def cancelled_reads(target: Target) -> None:
    """Reads and heads that are cancelled at any point end at once; the client goes on working and later
    reads are exact."""
    client = await target.client()
    await client.put("object", BODY)
    for turns in STEPS:
        await cancelled(client.get_range("object"), turns)
        await cancelled(client.head("object"), turns)
        same(await read(client, "object"), BODY, "bytes read after a cancelled read")


@check("I05", "An abandoned listing does no harm", requires=("list",), reading=True)
async def abandoned_listing(target: Target) -> None:
    """Listings that are left after a few entries, closed or just dropped, leave a client that lists,
    reads and writes."""
    client = await target.client()
    keys = [f"k{number:02d}" for number in range(30)]
    await put_all(client, [(key, b"x") for key in keys])
    for _ in range(40):
        listing = client.list("k")
        await anext(listing)
        await anext(listing)
        await listing.aclose()  # type: ignore[attr-defined]
    dropped = client.list("k")
    await anext(dropped)
    del dropped
    seen = [info.key async for info in client.list("k")]
    same(sorted(seen), keys, "keys listed after abandoned listings")


@check(
    "I06",
    "A client works in one event loop after another",
    known_failure="Async clients bound to the loop they were made in: 'Event loop is closed'.",
)
async def one_loop_after_another(target: Target) -> None:
    """One client is used from several event loops, one after the other, each closed before the next
    begins: zarr runs a loop of its own, and blocking callers another."""
    client = await target.client()
    await client.put("object", b"0")

    async def use(number: int) -> None:
        same(await read(client, "object"), b"%d" % number, "bytes read in another event loop")
        await client.put("object", b"%d" % (number + 1))
        verify((await client.head("object")).size == 1, "head in another event loop")
        await put_all(client, [(f"many-{number}-{each}", b"x") for each in range(10)])

    for number in range(3):
        await asyncio.to_thread(asyncio.run, use(number))
    same(await read(client, "object"), b"3", "bytes read in the first event loop again")


@check("I07", "A client works in several event loops at once", requires=("threads",))
async def loops_at_once(target: Target) -> None:
    """One client is used by several threads with an event loop each at the same time, every one with
    several tasks."""
    rounds = target.budget.rounds

    async def use(client: Storage, racer: Racer) -> None:
        async def task(number: int) -> None:
            for turn in range(rounds):
                key, body = f"{racer.number}/{number}/{turn % 3}", f"{racer.number} {number} {turn}".encode()
                await client.put(key, body)
                same(await read(client, key), body, "bytes that a task read back")
                await client.delete([key])
                await refused(client.head(key), NotFound, what="head of an object that the task deleted")

        await asyncio.gather(*(task(number) for number in range(3)))

    await race(target, [use] * target.budget.threads, share=True)


@check("I08", "What never suspends needs no event loop", requires=("!may_suspend",))
async def driven_by_hand(target: Target) -> None:
    """A storage that does not declare ``may_suspend`` never suspends in any operation: each is driven to
    its end by hand, on a thread without an event loop. Blocking calls and zarr's synchronous reads rely
    on it."""
    client = await target.client()
    capabilities = target.capabilities

    def use() -> None:
        def run(operation: Coroutine[Any, Any, Any]) -> Any:
            try:
                return drive.run_direct(operation)
            except InternalError as error:
                raise Failure(
                    f"an operation suspended although may_suspend is not declared: {error}"
                ) from error

        version = run(client.put("object", BODY))
        same(bytes(run(client.get_range("object"))[0]), BODY, "bytes read without an event loop")
        same(run(client.head("object")).version, version, "version from head without an event loop")
        if capabilities.create:
            run(client.put("created", b"x", IF_ABSENT))
        if capabilities.update:
            run(client.put("object", b"y", IfVersion(version)))
        if capabilities.copy:
            run(client.copy("object", "copied"))
        run(client.sync(["object"]))
        if capabilities.list:
            listed = list(drive.iterate(client.list("ob"), may_suspend=False))
            same([info.key for info in listed], ["object"], "keys listed without an event loop")
        run(client.delete(["object"]))
        run(client.close())

    await asyncio.to_thread(use)


@check(
    "I09",
    "The event loop is not held",
    requires=("may_suspend",),
    known_failure="Blocking file or network calls in an async function stop every other task of the program.",
)
async def loop_is_not_held(target: Target) -> None:
    """While an operation of a storage that declares ``may_suspend`` is under way, other tasks of the
    event loop get their turns: in the best of several attempts at each operation they run meanwhile, and
    are never kept waiting for a tenth of a second."""
    client = await target.client()
    body = b"x" * min(4 << 20, target.budget.large_object)
    await client.put("object", body)

    async def many() -> None:
        await client.delete([f"none-{number}" for number in range(5)])

    for name, operation in {
        "put": lambda: client.put("object", body),
        "get": lambda: client.get_range("object"),
        "head": lambda: client.head("object"),
        "delete": many,
    }.items():
        attempts = [await _waiting(operation()) for _ in range(6)]
        verify(
            any(turns > 0 for turns, _ in attempts),
            f"{name} never gave the event loop a turn, although may_suspend is declared",
        )
        longest = min(gap for _, gap in attempts)
        verify(longest < 0.1, f"every {name} held the event loop, for at least {longest:.2f} s at a stretch")


async def _waiting(operation: Coroutine[Any, Any, Any]) -> tuple[int, float]:
    """Turns that others got during the operation, and the longest wait for one, in seconds."""
    clock = SystemClock()
    turns, longest, last = 0, 0.0, clock.monotonic()

    async def beat() -> None:
        nonlocal turns, longest, last
        while True:
            await asyncio.sleep(0)
            now = clock.monotonic()
            turns, longest, last = turns + 1, max(longest, now - last), now

    heart = asyncio.ensure_future(beat())
    await asyncio.sleep(0)
    turns, longest, last = 0, 0.0, clock.monotonic()
    await operation
    longest = max(longest, clock.monotonic() - last)
    heart.cancel()
    await asyncio.wait([heart])
    return turns, longest
