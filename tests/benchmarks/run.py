"""Measure icechunk-core against Icechunk and zarr's own stores, and print one table.

    python -m tests.benchmarks.run [--quick] [--rounds N] [--only GROUP ...] [--shapes]
                                   [--million-keys] [--write FILE] [--chart FILE]

Every figure comes from a process of its own; rounds go round all contestants, so that
whatever else the machine does meets all of them. Shown are medians; ``ratio`` is the
median over the rounds of the ratio between Icechunk and ours within a round. All of it
takes about 20 minutes on a quiet machine with two processors.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import evolve

from icechunk_core.clock import SystemClock, datetime_from_us
from tests.benchmarks import chunks, memory, object_store, race, scaling, shapes
from tests.benchmarks.processes import machine, progress
from tests.benchmarks.sizes import FULL, QUICK, Sizes
from tests.benchmarks.table import Heading, Line, render

__all__ = ["GROUPS", "main", "replaced", "report"]

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
GROUPS: dict[str, tuple[str, Callable[[str, Sizes], list[Line]]]] = {
    "chunks": ("Many chunks of 4 KiB", chunks.rows),
    "growth": ("", scaling.rows),
    "race": ("Processes that commit to one branch", race.rows),
    "object-store": ("An S3 server (SeaweedFS), zarr's concurrency at 64", object_store.rows),
    "memory": ("Memory while much is written", memory.rows),
}


def measured(folder: str, sizes: Sizes, names: Sequence[str], *, million_keys: bool) -> list[Line]:
    """The lines of the chosen groups, each under its heading."""
    found: list[Line] = []
    for name in names:
        title, rows = GROUPS[name]
        if title:
            found.append(Heading(title))
        if name == "growth":
            found += scaling.rows(folder, sizes, million_keys=million_keys)
        else:
            found += rows(folder, sizes)
    return found


def report(lines: Sequence[Line], further: Sequence[Line], sizes: Sizes) -> str:
    """The tables as Markdown, under what they were measured with."""
    day = datetime_from_us(SystemClock().now_us()).strftime("%Y-%m-%d")
    texts = [f"{day}, medians of {sizes.rounds} rounds. {machine()}.", render(lines)]
    if further:
        texts += ["Other shapes, about as many chunks:", render(further)]
    return "\n\n".join(texts)


def replaced(page: str, text: str) -> str:
    """A page with another text in its marked section.

    Raises
    ------
    ValueError
        If the page has no such section.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no section between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a first impression: minutes become seconds")
    parser.add_argument("--rounds", type=int, help="how often to measure everything (default 3, quick 1)")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS), help="these groups")
    parser.add_argument("--shapes", action="store_true", help="also a table of arrays of other shapes")
    parser.add_argument(
        "--million-keys", action="store_true", help="also list a million keys, once (Icechunk needs minutes)"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the marked section of a page")
    parser.add_argument(
        "--chart", type=Path, metavar="FILE", help="also draw growth into a PNG file (needs 15 minutes more)"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, sizes: Sizes | None = None) -> None:
    """Measure what the options say, and print or write it."""
    options = parsed(arguments)
    if sizes is None:
        sizes = QUICK if options.quick else FULL
    sizes = evolve(sizes, rounds=options.rounds or sizes.rounds)
    page = options.write.read_text(encoding="utf-8") if options.write else f"{BEGIN}{END}"
    replaced(page, "")  # says now, not in the end, that there is nothing to replace
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        lines = measured(folder, sizes, options.only, million_keys=options.million_keys)
        further = shapes.rows(folder, sizes) if options.shapes else []
        text = report(lines, further, sizes)
        print(text, flush=True)
        if options.write:
            options.write.write_text(replaced(page, text), encoding="utf-8")
        if options.chart:
            progress("growth, for the chart")
            scaling.draw(scaling.growth(folder), options.chart)


if __name__ == "__main__":
    main()
