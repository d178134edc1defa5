"""How much memory a session needs while much more is written through it.

    python -m tests.benchmarks.memory [ours|peer] [GIGABYTES] [KIBIBYTES]

Writes an array of so many gigabytes (10), in chunks of so many kibibytes (256), to a
directory, 64 MiB at a time, and commits. Prints the largest resident memory above what
there was before, less the 64 MiB that are being written, and the throughput.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import zarr

from tests.benchmarks.contestants import make
from tests.benchmarks.processes import progress, run_worker
from tests.benchmarks.scaling_worker import Peak, seconds
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.table import Line, Row
from tests.benchmarks.worker import FUSED

__all__ = ["measure", "rows"]

BLOCK = 64 << 20
KIBIBYTES = (256, 4)
MOST_MB = 300.0


def rows(folder: str, sizes: Sizes) -> list[Line]:
    """Large and small chunks, each once: memory does not vary as time does."""
    found: list[Line] = []
    for kibibytes in KIBIBYTES:
        progress(f"memory, {sizes.gigabytes:g} GB in chunks of {kibibytes} KiB")
        figures = run_worker("memory", "worker", folder, "ours", sizes.gigabytes, kibibytes)
        title = f"{sizes.gigabytes:g} GB in chunks of {kibibytes} KiB"
        most = MOST_MB if sizes.judged else None
        found.append(
            Row(f"{title}: memory above what is in flight", "MB", {"ours": [figures["MB"]]}, most=most)
        )
        found.append(Row(f"{title}: write and commit", "s", {"ours": [figures["seconds"]]}))
    return found


def measure(folder: str, name: str, total: int, chunk: int) -> dict[str, float]:
    """Megabytes at most, and seconds, for so many bytes in chunks of so many bytes."""
    block_bytes = min(BLOCK, total)
    blocks = max(total // block_bytes, 1)
    repo = make(name, "durable", Path(tempfile.mkdtemp(dir=folder)))
    array = zarr.create_array(
        repo.writer(), name="x", shape=(blocks * block_bytes // 4,), chunks=(chunk // 4,), dtype="f4",
        compressors=None, fill_value=0,
    )  # fmt: skip
    block = np.random.default_rng(0).random(block_bytes // 4, dtype="f4")
    array[: len(block)] = block

    def write() -> None:
        for at in range(0, blocks * len(block), len(block)):
            array[at : at + len(block)] = block
        repo.commit()

    with Peak() as peak:
        took = seconds(write)
    return {"MB": peak.mb, "seconds": took}


def main() -> None:
    """Write and report."""
    if sys.argv[1:2] == ["worker"]:
        folder, name, gigabytes, kibibytes = sys.argv[2:]
        with zarr.config.set({"codec_pipeline.path": FUSED}):
            print(json.dumps(measure(folder, name, int(float(gigabytes) * 1e9), int(kibibytes) << 10)))
        return
    name = sys.argv[1] if len(sys.argv) > 1 else "ours"
    total = int(float(sys.argv[2] if len(sys.argv) > 2 else 10) * 1e9)
    chunk = int(sys.argv[3] if len(sys.argv) > 3 else 256) << 10
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        found = measure(folder, name, total, chunk)
    print(
        f"{name}: {total / 1e9:g} GB in chunks of {chunk >> 10} KiB: {found['MB']:.0f} MB at most, "
        f"{total / 1e6 / found['seconds']:.0f} MB/s"
    )


if __name__ == "__main__":
    main()
