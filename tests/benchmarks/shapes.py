"""Arrays of other shapes than the table's: a further table.

    python -m tests.benchmarks.run --shapes

The same contestants as for chunks of 4 KiB, all on the filesystem: ours synced, Icechunk, which
does not sync, and zarr's MemoryStore.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from attrs import frozen

from tests.benchmarks.contestants import CONTESTANTS, Contestant, make
from tests.benchmarks.processes import has_peer, in_turns, progress, run_worker
from tests.benchmarks.scaling_worker import seconds
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.table import Line, Row, Samples

__all__ = ["CASES", "measure", "rows"]

Array = npt.NDArray[Any]


@frozen
class Case:
    """One array, or many.

    Attributes
    ----------
    shape
        Of an array with about so many chunks.
    chunks
        Shape of a chunk.
    compressed
        With zarr's default compressor, so that no two chunks have the same size.
    arrays
        How many arrays there are.
    reads
        ``all``, or single values of so many chunks in random order.
    """

    shape: Callable[[int], tuple[int, ...]]
    chunks: tuple[int, ...]
    compressed: bool = False
    arrays: Callable[[int], int] = lambda _: 1
    reads: int | None = None


def _cube(side: int, ndim: int, *chunk: int) -> tuple[int, ...]:
    return tuple(side * edge for edge in chunk[:ndim])


CASES = {
    "1-D": Case(lambda n: (n * 1024,), (1024,)),
    "3-D": Case(lambda n: _cube(round(n ** (1 / 3)), 3, 16, 8, 8), (16, 8, 8)),
    "ragged edges": Case(lambda n: (round(n**0.5) * 37 - 11, round(n**0.5) * 29 - 17), (37, 29)),
    "zstd, sizes from 20 bytes to 4 KiB": Case(lambda n: (n * 1024,), (1024,), compressed=True),
    "single values of chunks in random order": Case(lambda n: (n * 1024,), (1024,), reads=2_000),
    "many small arrays of 4 chunks": Case(lambda n: (4 * 64,), (64,), arrays=lambda n: max(n // 4, 1)),
}


def rows(folder: str, sizes: Sizes) -> list[Line]:
    """Measure all cases in interleaved rounds."""
    samples: dict[tuple[str, str], Samples] = {}
    names = CONTESTANTS if has_peer() else ("ours", "zarr")
    for turn in range(sizes.rounds):
        for title in CASES:
            progress(f"{title}, round {turn + 1} of {sizes.rounds}")
            for name in in_turns(names, turn):
                for work, figure in run_worker("shapes", folder, name, title, sizes.chunks).items():
                    samples.setdefault((title, work), {}).setdefault(name, []).append(figure)
    return [
        Row(f"{title}: {work}", "µs/chunk", found, 1.0 if sizes.judged else None)
        for (title, work), found in samples.items()
    ]


# --- in the worker


def values(case: Case, count: int) -> Array:
    """Data of which a third of the chunks is noise, a third nearly constant, and a third between them."""
    shape = case.shape(count)
    noise = np.random.default_rng(0).random(shape, dtype="f4")
    if not case.compressed:
        return noise
    quality = np.repeat(np.arange(-(-shape[0] // case.chunks[0])) % 3, case.chunks[0])[: shape[0]]
    return np.where(quality == 0, noise, np.where(quality == 1, np.float32(1), np.round(noise, 1)))


def measure(folder: str, name: str, title: str, count: int) -> dict[str, float]:
    """Microseconds a chunk for writing with commit, and for reading."""
    case = CASES[title]
    data = values(case, count)
    numbers = range(case.arrays(count))
    repo = make(name, "durable", Path(tempfile.mkdtemp(dir=folder)))
    written: list[int] = []

    def write() -> None:
        group = zarr.open_group(repo.writer(), mode="a")
        for number in numbers:
            array = group.create_array(
                f"array{number}", shape=data.shape, chunks=case.chunks, dtype=data.dtype, fill_value=0,
                compressors="auto" if case.compressed else None,
            )  # fmt: skip
            array[...] = data
        written.append(array.nchunks * len(numbers))
        repo.commit()

    took = seconds(write)
    reading = seconds(lambda: _read(repo, case, data, numbers))
    read = min(case.reads, written[0]) if case.reads else written[0]
    return {"write and commit": took * 1e6 / written[0], "read": reading * 1e6 / read}


def _read(repo: Contestant, case: Case, data: Array, numbers: range) -> None:
    group = zarr.open_group(repo.reader(), mode="r")
    for number in numbers:
        array: Any = group[f"array{number}"]
        if case.reads is None:
            assert np.array_equal(np.asarray(array[...]), data)
            continue
        order = np.random.default_rng(1).permutation(array.nchunks)[: case.reads]
        for place in (order * case.chunks[0]).tolist():
            assert array[place] == data[place]


if __name__ == "__main__":
    folder, name, title, count = sys.argv[1:]
    measure(folder, name, title, 16)  # what is loaded on first use
    print(json.dumps(measure(folder, name, title, int(count))))
