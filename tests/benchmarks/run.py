"""Measure icechunk-core against Icechunk and zarr's own stores, and print one table.

    python -m tests.benchmarks.run [--quick] [--rounds N] [--no-race] [--manifests]

Every figure comes from a process of its own; rounds go round all contestants, so that
whatever else the machine does meets all of them. Shown are medians; ``faster`` is the
median over the rounds of the ratio within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from attrs import frozen

from tests.benchmarks.contestants import CONTESTANTS
from tests.benchmarks.race import Outcome, race
from tests.benchmarks.table import Row, Samples, render

ROOT = Path(__file__).parents[2]


@frozen
class Setting:
    """Where and how the array is stored; which contestants take part."""

    place: str
    codec: str = "none"
    contestants: tuple[str, ...] = CONTESTANTS

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

# How many times faster than Icechunk this has to be, with its durability.
TARGETS = {
    ("get", "memory"): 10.0,
    ("get", "filesystem"): 10.0,
    ("write", "filesystem, synced"): 2.5,
    ("write, fused", "filesystem, synced"): 6.5,
    ("read", "filesystem"): 2.3,
    ("read, fused", "filesystem"): 5.5,
}
WORK = {
    "get": "`store.get`, one by one",
    "write": "write and commit",
    "write, fused": "write and commit, fused pipeline",
    "commit": "commit alone",
    "read": "read",
    "read, fused": "read, fused pipeline",
}


def measure(folder: str, setting: Setting, name: str, chunks: int, gets: int) -> dict[str, float]:
    """The figures of one process."""
    arguments = [folder, name, setting.place, setting.codec, str(chunks), str(gets)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.worker", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name} on {setting.title} failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def collect(folder: str, rounds: int, chunks: int, gets: int, present: tuple[str, ...]) -> list[Row]:
    """Measure everything in interleaved rounds."""
    samples: dict[tuple[Setting, str], Samples] = {}
    for turn in range(rounds):
        print(f"round {turn + 1} of {rounds} ...", file=sys.stderr, flush=True)
        for setting in SETTINGS:
            names = [name for name in setting.contestants if name in present]
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                for work, figure in measure(folder, setting, name, chunks, gets).items():
                    samples.setdefault((setting, work), {}).setdefault(name, []).append(figure)
    rows = []
    for work, title in WORK.items():
        for setting in SETTINGS:
            found = samples.get((setting, work))
            if found is None or (work == "commit" and not found.pop("zarr", True)):
                continue
            unit = "ms" if work == "commit" else "µs/chunk"
            target: float | None = TARGETS.get((work, setting.title))
            rows.append(Row(f"{title}: {setting.title}", unit, found, target))
    return rows


def races(rounds: int, present: tuple[str, ...]) -> str:
    """The race between processes, as text."""
    lines = []
    for name in ("ours", "peer"):
        if name in present:
            print(f"8 processes, {name} ...", file=sys.stderr, flush=True)
            lines.append(_race_line(name, [race(name, 10) for _ in range(rounds)]))
    return "\n".join(
        [
            "| 8 processes × 10 commits to one directory | acknowledged | present afterwards | seconds | |",
            "|---|---:|---:|---:|---|",
            *lines,
        ]
    )


def _race_line(name: str, outcomes: list[Outcome]) -> str:
    title = "icechunk-core" if name == "ours" else "icechunk"
    acknowledged = sorted({outcome.acknowledged for outcome in outcomes})
    present = sorted({outcome.present for outcome in outcomes})
    lost = any(outcome.present < outcome.acknowledged for outcome in outcomes)
    seconds = median([outcome.seconds for outcome in outcomes])
    verdict = ("MISS" if lost else "PASS") if name == "ours" else ""
    return f"| {title} | {_span(acknowledged)} | {_span(present)} | {seconds:.1f} | {verdict} |"


def _span(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def machine() -> str:
    """Where this was measured."""
    versions = ", ".join(f"{package} {_version(package)}" for package in ("icechunk", "zarr", "numpy"))
    return (
        f"Python {platform.python_version()}, {versions}; {os.cpu_count()} processors "
        f"({platform.machine()}), {platform.system()} {platform.release()}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer chunks and rounds: minutes become seconds"
    )
    parser.add_argument("--rounds", type=int, help="how often to measure everything (default 5)")
    parser.add_argument("--no-race", action="store_true", help="leave out the processes that commit at once")
    parser.add_argument("--manifests", action="store_true", help="also manifests with a million refs")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    chunks, gets = (1_024, 300) if options.quick else (10_000, 2_000)
    present = CONTESTANTS if _version("icechunk").startswith("2.") else ("ours", "zarr")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows = collect(folder, rounds, chunks, gets, present)
    print(
        f"{round(chunks**0.5) ** 2:,} chunks of 4 KiB (float32, 32 × 32 values), medians of {rounds} rounds"
    )
    print(f"{machine()}\n\n{render(rows)}")
    if not options.no_race:
        print(f"\n{races(1 if options.quick else 3, present)}")
    if options.manifests:
        print(flush=True)
        subprocess.run([sys.executable, "-m", "tests.benchmarks.bench_manifest"], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
