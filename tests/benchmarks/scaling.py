"""How both implementations grow: long histories, many arrays, many chunks.

    python -m tests.benchmarks.scaling [--quick] [--rounds N] [--only CASE ...] [--chart FILE]

As in `tests.benchmarks.run`, every figure comes from a process of its own, rounds go round the contestants,
and *faster* is the median over the rounds of the ratio within a round. ``--chart`` draws the growth instead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.benchmarks.run import ROOT, machine
from tests.benchmarks.table import Row, Samples, render

CONTESTANTS = ("ours", "peer")
_MOST_LISTED = 100_000  # Icechunk takes more than a minute for ten times as many


@frozen
class Case:
    """What one process measures.

    Attributes
    ----------
    name, sizes
        Case of the worker and its arguments.
    quick
        Arguments for a first impression.
    rounds
        At most so many rounds, for what takes minutes.
    """

    name: str
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    rounds: int = 99


CASES = (
    Case("history", (100, 1_000, 4_000, 8_000), (100, 1_000)),
    Case("large", (10_000, 5_000), (300, 200)),
    Case("refs", (1_000_000,), (20_000,)),
    Case("listing", (10_000,), (10_000,)),
    Case("listing", (1_000_000,), (), rounds=1),
)
# How many times faster than Icechunk this has to be; for memory: how many times less.
GOALS = {
    ("history", "commit at 100"): 1.0,
    ("history", "commit at 4000"): 2.0,
    ("history", "commit at 8000"): 2.0,
    **{
        ("large", work): 0.5
        for work in ("open", "list_dir", "list_dir again", "commit", "ancestry", "diff of neighbours")
    },
    ("refs", "set and commit"): 4.0,
    ("refs", "peak MB"): 3.0,
    ("refs", "one changed chunk"): 5.0,
    ("refs", "one changed chunk, cold"): 5.0,
    ("refs", "cold open and first chunk"): 2.0,
    ("listing", "store.list()"): 30.0,
}


def run_worker(folder: str, *arguments: object) -> Any:
    """What a worker printed."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.scaling_worker", folder]
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{arguments} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def collect(folder: str, cases: list[Case], rounds: int, *, quick: bool) -> list[Row]:
    """Measure the cases in interleaved rounds."""
    samples: dict[tuple[Case, str], Samples] = {}
    arguments: dict[Case, tuple[object, ...]] = {}
    for case in cases:
        sizes = case.quick if quick else case.sizes
        if sizes:
            arguments[case] = (run_worker(folder, "ours", "make", *sizes),) if case.name == "large" else sizes
    for turn in range(rounds):
        for case, given in arguments.items():
            if turn >= case.rounds:
                continue
            print(f"round {turn + 1} of {rounds}: {case.name} ...", file=sys.stderr, flush=True)
            for name in CONTESTANTS[turn % 2 :] + CONTESTANTS[: turn % 2]:
                for work, figure in run_worker(folder, name, case.name, *given).items():
                    samples.setdefault((case, work), {}).setdefault(name, []).append(figure)
    return [_row(case, work, found, quick) for (case, work), found in samples.items()]


def _row(case: Case, work: str, found: Samples, quick: bool) -> Row:
    sizes = case.quick if quick else case.sizes
    about = {
        "history": "history: ",
        "large": f"{sizes[0]:,} snapshots, {sizes[-1]:,} arrays: ",
        "refs": f"{sizes[0]:,} virtual refs: ",
        "listing": f"{sizes[0]:,} keys: ",
    }[case.name]
    goal = None if quick else GOALS.get((case.name, work))
    if work.endswith(" MB"):
        return Row(f"{about}{work.removesuffix(' MB')} memory above the input", "MB", found, goal)
    milliseconds = {name: [figure * 1e3 for figure in figures] for name, figures in found.items()}
    return Row(about + work, "ms", milliseconds, goal)


# --- growth


def growth(folder: str, *, quick: bool) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """By kind of work and contestant: size and seconds."""
    chunks = (1_000, 10_000) if quick else (1_000, 10_000, 100_000, 1_000_000)
    lengths = (100, 300) if quick else (100, 300, 1_000, 3_000, 10_000)
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}

    def add(work: str, name: str, size: int, figure: float) -> None:
        found.setdefault(work, {}).setdefault(name, []).append((size, figure))

    for name in CONTESTANTS:
        for size in chunks:
            print(f"growth: {size:,} chunks, {name} ...", file=sys.stderr, flush=True)
            measured = run_worker(folder, name, "refs", size)
            for work in ("set and commit", "one changed chunk", "cold open and first chunk"):
                add(work, name, size, measured[work])
            if size <= _MOST_LISTED:
                add("list all keys", name, size, run_worker(folder, name, "listing", size)["store.list()"])
        print(f"growth: history, {name} ...", file=sys.stderr, flush=True)
        for work, figure in run_worker(folder, name, "history", *lengths).items():
            add("commit after so many commits", name, int(work.rpartition(" ")[2]), figure)
    return found


def draw(found: dict[str, dict[str, list[tuple[int, float]]]], file: Path) -> None:
    """One panel for each kind of work, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(3.2 * len(found), 3.4), layout="constrained")
    styles = {"ours": ("icechunk-core", "#1f6feb", "o"), "peer": ("icechunk", "#8b949e", "s")}
    for axis, (work, lines) in zip(axes, found.items(), strict=True):
        for name, points in lines.items():
            label, color, marker = styles[name]
            axis.loglog(
                [size for size, _ in points],
                [seconds * 1e3 for _, seconds in points],
                marker=marker,
                color=color,
                label=label,
            )
        axis.set_title(work, fontsize=10)
        axis.set_xlabel("commits" if "commits" in work else "chunks")
        axis.grid(True, which="major", alpha=0.3)
    axes[0].set_ylabel("milliseconds")
    axes[0].legend(frameon=False)
    figure.savefig(file, dpi=120)


def main() -> None:
    """Parse the options, measure, print or draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, for a first impression")
    parser.add_argument("--rounds", type=int, help="how often to measure everything (default 3, quick 1)")
    parser.add_argument(
        "--only", nargs="+", choices=sorted({case.name for case in CASES}), help="these cases"
    )
    parser.add_argument("--chart", type=Path, help="draw the growth into this PNG file instead")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 3)
    cases = [case for case in CASES if not options.only or case.name in options.only]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if options.chart:
            draw(growth(folder, quick=options.quick), options.chart)
            return
        rows = collect(folder, cases, rounds, quick=options.quick)
    print(f"Medians of {rounds} rounds. {machine()}\n\n{render(rows)}")


if __name__ == "__main__":
    main()
