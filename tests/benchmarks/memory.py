"""How much memory a session needs while much more is written through it.

    python -m tests.benchmarks.memory [ours|peer] [GIGABYTES] [KIBIBYTES]

Writes an array of so many gigabytes (10), in chunks of so many kibibytes (256), to a
directory, 64 MiB at a time, and commits. Prints the largest resident memory above what
there was before, less the 64 MiB that are being written, and the throughput.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr

from tests.benchmarks.contestants import make
from tests.benchmarks.scaling_worker import Peak

BLOCK = 64 << 20


def main() -> None:
    """Write and report."""
    name = sys.argv[1] if len(sys.argv) > 1 else "ours"
    total = int(float(sys.argv[2] if len(sys.argv) > 2 else 10) * 1e9)
    chunk = int(sys.argv[3] if len(sys.argv) > 3 else 256) << 10
    blocks = total // BLOCK
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        repo = make(name, "durable", Path(folder))
        array = zarr.create_array(
            repo.writer(), name="x", shape=(blocks * BLOCK // 4,), chunks=(chunk // 4,), dtype="f4",
            compressors=None, fill_value=0,
        )  # fmt: skip
        block = np.random.default_rng(0).random(BLOCK // 4, dtype="f4")
        array[: len(block)] = block
        start = time.perf_counter()
        with Peak() as peak:
            for at in range(0, blocks * len(block), len(block)):
                array[at : at + len(block)] = block
            repo.commit()
        seconds = time.perf_counter() - start
    print(
        f"{name}: {total / 1e9:g} GB in chunks of {chunk >> 10} KiB: {peak.mb:.0f} MB at most, "
        f"{total / 1e6 / seconds:.0f} MB/s"
    )


if __name__ == "__main__":
    main()
