"""How both implementations grow: long histories, many arrays, many chunks.

    python -m tests.benchmarks.scaling [--quick] [--rounds N] [--only CASE ...] [--chart FILE]

As in `tests.benchmarks.run`, every figure comes from a process of its own, rounds go round the contestants,
and *faster* is the median over the rounds of the ratio within a round. ``--chart`` draws the growth instead.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from tests.benchmarks.processes import has_peer, in_turns, machine, progress, run_worker
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.table import Heading, Line, Row, Samples, render

__all__ = ["CASES", "collect", "draw", "growth", "rows"]

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
)
MILLION_KEYS = Case("listing", (1_000_000,), (), rounds=1)
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


def contestants() -> tuple[str, ...]:
    """Who takes part."""
    return ("ours", "peer") if has_peer() else ("ours",)


def rows(folder: str, sizes: Sizes, *, million_keys: bool = False) -> list[Line]:
    """The cases of the whole table, each under a heading."""
    chosen = {
        "A large manifest": [Case("refs", (sizes.refs,), ())],
        "Listing": [Case("listing", (sizes.keys,), ()), *([MILLION_KEYS] if million_keys else [])],
        # Thousands of commits, and the fastest of many are not needed again.
        "A long history, in memory": [Case("history", sizes.history, (), rounds=1)],
    }
    found: list[Line] = []
    for title, cases in chosen.items():
        found += [Heading(title), *collect(folder, cases, sizes.rounds, judged=sizes.judged)]
    return found


def collect(folder: str, cases: list[Case], rounds: int, *, judged: bool) -> list[Row]:
    """Measure the cases in interleaved rounds."""
    samples: dict[tuple[Case, str], Samples] = {}
    arguments: dict[Case, tuple[object, ...]] = {}
    for case in cases:
        made = case.name == "large"
        arguments[case] = (_measured(folder, "ours", "make", *case.sizes),) if made else case.sizes
    for turn in range(rounds):
        for case, given in arguments.items():
            if turn >= case.rounds:
                continue
            progress(f"{case.name} {case.sizes}, round {turn + 1} of {min(rounds, case.rounds)}")
            for name in in_turns(contestants(), turn):
                for work, figure in _measured(folder, name, case.name, *given).items():
                    samples.setdefault((case, work), {}).setdefault(name, []).append(figure)
    return [_row(case, work, found, judged) for (case, work), found in samples.items()]


def _measured(*arguments: object) -> Any:
    return run_worker("scaling_worker", *arguments)


def _row(case: Case, work: str, found: Samples, judged: bool) -> Row:
    about = {
        "history": "session and commit of an attribute",
        "large": f"{case.sizes[0]:,} snapshots, {case.sizes[-1]:,} arrays: {work}",
        "refs": f"{case.sizes[0]:,} virtual refs: {work}",
        "listing": f"{case.sizes[0]:,} keys: {work}",
    }[case.name]
    goal = GOALS.get((case.name, work)) if judged else None
    if work.endswith(" MB"):
        return Row(f"{about.removesuffix(' MB')} memory above the input", "MB", found, goal)
    if case.name == "history":
        about += f" after {int(work.rpartition(' ')[2]):,}"
    milliseconds = {name: [figure * 1e3 for figure in figures] for name, figures in found.items()}
    return Row(about, "ms", milliseconds, goal)


# --- growth


_CHUNKS = (1_000, 10_000, 100_000, 1_000_000)
_LENGTHS = (100, 300, 1_000, 3_000, 10_000)


def growth(
    folder: str, chunks: tuple[int, ...] = _CHUNKS, lengths: tuple[int, ...] = _LENGTHS
) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """By kind of work and contestant: size and seconds."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}

    def add(work: str, name: str, size: int, figure: float) -> None:
        found.setdefault(work, {}).setdefault(name, []).append((size, figure))

    for name in contestants():
        for size in chunks:
            progress(f"growth: {size:,} chunks, {name}")
            measured = _measured(folder, name, "refs", size)
            for work in ("set and commit", "one changed chunk", "cold open and first chunk"):
                add(work, name, size, measured[work])
            if size <= _MOST_LISTED:
                add("list all keys", name, size, _measured(folder, name, "listing", size)["store.list()"])
        progress(f"growth: history, {name}")
        for work, figure in _measured(folder, name, "history", *lengths).items():
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
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if options.chart:
            small: tuple[tuple[int, ...], ...] = ((1_000, 10_000), (100, 300))
            draw(growth(folder, *(small if options.quick else ())), options.chart)
            return
        cases = [case for case in (*CASES, MILLION_KEYS) if not options.only or case.name in options.only]
        if options.quick:
            cases = [evolve(case, sizes=case.quick) for case in cases if case.quick]
        found = collect(folder, cases, rounds, judged=not options.quick)
    print(f"Medians of {rounds} rounds. {machine()}\n\n{render(found)}")


if __name__ == "__main__":
    main()
