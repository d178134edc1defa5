"""Many small chunks, and some large ones, on a real object store: requests, time, and the client's CPU.

    python -m tests.benchmarks.object_store [SERVER] [SMALL] [LARGE] [ROUNDS]

Starts a server of `tests.servers` (seaweedfs), and writes and reads so many chunks of 4 KiB (10,000)
and of 4 MiB (200) with zarr's concurrency at 64. Each figure comes from a process of its own;
contestants take turns. Requests are counted by a proxy in front of the server, the same for both, in a
round of its own: it takes time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import zarr
from attrs import evolve

from tests.benchmarks.processes import has_peer, in_turns, machine, progress, run_worker
from tests.benchmarks.scaling_worker import module_of
from tests.benchmarks.sizes import FULL, Sizes
from tests.benchmarks.table import Line, Row, Samples, render

__all__ = ["measure", "rows"]

CONCURRENCY = 64
SMALL, LARGE = 4 << 10, 4 << 20
GOALS = {
    ("write", SMALL, "requests"): 50.0,
    ("read", SMALL, "requests"): 10.0,
    ("write", SMALL, "wall"): 5.0,
    ("read", SMALL, "wall"): 5.0,
    ("write", LARGE, "wall"): 1.0,
    ("read", LARGE, "wall"): 1.0,
}
UNITS = {"requests": "", "wall": "s", "cpu": "s"}
TITLES = {"requests": "requests", "wall": "time", "cpu": "the client's CPU time"}


def rows(folder: str, sizes: Sizes) -> list[Line]:
    """Start the server and measure small and large chunks, if there are any."""
    from tests.servers.catalogue import running  # not in the workers, which import this module, too

    found: list[Line] = []
    with running(sizes.server) as server:
        for size, count in ((SMALL, sizes.small), (LARGE, sizes.large)):
            if count:
                found += _rows(server, size, count, sizes)
    return found


def _rows(server: Any, size: int, count: int, sizes: Sizes) -> list[Line]:
    samples: dict[tuple[str, str], Samples] = {}
    names = ("ours", "peer") if has_peer() else ("ours",)
    for turn in range(-1, sizes.rounds):
        counted = turn < 0
        about = "counted" if counted else f"round {turn + 1} of {sizes.rounds}"
        progress(f"{sizes.server}, {count:,} × {size >> 10} KiB, {about}")
        for name in in_turns(names, turn):
            for work, figures in _in_process(name, server, count, size, counted=counted).items():
                for kind in ("requests",) if counted else ("wall", "cpu"):
                    samples.setdefault((work, kind), {}).setdefault(name, []).append(figures[kind])
    return [
        Row(
            f"{work} {count:,} × {size >> 10} KiB: {TITLES[kind]}",
            UNITS[kind],
            samples[work, kind],
            GOALS.get((work, size, kind)) if sizes.judged else None,
        )
        for work in ("write", "read")
        for kind in TITLES
    ]


def _in_process(
    name: str, server: Any, count: int, size: int, *, counted: bool
) -> dict[str, dict[str, float]]:
    options = {**server.options(), "bucket": server.new_bucket(), "prefix": "repo"}
    arguments = ("worker", name, count, size, "counted" if counted else "timed")
    found: dict[str, dict[str, float]] = run_worker("object_store", *arguments, text=json.dumps(options))
    return found


# --- in the worker


def measure(
    name: str, options: dict[str, Any], count: int, size: int, requests: list[Any]
) -> dict[str, dict[str, float]]:
    """Write and commit an array of ``count`` chunks, read it back.

    Parameters
    ----------
    requests
        Grows with each request that is sent, where they are counted.
    """
    zarr.config.set({"async.concurrency": CONCURRENCY})
    module = module_of(name)
    storage = module.s3_storage(**options)
    repo = module.Repository.create(storage)
    values = size // 4
    data = np.random.default_rng(0).random(count * values, dtype="f4")
    session = repo.writable_session("main")
    array = zarr.create_array(
        session.store, name="x", shape=data.shape, chunks=(values,), dtype="f4", compressors=None,
        fill_value=0,
    )  # fmt: skip

    def write() -> None:
        array[:] = data
        session.commit("written")

    def read() -> None:
        store = module.Repository.open(storage).readonly_session("main").store
        assert np.array_equal(np.asarray(zarr.open_array(store, path="x", mode="r")[:]), data)

    return {"write": _measured(write, requests), "read": _measured(read, requests)}


def _measured(call: Callable[[], Any], requests: list[Any]) -> dict[str, float]:
    """Seconds, CPU seconds and requests of a call."""
    before = len(requests)
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "requests": len(requests) - before,
    }


@contextmanager
def _counting(endpoint: str) -> Iterator[tuple[str, list[Any]]]:
    """Another address of the server, and the requests that have come there."""
    from icechunk_conformance.proxy import FaultProxy

    proxy = FaultProxy(endpoint).start()
    try:
        yield proxy.url, proxy.requests
    finally:
        proxy.stop()


def work(name: str, count: int, size: int, mode: str, options: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What the worker does: measure time, or count requests."""
    if mode == "timed":
        return measure(name, options, count, size, [])
    with _counting(options["endpoint_url"]) as (url, requests):
        return measure(name, {**options, "endpoint_url": url}, count, size, requests)


def main() -> None:
    """Measure in rounds, print a table."""
    given = sys.argv[1:]
    if given[:1] == ["worker"]:
        name, count, size, mode = given[1:]
        print(json.dumps(work(name, int(count), int(size), mode, json.load(sys.stdin))))
        return
    server, small, large, rounds = [*given, *("seaweedfs", "10000", "200", "3")[len(given) :]]
    sizes = evolve(FULL, server=server, small=int(small), large=int(large), rounds=int(rounds))
    print(f"{machine()}\n\n{render(rows('', sizes))}")


if __name__ == "__main__":
    main()
