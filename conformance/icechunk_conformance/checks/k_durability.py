"""Group K: what was acknowledged stays, whatever happens to the process that wrote it.

That it also survives the loss of power cannot be shown from outside; a storage says so by
declaring ``durable``.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from icechunk_conformance.expect import Failure, NotApplicable, read, same, state, verify
from icechunk_conformance.prefixed import prefixed
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_conformance.workers import WorkerPool
from icechunk_core.clock import SystemClock
from icechunk_core.contract import IfVersion, Storage, Version
from icechunk_core.errors import NotFound, VersionMismatch

ENOUGH = 12
"""Acknowledged writes after which the writer is killed."""


def _body(number: int) -> bytes:
    return b"%d " % number * (200 + number * 97 % 3000)


async def write_for_ever(reopen: Callable[[], Storage], prefix: str, report: str, conditional: bool) -> None:
    """Write until killed, and note each acknowledgement in a file."""
    client = prefixed(reopen(), prefix, set())
    notes = os.open(report, os.O_WRONLY | os.O_APPEND)
    version = (await client.head("counter")).version or Version("")
    for number in range(1, 100_000):
        if conditional:
            version = await client.put("counter", b"%d" % number, IfVersion(version))
        else:
            await client.put(f"object-{number}", _body(number))
        os.write(notes, b"%d\n" % number)


async def _killed_writer(target: Target, *, conditional: bool) -> int:
    """Let a process write, kill it, and tell how many writes it was sure of."""
    target.remember([f"object-{number}" for number in range(1, 2000)])
    client = await target.client()
    await client.put("counter", b"0")
    handle, report = tempfile.mkstemp(prefix="conformance-")
    os.close(handle)
    pool = WorkerPool(1, timeout=target.budget.timeout)
    arguments = (target.reopener(), target.prefix, report, conditional)
    try:
        return await asyncio.to_thread(_kill_when_sure, pool, arguments, report, target.budget.timeout / 2)
    finally:
        pool.stop()
        os.unlink(report)


def _kill_when_sure(pool: WorkerPool, arguments: tuple[Any, ...], report: str, patience: float) -> int:
    clock = SystemClock()
    pool.begin(write_for_ever, arguments)
    deadline = clock.monotonic() + patience
    while len(Path(report).read_bytes().splitlines()) < ENOUGH:
        if clock.monotonic() > deadline or pool.ended():
            raise Failure(f"a process that wrote object after object got no further within {patience:.0f} s")
        clock.sleep(0.002)
    pool.kill()
    return len(Path(report).read_bytes().splitlines())


@check(
    "K01",
    "What a killed process was sure of is there",
    requires=("processes",),
    known_failure="Clients that acknowledge a write when it is in a buffer of their own.",
)
async def killed_writer(target: Target) -> None:
    """A process writes object after object and is killed (``SIGKILL``) in the middle. Every object whose
    put had returned is there, whole; the one that was being written is whole or absent."""
    sure = await _killed_writer(target, conditional=False)
    client = await target.client()
    for number in range(1, sure + 1):
        try:
            same(
                await read(client, f"object-{number}"),
                _body(number),
                "bytes that a killed process had written",
            )
        except NotFound:
            raise Failure(
                f"object {number} of {sure} that a killed process had been told were written is gone"
            ) from None
    rest = await state(client, f"object-{sure + 1}")
    if rest is not None:
        same(rest.data, _body(sure + 1), "bytes of the object that was being written")


@check("K02", "A killed writer leaves no lock and no half update", requires=("update", "processes"))
async def killed_updater(target: Target) -> None:
    """A process updates one object by compare-and-swap, again and again, and is killed in the middle. The
    object has the last update that was acknowledged, or the next one, whole; and the next writer's update
    goes through."""
    sure = await _killed_writer(target, conditional=True)
    client = await target.client()
    async with asyncio.timeout(target.budget.timeout / 2):
        if not await _updated(client, sure):
            # The server was still at the killed process's last update, which has landed since.
            verify(
                await _updated(client, sure), "the object changed again, though nobody else writes any more"
            )
    same(await read(client, "counter"), b"next", "bytes after the next writer's update")


async def _updated(client: Storage, sure: int) -> bool:
    """Replace what a killed writer left, by compare-and-swap; whether it went through."""
    data, info = await client.get_range("counter")
    verify(bytes(data).isdigit(), f"the object that was being updated is broken: {bytes(data)[:40]!r}")
    verify(
        sure <= int(bytes(data)) <= sure + 1,
        f"the killed process was sure of update {sure}; the object has {bytes(data).decode()}",
    )
    try:
        await client.put("counter", b"next", IfVersion(info.version or Version("")))
    except VersionMismatch:
        return False
    return True


@check("K03", "sync takes whatever was put")
async def sync_contract(target: Target) -> None:
    """Where a storage has ``sync``, it returns for objects that were put: one or many, nested, empty,
    overwritten, twice the same, and none at all. The objects stay what they are, and other clients can use
    them."""
    client, other = await target.client(), await target.client()
    if "sync" not in client.hook_names:
        raise NotApplicable("the storage has no sync: a put that returned is final")
    keys = [f"folder-{number % 5}/object-{number}" for number in range(40)] + ["top", "empty"]
    for key in keys:
        await client.put(key, b"" if key == "empty" else key.encode())
    await client.put("top", b"overwritten")
    await client.sync(keys)
    await client.sync(keys[:1])
    await client.sync([])
    for key in keys:
        expected = {"top": b"overwritten", "empty": b""}.get(key, key.encode())
        same(await read(other, key), expected, f"bytes of {key!r} after sync")
    await other.put("top", b"later")
    same(await read(client, "top"), b"later", "bytes written after sync")
