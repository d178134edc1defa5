"""What a hit saves, and what counting costs: CPU time of one read. ``python measure.py s3://bucket/prefix?...``

The storage must be writable; a few objects are put there and deleted again.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

from icechunk_core.contract import Range, Storage
from icechunk_core.storage import storage_from_url

TURNS = 9
SMALL, LARGE = "chunks/0000000000000000SMAM", "chunks/0000000000000000BAGS"


async def seconds(operation: Callable[[], Awaitable[object]], repeat: int) -> float:
    """CPU seconds of one call in this process."""
    start = time.process_time()
    for _ in range(repeat):
        await operation()
    return (time.process_time() - start) / repeat


def operations(storage: Storage) -> dict[str, tuple[Callable[[], Awaitable[object]], int]]:
    """What is measured, and how often it is repeated."""
    part = Range(2_000_000, 2_004_096)
    return {
        "get 4 KiB": (lambda: storage.get_range(SMALL), 50),
        "get 4 KiB of 4 MiB": (lambda: storage.get_range(LARGE, part), 50),
        "get 4 MiB": (lambda: storage.get_range(LARGE), 5),
    }


async def compare(title: str, storages: dict[str, Storage]) -> None:
    """Medians of several turns, one storage after the other in each."""
    measured = {name: operations(storage) for name, storage in storages.items()}
    print(f"\n{title}\n\n| CPU time, µs | {' | '.join(measured)} |\n|---|{'---|' * len(measured)}")
    for what in next(iter(measured.values())):
        taken: dict[str, list[float]] = {name: [] for name in measured}
        for turn in range(TURNS + 1):
            for name, each in measured.items():
                used = await seconds(*each[what])
                if turn:  # the first one fills the cache and opens connections
                    taken[name].append(used)
        print(f"| {what} |", *(f"{statistics.median(each) * 1e6:,.1f} |" for each in taken.values()))


async def main(url: str) -> None:
    """The cache in front of a storage, and the metrics around memory."""
    scheme, colon, rest = url.partition(":")
    mark = "&" if "?" in rest else "?"
    with tempfile.TemporaryDirectory() as directory:
        cached = storage_from_url(f"cached+{scheme}{colon}{rest}{mark}cached.directory={directory}")
        plain = storage_from_url(url)
        await plain.put(SMALL, bytes(4096))
        await plain.put(LARGE, bytes(range(256)) * (16 << 10))
        await compare(f"`{scheme}:`, and what the cache had", {"without": plain, "hit": cached})
        await plain.delete([SMALL, LARGE])
        await cached.close()
        await plain.close()
    try:
        counting = storage_from_url("metered+memory:measure")
    except Exception as error:
        print(f"\nno metrics: {error}")
        return
    memory = storage_from_url("memory:measure")
    await memory.put(SMALL, bytes(4096))
    await memory.put(LARGE, bytes(4 << 20))
    await compare("Metrics", {"memory": memory, "counted": counting})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
