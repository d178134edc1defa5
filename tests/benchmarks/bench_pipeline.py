"""The bulk codec pipeline beside zarr's, over sessions of ours, of Icechunk's, and zarr's MemoryStore.

    python -m tests.benchmarks.bench_pipeline [CHUNKS] [ROUNDS]

Writes and reads an array of so many chunks of 4 KiB (10,000), uncompressed and with zstd, in memory and on
the filesystem (ours synced, Icechunk's not). Each figure comes from a process of its own; contestants take
turns (5 rounds). Tells medians of microseconds per chunk, on the clock and of processor time, and the median
over the rounds of Icechunk's best time divided by ours.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zarr

from tests.benchmarks.contestants import make
from tests.benchmarks.processes import has_peer, in_turns, machine, progress, run_worker
from tests.benchmarks.worker import FUSED, SIDE, values

BULK = "icechunk_core.codec_pipeline.BulkCodecPipeline"
DEFAULT = "zarr.core.codec_pipeline.BatchedCodecPipeline"
PIPELINES = {"bulk": BULK, "fused": FUSED, "default": DEFAULT}
RUNS = ("ours bulk", "ours fused", "peer default", "peer fused", "zarr fused")
SETTINGS = (("memory", "none"), ("durable", "none"), ("durable", "zstd"))
WORK = ("write and commit", "read")
CLOCKS = ("time", "CPU time")

Figures = dict[str, float]


def measure(folder: str, run: str, place: str, codec: str, chunks: int) -> Figures:
    """Microseconds per chunk for the work of one contestant."""
    name, pipeline = run.split()
    grid = round(chunks**0.5)
    data = values(grid * SIDE)
    found: Figures = {}

    def timed(work: str, call: Callable[[], Any]) -> Any:
        start, spent = time.perf_counter(), time.process_time()
        result = call()
        found[f"{work}: CPU time"] = (time.process_time() - spent) * 1e6 / grid**2
        found[f"{work}: time"] = (time.perf_counter() - start) * 1e6 / grid**2
        return result

    with zarr.config.set({"codec_pipeline.path": PIPELINES[pipeline]}):
        repo = make(name, "file" if name == "peer" and place == "durable" else place, Path(folder))
        array = zarr.create_array(
            repo.writer(), name="x", shape=data.shape, chunks=(SIDE, SIDE), dtype=data.dtype,
            compressors=None if codec == "none" else "auto", fill_value=0,
        )  # fmt: skip

        def write() -> None:
            array[:] = data
            repo.commit()

        timed("write and commit", write)
        read = timed("read", lambda: zarr.open_array(repo.reader(), path="x", mode="r")[:])
        assert np.array_equal(read, data)
    return found


def report(samples: dict[tuple[str, str], list[Figures]]) -> list[str]:
    """Lines of a table."""
    lines = [f"| work | {' | '.join(RUNS)} | faster than Icechunk |", f"|---|{'---:|' * (len(RUNS) + 1)}"]
    for place, codec in SETTINGS:
        for work in WORK:
            for clock in CLOCKS:
                row = {
                    run: [one[f"{work}: {clock}"] for one in samples.get((run, place + codec), [])]
                    for run in RUNS
                }
                peers = [row[run] for run in RUNS if run.startswith("peer") and row[run]]
                ratios = (
                    [min(theirs) / ours for ours, *theirs in zip(row["ours bulk"], *peers, strict=True)]
                    if peers
                    else []
                )
                cells = [f"{median(row[run]):.1f}" if row[run] else "–" for run in RUNS]
                ratio = f"{median(ratios):.1f} ×" if ratios else "–"
                lines.append(f"| {work}, {place}, {codec}: {clock} | {' | '.join(cells)} | {ratio} |")
    return lines


def main(chunks: int, rounds: int) -> None:
    """Measure and print."""
    names = tuple(run for run in RUNS if has_peer() or not run.startswith("peer"))
    samples: dict[tuple[str, str], list[Figures]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            progress(f"round {turn + 1} of {rounds}")
            for place, codec in SETTINGS:
                for run in in_turns(names, turn):
                    figures = run_worker("bench_pipeline", "worker", folder, run, place, codec, chunks)
                    samples.setdefault((run, place + codec), []).append(figures)
    print(machine(), *report(samples), sep="\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        _, _, folder, run, place, codec, chunks = sys.argv
        for count in (16, int(chunks)):  # first what is loaded on first use
            figures = measure(tempfile.mkdtemp(dir=folder), run, place, codec, count)
        print(json.dumps(figures))
    else:
        main(*[int(number) for number in (*sys.argv[1:], *("10000", "5")[len(sys.argv) - 1 :])])
