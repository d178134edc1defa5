"""Group L: random programs against a model, and what operations cost in requests."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from icechunk_conformance.chance import Chance, fresh_seed
from icechunk_conformance.expect import Failure, put_all
from icechunk_conformance.injection import WireFaults
from icechunk_conformance.programs import run_program
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_core.contract import IF_ABSENT, IfVersion, Range, Storage


@check("L01", "Random programs do what a model does")
async def random_programs(target: Target) -> None:
    """Programs of random operations on a few keys (puts, creates, updates with current and old versions,
    reads, ranges, heads, deletes, listings, copies), by several clients in turn, have the results that a
    dictionary has. A failure names the seed and the last steps."""
    for number in range(target.budget.programs):
        seed = fresh_seed()
        clients = [await target.client() for _ in range(3)]
        await run_program(clients, Chance(seed), f"program-{number}/", steps=100)


# --- requests ------------------------------------------------------------------


async def _counted(
    wire: WireFaults, operation: Callable[[], Awaitable[object]], most: int, what: str
) -> None:
    """Fail if the operation takes more requests than it should."""
    before = len(wire.proxy.requests)
    await operation()
    made = wire.proxy.requests[before:]
    if len(made) > most:
        shown = ", ".join(f"{method} {target.partition('?')[0][-40:]}" for method, target in made[:6])
        raise Failure(f"{what} took {len(made)} requests, more than {most}: {shown}")


async def _warm(target: Target) -> tuple[WireFaults, Storage]:
    """A client that has made its first request, which may ask for more (regions, tokens)."""
    wire = await target.wire()
    await wire.client.put("warm", b"up")
    return wire, wire.client


@check("L02", "A small operation is one request")
async def small_operations(target: Target) -> None:
    """Put, create, update, get, get of a range, head and delete of a small object take one request each."""
    wire, client = await _warm(target)
    await _counted(wire, lambda: client.put("object", b"0123456789"), 1, "a put")
    await _counted(wire, lambda: client.get_range("object"), 1, "a get")
    await _counted(wire, lambda: client.get_range("object", Range(2, 5)), 1, "a get of a range")
    await _counted(wire, lambda: client.head("object"), 1, "a head")
    if target.capabilities.create:
        await _counted(wire, lambda: client.put("created", b"1", IF_ABSENT), 1, "a create")
    if target.capabilities.update:
        version = await client.put("updated", b"1")
        await _counted(wire, lambda: client.put("updated", b"2", IfVersion(version)), 1, "an update")
    await _counted(wire, lambda: client.delete(["object"]), 1, "a delete")


@check("L03", "A listing is few requests", requires=("list",))
async def listing_requests(target: Target) -> None:
    """A listing takes one request for each page of hundreds, and one of a handful of objects takes one;
    none for each object."""
    wire, client = await _warm(target)
    count = min(target.budget.listing, 600)
    await put_all(await target.client(), [(f"many/{number:05d}", b"x") for number in range(count)])

    async def all_of(prefix: str) -> None:
        async for _ in client.list(prefix):
            pass

    await _counted(wire, lambda: all_of("warm"), 1, "a listing of one object")
    await _counted(wire, lambda: all_of("many/"), 1 + math.ceil(count / 500), f"a listing of {count} objects")


@check("L04", "Deleting takes no more than a request for each object")
async def delete_requests(target: Target) -> None:
    """Deleting a hundred objects takes at most a hundred requests (one or two, where the server has a
    batch)."""
    wire, client = await _warm(target)
    keys = [f"many/{number:03d}" for number in range(100)]
    await put_all(await target.client(), [(key, b"x") for key in keys])
    await _counted(wire, lambda: client.delete(keys), len(keys), "deleting a hundred objects")


@check("L05", "A large object is few requests")
async def large_requests(target: Target) -> None:
    """Writing and reading an object of megabytes takes a few requests and at most one for every four
    megabytes."""
    wire, client = await _warm(target)
    size = target.large_object
    most = 4 + math.ceil(size / (4 << 20))
    body = bytes(size)
    await _counted(wire, lambda: client.put("large", body), most, f"a put of {size >> 20} MiB")
    await _counted(wire, lambda: client.get_range("large"), most, f"a get of {size >> 20} MiB")
