"""The table of results: a row per kind of work, each side by side."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Protocol

from attrs import frozen

__all__ = ["Heading", "Line", "Row", "Samples", "Words", "render"]

Samples = dict[str, list[float]]
"""Per contestant, one figure of each round."""


class Line(Protocol):
    """A line of the table."""

    def cells(self) -> list[str]:
        """Its cells as text."""
        ...


@frozen
class Row:
    """One kind of work, measured.

    Attributes
    ----------
    title
        What was done.
    unit
        Of the figures; the smaller, the better.
    samples
        The figures.
    target
        How many times better than the peer ours has to be, if that is asked.
    floor
        How many times zarr's figure ours may be.
    either
        One of these goals is enough.
    most
        What ours may be at most.
    """

    title: str
    unit: str
    samples: Samples
    target: float | None = None
    floor: float | None = None
    either: bool = False
    most: float | None = None

    def middle(self, name: str) -> float | None:
        """The median of a contestant's rounds."""
        figures = self.samples.get(name)
        return median(figures) if figures else None

    def ratio(self, better: str = "ours", worse: str = "peer") -> float | None:
        """How many times the one's figure the other's is: the median of the rounds' ratios."""
        ours, peer = self.samples.get(better), self.samples.get(worse)
        if not ours or not peer:
            return None
        return median([theirs / mine for mine, theirs in zip(ours, peer, strict=True)])

    def goals(self) -> list[tuple[str, bool]]:
        """What is asked, and whether it is reached."""
        found = []
        ratio, above = self.ratio(), self.ratio("zarr", "ours")
        if self.target is not None and ratio is not None:
            found.append((f"≥ {self.target:g} ×", ratio >= self.target))
        if self.floor is not None and above is not None:
            found.append((f"≤ {self.floor:g} × zarr's", above <= self.floor))
        middle = self.middle("ours")
        if self.most is not None and middle is not None:
            found.append((f"≤ {self.most:g}", middle <= self.most))
        return found

    def verdict(self) -> str:
        """The goals and how they were met."""
        goals = self.goals()
        if self.either and goals:
            return " or ".join(text for text, _ in goals) + _passed(any(met for _, met in goals))
        return ", ".join(text + _passed(met) for text, met in goals)

    def cells(self) -> list[str]:
        """The row as text."""
        ratio = self.ratio()
        figures = [_figure(self.middle(name)) for name in ("ours", "peer", "zarr")]
        return [self.title, self.unit, *figures, "" if ratio is None else f"{ratio:.1f} ×", self.verdict()]


@frozen
class Words:
    """One kind of work whose result is no figure."""

    title: str
    ours: str
    peer: str
    goal: str
    met: bool

    def cells(self) -> list[str]:
        """The row as text."""
        return [self.title, "", self.ours, self.peer, "", "", self.goal + _passed(self.met)]


@frozen
class Heading:
    """What the rows below have in common."""

    title: str

    def cells(self) -> list[str]:
        """The row as text."""
        return [f"**{self.title}**", "", "", "", "", "", ""]


def _passed(met: bool) -> str:
    return " PASS" if met else " MISS"


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def render(rows: Sequence[Line]) -> str:
    """A Markdown table."""
    header = ["work", "unit", "ours", "icechunk", "zarr's, raw", "ratio", "goal"]
    cells = [header, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]

    def line(texts: list[str]) -> str:
        padded = [
            text.rjust(width) if 2 <= column <= 5 else text.ljust(width)
            for column, (text, width) in enumerate(zip(texts, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * (width - 1) + (":" if 2 <= column <= 5 else "-") for column, width in enumerate(widths)]
    return "\n".join([line(header), line(rule), *(line(row) for row in cells[1:])])
