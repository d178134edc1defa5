"""The client's processor time for one request: the plugins' own way beside the service's SDK.

    python -m tests.benchmarks.requests [ROUNDS] [SERVER ...]

Each plugin sends plain gets, ranges and puts itself, and with ``lean=False`` through the SDK. Both
take turns in one process, against one server of `tests.servers`, with 32 requests at a time.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from icechunk_core.contract import Range, Storage
from tests.benchmarks.processes import machine, progress
from tests.servers.catalogue import running

__all__ = ["Work", "measure"]

AT_ONCE = 32
SERVERS = ("seaweedfs", "fake_gcs", "azurite")
SMALL, LARGE = 4 << 10, 4 << 20
Work = Callable[[Storage, int], Awaitable[Any]]


def works(size: int) -> dict[str, Work]:
    """What is measured, by name; puts come first, the others read what they wrote."""
    body = os.urandom(size)
    return {
        "put": lambda storage, number: storage.put(f"{size}/{number}", body),
        "get": lambda storage, number: storage.get_range(f"{size}/{number}"),
        "range": lambda storage, number: storage.get_range(f"{size}/{number}", Range(1, size)),
    }


async def measure(storage: Storage, work: Work, count: int) -> float:
    """Processor seconds of this process for each of so many requests."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with gate:
            await work(storage, number)

    gc.collect()
    before = time.process_time()
    await asyncio.gather(*[one(number) for number in range(count)])
    return (time.process_time() - before) / count


async def _compare(server: Any, size: int, count: int, rounds: int) -> list[str]:
    bucket = server.new_bucket()
    opened = {lean: server.storage(bucket, "repo").reconfigured(lean=lean) for lean in (True, False)}
    lines = []
    for name, work in works(size).items():
        spent: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(-1, rounds):  # the first one warms up
            for lean in (True, False) if turn % 2 else (False, True):
                seconds = await measure(opened[lean], work, count)
                if turn >= 0:
                    spent[lean].append(seconds)
        ours, sdk = (median(spent[lean]) * 1e6 for lean in (True, False))
        lines.append(f"| {name}, {size >> 10} KiB | {ours:,.0f} | {sdk:,.0f} | {ours / sdk:.2f} |")
    for storage in opened.values():
        await storage.close()
    return lines


def main() -> None:
    """Measure, print a table for each server."""
    given = sys.argv[1:]
    rounds = int(given[0]) if given else 5
    print(machine())
    for name in given[1:] or SERVERS:
        progress(name)
        with running(name) as server:
            lines = asyncio.run(_compare(server, SMALL, 300, rounds))
            lines += asyncio.run(_compare(server, LARGE, 32, rounds))
        print(f"\n{name}, µs of processor time\n\n| request | ours | SDK | ours / SDK |\n|---|--:|--:|--:|")
        print("\n".join(lines))


if __name__ == "__main__":
    main()
