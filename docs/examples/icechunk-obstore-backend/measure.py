"""obstore against another backend on the same bucket: CPU time of one operation in this process.

``python measure.py s3://bucket/a?... obstore+s3://bucket/a?...`` prints a table with a column for each URL.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from icechunk_core.contract import Storage
from icechunk_core.storage import storage_from_url

TURNS = 7
AT_ONCE = 16
SMALL, LARGE = bytes(range(256)) * 16, bytes(range(256)) * (16 << 10)


async def seconds(operation: Callable[[], Awaitable[object]], repeat: int, at_once: int) -> float:
    """CPU seconds of one call, all threads of the process included."""
    start = time.process_time()
    for _ in range(repeat):
        if at_once == 1:
            await operation()
        else:
            await asyncio.gather(*(operation() for _ in range(at_once)))
    return (time.process_time() - start) / (repeat * at_once)


def operations(storage: Storage) -> dict[str, tuple[Callable[[], Awaitable[object]], int, int]]:
    """What is measured, how often it is repeated, and how many at once."""

    async def put_small() -> object:
        return await storage.put("small", SMALL)

    async def get_small() -> object:
        return await storage.get_range("small")

    async def put_large() -> object:
        return await storage.put("large", LARGE)

    async def get_large() -> object:
        return await storage.get_range("large")

    return {
        "put 4 KiB": (put_small, 40, 1),
        "get 4 KiB": (get_small, 40, 1),
        f"put 4 KiB, {AT_ONCE} at once": (put_small, 5, AT_ONCE),
        f"get 4 KiB, {AT_ONCE} at once": (get_small, 5, AT_ONCE),
        "put 4 MiB": (put_large, 4, 1),
        "get 4 MiB": (get_large, 4, 1),
    }


async def main(urls: list[str]) -> None:
    """Medians of several turns, one storage after the other in each."""
    storages = {url.partition(":")[0]: storage_from_url(url) for url in urls}
    measured = {name: operations(storage) for name, storage in storages.items()}
    print(
        f"| CPU time, µs | {' | '.join(f'`{name}:`' for name in measured)} |\n|---|{'---|' * len(measured)}"
    )
    for what in next(iter(measured.values())):
        taken: dict[str, list[float]] = {name: [] for name in measured}
        for turn in range(TURNS + 1):
            for name, each in measured.items():
                used = await seconds(*each[what])
                if turn:  # the first one opens connections
                    taken[name].append(used)
        print(f"| {what} |", *(f"{statistics.median(each) * 1e6:,.0f} |" for each in taken.values()))
    for storage in storages.values():
        await storage.delete(["small", "large"])
        await storage.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
