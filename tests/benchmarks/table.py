"""The table of results: a row per kind of work, each side by side."""

from __future__ import annotations

from statistics import median

from attrs import frozen

__all__ = ["Row", "Samples", "render"]

Samples = dict[str, list[float]]
"""Per contestant, one figure of each round."""


@frozen
class Row:
    """One kind of work.

    Attributes
    ----------
    title
        What was done.
    unit
        Of the figures.
    samples
        The figures.
    target
        How many times faster than the peer ours has to be, if that is asked.
    """

    title: str
    unit: str
    samples: Samples
    target: float | None = None

    def middle(self, name: str) -> float | None:
        """The median of a contestant's rounds."""
        figures = self.samples.get(name)
        return median(figures) if figures else None

    def ratio(self) -> float | None:
        """How many times faster than the peer ours is: the median of the rounds' ratios."""
        ours, peer = self.samples.get("ours"), self.samples.get("peer")
        if not ours or not peer:
            return None
        return median([theirs / mine for mine, theirs in zip(ours, peer, strict=True)])

    def cells(self) -> list[str]:
        """The row as text."""
        ratio = self.ratio()
        verdict = ""
        if self.target is not None and ratio is not None:
            verdict = f"≥ {self.target:g} {'PASS' if ratio >= self.target else 'MISS'}"
        figures = [_figure(self.middle(name)) for name in ("ours", "peer", "zarr")]
        return [self.title, self.unit, *figures, "" if ratio is None else f"{ratio:.1f} ×", verdict]


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def render(rows: list[Row]) -> str:
    """A Markdown table."""
    header = ["work", "unit", "ours", "icechunk", "zarr's store", "faster", "goal"]
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
