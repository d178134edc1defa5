"""Many chunks of 4 KiB through zarr: in memory, in a directory, and what that costs at the least."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from attrs import frozen

from tests.benchmarks.contestants import CONTESTANTS
from tests.benchmarks.processes import has_peer, in_turns, progress, run_worker
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.table import Line, Row, Samples

__all__ = ["rows"]

CHUNK_BYTES = 4096


@frozen
class Setting:
    """Where and how the array is stored."""

    place: str
    codec: str = "none"

    @property
    def title(self) -> str:
        where = {"memory": "memory", "file": "filesystem", "durable": "filesystem, synced"}[self.place]
        return where + ("" if self.codec == "none" else ", zstd")


SETTINGS = (
    Setting("memory"),
    Setting("file"),
    Setting("durable"),
    Setting("file", codec="zstd"),
)
WORK = {
    "get": "`store.get`, one by one",
    "write": "write and commit",
    "write, fused": "write and commit, fused pipeline",
    "write, bulk": "write and commit, our bulk pipeline",
    "commit": "commit alone",
    "read": "read",
    "read, fused": "read, fused pipeline",
    "read, bulk": "read, our bulk pipeline",
}


@frozen
class Goal:
    """How many times faster than Icechunk, and how close to zarr's MemoryStore; see `Row`."""

    target: float | None = None
    floor: float | None = None
    either: bool = False


# What stands beside "synced" is the peer, which does not sync, and zarr's MemoryStore.
GOALS = {
    ("get", "memory"): Goal(10.0),
    ("get", "filesystem, synced"): Goal(10.0),
    ("write", "filesystem, synced"): Goal(2.5, 1.15),
    ("write, fused", "filesystem, synced"): Goal(6.5, 1.30),
    ("read", "filesystem, synced"): Goal(2.3),
    ("read, fused", "filesystem, synced"): Goal(5.5, 1.20, either=True),
}


def rows(folder: str, sizes: Sizes) -> list[Line]:
    """Measure everything in interleaved rounds."""
    samples: dict[tuple[Setting, str], Samples] = {}
    raw: dict[str, list[float]] = {}
    names = CONTESTANTS if has_peer() else ("ours", "zarr")
    for turn in range(sizes.rounds):
        progress(f"chunks, round {turn + 1} of {sizes.rounds}")
        for setting in SETTINGS:
            for name in in_turns(names, turn):
                figures = run_worker(
                    "worker", folder, name, setting.place, setting.codec, sizes.chunks, sizes.gets
                )
                for work, figure in figures.items():
                    samples.setdefault((setting, work), {}).setdefault(name, []).append(figure)
        for work, figure in raw_file(Path(folder) / f"raw-{turn}", sizes.chunks).items():
            raw.setdefault(work, []).append(figure)
    for (setting, work), figures in samples.items():
        if work.endswith(", bulk"):  # beside it, the fastest pipeline that the others have
            theirs = samples[setting, work.replace("bulk", "fused")]
            figures.update({name: theirs[name] for name in theirs if name != "ours"})
    limits = [Row(work, "µs/chunk", {"zarr": figures}) for work, figures in raw.items()]
    return [*_rows(samples, sizes.judged), *limits]


def _rows(samples: dict[tuple[Setting, str], Samples], judged: bool) -> list[Line]:
    found: list[Line] = []
    for work, title in WORK.items():
        for setting in SETTINGS:
            figures = samples.get((setting, work))
            if figures is None or (work == "commit" and not figures.pop("zarr", True)):
                continue
            goal = GOALS.get((work, setting.title), Goal()) if judged else Goal()
            unit = "ms" if work == "commit" else "µs/chunk"
            title_here = f"{title}: {setting.title}"
            found.append(Row(title_here, unit, figures, goal.target, goal.floor, goal.either))
    return found


def raw_file(file: Path, chunks: int) -> dict[str, float]:
    """Microseconds a chunk for the same bytes in one file: the limit that no store can go below."""
    data = np.random.default_rng(0).bytes(chunks * CHUNK_BYTES)
    start = time.perf_counter()
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    written = time.perf_counter()
    assert file.read_bytes() == data
    read = time.perf_counter()
    return {
        "the same bytes as one file: write and sync": (written - start) * 1e6 / chunks,
        "the same bytes as one file: read": (read - written) * 1e6 / chunks,
    }
