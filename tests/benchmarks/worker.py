"""One measurement in a process of its own.

    python -m tests.benchmarks.worker FOLDER CONTESTANT PLACE CODEC CHUNKS GETS

Writes an array of 4 KiB chunks, commits, and reads it back, all with each codec pipeline, and
gets chunks one by one. Prints a JSON object: microseconds per chunk, and milliseconds for the
commit. Files stay in the folder until the end of all measurements: ext4 makes new files several
times slower for minutes after many were deleted.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.core.codec_pipeline
from zarr.core.buffer import default_buffer_prototype

from tests.benchmarks.contestants import Contestant, make

SIDE = 32  # 32 × 32 float32 values are 4 KiB
FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"
BULK = "icechunk_core.codec_pipeline.BulkCodecPipeline"


def values(side: int) -> np.ndarray[Any, Any]:
    """A smooth field with some noise: compressors find something to do, but not everything."""
    field = np.add.outer(np.sin(np.arange(side) / 50), np.cos(np.arange(side) / 70)) * 100
    noise = np.random.default_rng(0).normal(0, 0.1, (side, side))
    return np.round(field + noise, 1).astype("float32")


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    gc.collect()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


async def get_one_by_one(store: Any, keys: list[str]) -> float:
    """How long it takes to await each key in a running loop."""
    prototype = default_buffer_prototype()
    await store.get(keys[0], prototype)
    gc.collect()
    start = time.perf_counter()
    for key in keys:
        value = await store.get(key, prototype)
        assert value is not None
    return time.perf_counter() - start


def measure(folder: str, name: str, place: str, codec: str, chunks: int, gets: int) -> dict[str, float]:
    """All figures of one contestant on one place."""
    grid = round(chunks**0.5)
    data = values(grid * SIDE)
    per_chunk = 1e6 / grid**2
    found: dict[str, float] = {}

    def round_trip(pipeline: str) -> Contestant:
        repo = make(name, place, Path(tempfile.mkdtemp(dir=folder)))
        array = zarr.create_array(
            repo.writer(), name="x", shape=data.shape, chunks=(SIDE, SIDE), dtype=data.dtype,
            compressors=None if codec == "none" else "auto", fill_value=0,
        )  # fmt: skip

        def write() -> None:
            array[:] = data

        def read() -> None:
            array = zarr.open_array(repo.reader(), path="x", mode="r")
            assert np.array_equal(np.asarray(array[:]), data)

        writing, committing = seconds(write), seconds(repo.commit)
        found[f"write{pipeline}"] = (writing + committing) * per_chunk
        found[f"commit{pipeline}"] = committing * 1e3
        found[f"read{pipeline}"] = seconds(read) * per_chunk
        return repo

    if hasattr(zarr.core.codec_pipeline, FUSED.rpartition(".")[2]):
        with zarr.config.set({"codec_pipeline.path": FUSED}):
            round_trip(", fused")
        if name == "ours":  # what it serves are chunks of our own sessions
            with zarr.config.set({"codec_pipeline.path": BULK}):
                round_trip(", bulk")
    repo = round_trip("")
    order = np.random.default_rng(1).permutation(grid**2)[:gets].tolist()
    keys = [f"x/c/{at // grid}/{at % grid}" for at in order]
    found["get"] = asyncio.run(get_one_by_one(repo.reader(), keys)) * 1e6 / len(keys)
    return found


if __name__ == "__main__":
    folder, contestant, place, codec, chunks, gets = sys.argv[1:]
    measure(folder, contestant, place, codec, 16, 4)  # what is loaded on first use
    print(json.dumps(measure(folder, contestant, place, codec, int(chunks), int(gets))))
