"""Group H: what a client makes of a network and a server that stumble.

Every fault is brought about by the faulting proxy, between the client and its server. Whatever
happens, an operation either does what it should, by trying again, or raises one of `HONEST`.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from attrs import frozen

from icechunk_conformance import wire_faults
from icechunk_conformance.chance import Chance, fresh_seed
from icechunk_conformance.expect import Failure, NotApplicable, collect, read, same, state, verify
from icechunk_conformance.injection import WireFaults, about, is_write
from icechunk_conformance.proxy import Action, Exchange
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_conformance.wire import Message
from icechunk_core.contract import Range, Storage
from icechunk_core.errors import IcechunkError, OutcomeUnknown, RateLimited, Timeout, Unavailable

HONEST = (Unavailable, Timeout, RateLimited, OutcomeUnknown)
"""What an operation may raise when its transport fails."""
BODY = bytes(range(256)) * 500
KEYS = ["listed/a", "listed/b", "listed/c", "object"]


def every(request: Message) -> bool:
    return True


def reads(request: Message) -> bool:
    return request.method == "GET"


# --- operations and their right results -----------------------------------------


@frozen
class Operation:
    """An operation, and what shows whether it did what it should."""

    name: str
    perform: Callable[[Storage], Awaitable[object]]
    judge: Callable[[object, Storage], Awaitable[None]]


async def _got(result: object, clean: Storage) -> None:
    same(result, BODY, "get: bytes")


async def _got_part(result: object, clean: Storage) -> None:
    same(result, BODY[1000:90_000], "get of a range: bytes")


async def _headed(result: object, clean: Storage) -> None:
    same(result, len(BODY), "head: size")


async def _listed(result: object, clean: Storage) -> None:
    same(result, KEYS, "list: keys")


async def _put(result: object, clean: Storage) -> None:
    verify(await clean.exists("written"), "put reported success, and there is no object")
    same(await read(clean, "written"), BODY, "put: bytes that are there")


async def _deleted(result: object, clean: Storage) -> None:
    verify(await state(clean, "victim") is None, "delete reported success, and the object is still there")


async def _head_size(client: Storage) -> int:
    return (await client.head("object")).size


async def _keys(client: Storage) -> list[str]:
    return sorted(info.key for info in await collect(client.list()) if info.key in KEYS)


async def _delete(client: Storage) -> None:
    (result,) = await client.delete(["victim"])
    if result.error is not None:
        raise result.error


GET = Operation("get", lambda client: read(client, "object"), _got)
PART = Operation("get of a range", lambda client: read(client, "object", Range(1000, 90_000)), _got_part)
HEAD = Operation("head", _head_size, _headed)
LIST = Operation("list", _keys, _listed)
PUT = Operation("put", lambda client: client.put("written", BODY), _put)
DELETE = Operation("delete", _delete, _deleted)


def operations(target: Target) -> list[Operation]:
    """Those that the storage has."""
    reading = [GET, PART, HEAD] + ([LIST] if target.capabilities.list else [])
    return reading if target.capabilities.read_only else [*reading, PUT, DELETE]


async def trial(
    target: Target,
    operation: Operation,
    action: Action,
    matches: Callable[[Message], bool] = every,
    *,
    times: int | None = 1,
    impatient: bool = False,
) -> IcechunkError | None:
    """Perform an operation under a fault. ``None`` if it did what it should, else its honest error."""
    what = f"{operation.name}, while {(action.__doc__ or '').strip().rstrip('.')}"
    for _ in range(4):
        wire = await target.wire(impatient=impatient)
        fault = wire.inject(action, matches, times=times)
        error = await _perform(operation, wire.client, what, target)
        if fault.struck or error is None:
            break
        # It gave up before its request had reached the proxy: this machine is slow.
    wire.verify_struck()
    return error


async def _perform(operation: Operation, client: Storage, what: str, target: Target) -> IcechunkError | None:
    limit = target.budget.timeout / 2
    try:
        async with asyncio.timeout(limit):
            result = await operation.perform(client)
        await operation.judge(result, await target.client())
    except HONEST as error:
        return error
    except IcechunkError as error:
        raise Failure(
            f"{what}: it raised {type(error).__name__}, which says something else: {error}"
        ) from error
    except TimeoutError:
        raise Failure(f"{what}: it did not come to an end within {limit:.0f} seconds") from None
    except Failure as failure:
        raise Failure(f"{what}: {failure}") from None
    except Exception as error:
        raise Failure(
            f"{what}: it raised {type(error).__name__}, which is no storage error: {error}"
        ) from error
    return None


async def prepare(target: Target) -> None:
    """Write what the operations work on."""
    await target.wire()
    client = await target.client()
    await asyncio.gather(*(client.put(key, BODY) for key in [*KEYS, "victim"]))


async def trials(
    target: Target,
    actions: Sequence[Action],
    chosen: Sequence[Operation] | None = None,
    matches: Callable[[Message], bool] = every,
    *,
    times: int | None = 1,
    impatient: bool = False,
) -> list[tuple[Operation, IcechunkError | None]]:
    """Every operation under every action, all at the same time, with a client and a proxy each."""
    await prepare(target)
    pairs = [(each, action) for action in actions for each in chosen or operations(target)]
    results = await asyncio.gather(
        *(trial(target, each, action, matches, times=times, impatient=impatient) for each, action in pairs)
    )
    return [(each, error) for (each, _), error in zip(pairs, results, strict=True)]


# --- checks -----------------------------------------------------------------------


@check("H01", "A connection that is reset is tried again, or reported", reading=True)
async def reset_once(target: Target) -> None:
    """One request is reset before the server sees it, or after the server acted. Each operation does what it
    should or raises `Unavailable`, `Timeout` or (writes) `OutcomeUnknown`; nothing else."""
    await trials(target, [wire_faults.request_lost, wire_faults.answer_lost])


@check("H02", "A server that cannot be reached is reported as that", reading=True)
async def always_reset(target: Target) -> None:
    """Every request is reset. Each operation raises `Unavailable` or `Timeout`, within seconds. None reports
    success, an empty listing or a missing object."""
    found = await trials(target, [wire_faults.request_lost], times=None, impatient=True)
    for operation, error in found:
        verify(error is not None, f"{operation.name} reported success although no request got through")


@check(
    "H03",
    "Half a body is never taken for the whole",
    known_failure="aiohttp gives what has come when a connection without Content-Length ends early.",
    reading=True,
)
async def half_bodies(target: Target) -> None:
    """The connection ends in the middle of the answer, once. A read and a listing are complete, by being
    tried again, or an error."""
    await trials(target, [wire_faults.half_body], _reading(target), reads)


def _reading(target: Target) -> list[Operation]:
    return [each for each in operations(target) if each in (GET, PART, LIST)]


@check("H04", "Half a body is never taken for the whole, again and again", reading=True)
async def always_half_bodies(target: Target) -> None:
    """As H03, at every attempt: a read raises an error. What came is not pieced together wrongly."""
    found = await trials(target, [wire_faults.half_body], _reading(target), reads, times=None, impatient=True)
    for operation, error in found:
        if operation is LIST:
            verify(error is not None, "a listing that was always cut short was reported as complete")


@check("H05", "A length that does not fit is noticed", reading=True)
async def wrong_length(target: Target) -> None:
    """The answer announces more bytes than come before the connection ends (in chunks: the last one is
    missing). A read and a listing are complete, by being tried again, or an error."""
    await trials(target, [wire_faults.length_too_large], _reading(target), reads)


@check(
    "H06",
    "A body that stops is given up",
    known_failure="Clients without a timeout between bytes wait for ever.",
    reading=True,
)
async def stalled_bodies(target: Target) -> None:
    """The answer stops half-way, and the connection stays open. A read is complete, by being tried again, or
    an error, in time (its timeout, where the configuration has one, is set short)."""
    await trials(target, [wire_faults.stalled_body], _reading(target), reads, impatient=True)


@check(
    "H07",
    "A server that says nothing is given up",
    known_failure="Clients without a timeout wait for ever.",
    reading=True,
)
async def no_answer(target: Target) -> None:
    """The server never answers. Every operation raises `Timeout` or `Unavailable` (writes:
    `OutcomeUnknown`), in time (its timeout, where the configuration has one, is set short)."""
    found = await trials(target, [wire_faults.no_answer], times=None, impatient=True)
    for operation, error in found:
        if operation in (GET, PART, HEAD, LIST):
            verify(error is not None, f"{operation.name} succeeded without an answer")


@check("H08", "A busy server is asked again, or reported", reading=True)
async def busy_once(target: Target) -> None:
    """One request is answered with 408, 429, 500 or 503, with and without ``Retry-After``. Each operation
    does what it should, by trying again, or raises `RateLimited`, `Unavailable` or `Timeout`."""
    answers = [
        wire_faults.refused_with(429, 1),
        *(wire_faults.refused_with(code) for code in (408, 500, 503)),
    ]
    await trials(target, answers)


@check("H09", "A server that stays busy is reported as that", reading=True)
async def always_busy(target: Target) -> None:
    """Every request is answered with 429 or 503. Reads and writes raise `RateLimited`, `Unavailable` or
    `Timeout`, within seconds, and none reports success or a missing object."""
    chosen = [each for each in operations(target) if each in (GET, HEAD, LIST, PUT)]
    answers = [wire_faults.refused_with(code, 0) for code in (429, 503)]
    for operation, error in await trials(target, answers, chosen, times=None, impatient=True):
        verify(error is not None, f"{operation.name} reported success although the server never did anything")


@check("H10", "A slow answer is waited for", reading=True)
async def trickle(target: Target) -> None:
    """The answer comes in twenty pieces over half a second. Nothing is wrong, so every operation succeeds."""
    for operation, error in await trials(target, [wire_faults.trickled], times=None):
        if error is not None:
            raise Failure(f"{operation.name} of a slow but complete answer failed: {error}")


@check(
    "H11",
    "Connections that the server has closed are replaced",
    known_failure="Pooled connections that went stale: the first request after a pause fails.",
    reading=True,
)
async def stale_connections(target: Target) -> None:
    """The server closes every connection after its answer, without saying so. All of many reads and writes,
    one after the other, succeed."""
    wire = await target.wire()
    wire.inject(wire_faults.closed_after, every, times=None)
    clean = await target.client()
    await clean.put("object", BODY)
    for number in range(6):
        try:
            same(await read(wire.client, "object"), BODY, "bytes read over connections that do not last")
            if not target.capabilities.read_only:
                await wire.client.put(f"written-{number}", b"%d" % number)
                same(
                    await read(clean, f"written-{number}"),
                    b"%d" % number,
                    "bytes written over such connections",
                )
        except HONEST as error:
            raise Failure(f"a connection that the server had closed was not replaced: {error}") from error
    wire.verify_struck()


@check("H12", "A put that is cut leaves old or new")
async def cut_puts(target: Target) -> None:
    """The connection ends in the middle of a put's body, once or always. The put succeeds, by being tried
    again, or raises an error; the object that was there stays whole, or is the new one."""
    clean = await target.client()
    for times in (1, None):
        await clean.put("object", b"old " * 5000)
        wire = await target.wire(impatient=times is None)
        matches = partial(_writes, about(target.prefix + "object"))
        wire.inject(wire_faults.cut_upload, matches, times=times)
        finished = True
        try:
            await wire.client.put("object", BODY)
        except HONEST:
            finished = False
        wire.verify_struck()
        verify(
            times is not None or not finished, "a put was reported as success although its body never arrived"
        )
        now = await state(clean, "object")
        verify(now is not None, "after a put that was cut the object is gone")
        data = now.data if now is not None else b""
        allowed = (BODY,) if finished else (BODY, b"old " * 5000)
        verify(data in allowed, f"after a put that was cut there are {len(data)} bytes, neither old nor new")


def _writes(concerns: Callable[[Message], bool], request: Message) -> bool:
    return is_write(request) and concerns(request)


@check("H13", "Secrets do not show in errors of the transport", reading=True)
async def secrets_in_transport_errors(target: Target) -> None:
    """The errors of requests that were reset, refused or not answered contain no secret of the
    configuration, not in their message, ``repr`` or traceback."""
    await target.wire()
    if not target.secrets:
        raise NotApplicable("the configuration has no secret, and none was named")
    actions = [wire_faults.request_lost, wire_faults.refused_with(503), wire_faults.no_answer]
    chosen = [GET] if target.capabilities.read_only else [GET, PUT]
    for operation, error in await trials(target, actions, chosen, times=None, impatient=True):
        shown = "" if error is None else f"{error} {error!r} {''.join(traceback.format_exception(error))}"
        for number, secret in enumerate(target.secrets, 1):
            verify(secret not in shown, f"secret number {number} shows in an error of {operation.name}")


@check("H14", "Many requests at once under faults are each right")
async def many_under_faults(target: Target) -> None:
    """Sixty reads and writes at the same time through one client, while connections are reset, answers cut
    and the server is busy at random: each is right or an error of the transport. Afterwards the client
    works as before."""
    wire = await target.wire()
    clean = await target.client()
    bodies = {f"many/{number}": b"%d " % number * 5000 for number in range(20)}
    await asyncio.gather(*(clean.put(key, body) for key, body in bodies.items()))
    chance = Chance(fresh_seed())

    async def at_random(exchange: Exchange) -> None:
        """requests fail at random"""
        if chance.uniform() < 0.7:
            action: Action = wire_faults.passed_on
        elif exchange.request.method == "GET":
            action = chance.choice(
                [wire_faults.half_body, wire_faults.request_lost, wire_faults.refused_with(503)]
            )
        else:
            action = chance.choice(
                [wire_faults.answer_lost, wire_faults.request_lost, wire_faults.refused_with(503)]
            )
        await action(exchange)

    fault = wire.inject(at_random, every, times=None)
    await asyncio.gather(*(_one_of_many(wire, clean, key, body) for key, body in bodies.items()))
    wire.verify_struck()
    fault.times = 0
    for key, body in bodies.items():
        same(await read(wire.client, key), body, "bytes read when the faults were over")


async def _one_of_many(wire: WireFaults, clean: Storage, key: str, body: bytes) -> None:
    with contextlib.suppress(*HONEST):
        same(await read(wire.client, key), body, "bytes read under faults")
    try:
        await wire.client.put(f"{key}/copy", body)
    except HONEST:
        pass
    else:
        same(await read(clean, f"{key}/copy"), body, "bytes that are there after a put reported success")
    with contextlib.suppress(*HONEST):
        same((await wire.client.head(key)).size, len(body), "size under faults")
