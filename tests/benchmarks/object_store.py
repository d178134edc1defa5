"""Many small chunks, and some large ones, on a real object store: requests, time, and the client's CPU.

    python -m tests.benchmarks.object_store [SERVER] [SMALL] [LARGE] [ROUNDS]

Starts a server of `tests.servers` (seaweedfs), and writes and reads so many chunks of 4 KiB (10,000)
and of 4 MiB (200) with zarr's concurrency at 64. Each figure comes from a process of its own;
contestants take turns. Requests are those of icechunk-core; Icechunk does not count its own, and
sends at least one a chunk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import zarr

CONCURRENCY = 64
SMALL, LARGE = 4 << 10, 4 << 20


def open_storage(name: str, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The implementation, a storage, and what counts its requests."""
    if name == "ours":
        import icechunk_core

        storage = icechunk_core.s3_storage(**options)
        return icechunk_core, *icechunk_core.storage.with_metrics(storage)
    import icechunk

    icechunk.set_logs_filter("off")
    return icechunk, icechunk.s3_storage(**options), None


def measured(call: Callable[[], Any], metrics: Any) -> dict[str, float]:
    """Seconds, CPU seconds and requests of a call."""
    if metrics is not None:
        metrics.reset()
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    found = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    if metrics is not None:
        found["requests"] = metrics.total_calls
    return found


def measure(name: str, options: dict[str, Any], count: int, size: int) -> dict[str, dict[str, float]]:
    """Write and commit an array of ``count`` chunks, read it back."""
    zarr.config.set({"async.concurrency": CONCURRENCY})
    module, storage, metrics = open_storage(name, options)
    repo = module.Repository.create(storage)
    values = size // 4
    data = np.random.default_rng(0).random(count * values, dtype="f4")
    session = repo.writable_session("main")
    array = zarr.create_array(
        session.store,
        name="x",
        shape=data.shape,
        chunks=(values,),
        dtype="f4",
        compressors=None,
        fill_value=0,
    )

    def write() -> None:
        array[:] = data
        session.commit("written")

    def read() -> None:
        store = module.Repository.open(storage).readonly_session("main").store
        assert np.array_equal(np.asarray(zarr.open_array(store, path="x", mode="r")[:]), data)

    return {"write": measured(write, metrics), "read": measured(read, metrics)}


def in_process(name: str, server: Any, count: int, size: int) -> dict[str, dict[str, float]]:
    """The same in a process of its own."""
    options = {**server.options(), "bucket": server.new_bucket(), "prefix": "repo"}
    command = [sys.executable, "-m", "tests.benchmarks.object_store", "worker", name, str(count), str(size)]
    done = subprocess.run(command, input=json.dumps(options), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Start the server, measure in rounds, print a table."""
    from tests.servers.catalogue import running

    server_name = sys.argv[1] if len(sys.argv) > 1 else "seaweedfs"
    counts = {SMALL: int(sys.argv[2]) if len(sys.argv) > 2 else 10_000}
    counts[LARGE] = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    print(f"| {server_name} | requests | ours | icechunk | faster | CPU ours | CPU icechunk | less CPU |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    with running(server_name) as server:
        for size, count in counts.items():
            if count:
                compare(server, size, count, rounds)


def compare(server: Any, size: int, count: int, rounds: int) -> None:
    """Two rows of the table."""
    samples: dict[str, list[Any]] = {"ours": [], "peer": []}
    for turn in range(rounds):
        for name in ("ours", "peer") if turn % 2 == 0 else ("peer", "ours"):
            samples[name].append(in_process(name, server, count, size))
    for work in ("write", "read"):
        ours, peer = ([sample[work] for sample in samples[name]] for name in ("ours", "peer"))
        cells = [f"{work} {count:,} × {size >> 10} KiB", str(int(median([one["requests"] for one in ours])))]
        for kind in ("wall", "cpu"):
            cells += [f"{median([one[kind] for one in them]):.2f} s" for them in (ours, peer)]
            ratio = median([theirs[kind] / mine[kind] for mine, theirs in zip(ours, peer, strict=True)])
            cells.append(f"{ratio:.1f} ×")
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        result = measure(sys.argv[2], json.load(sys.stdin), int(sys.argv[3]), int(sys.argv[4]))
        print(json.dumps(result))
    else:
        main()
