"""The history of a repository as a picture."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from icechunk_core.clock import datetime_from_us
from icechunk_core.format import repo_info
from icechunk_core.history import History
from icechunk_core.html import page
from icechunk_core.session.plotting import new_axes
from icechunk_core.transaction.graph import render_graph
from icechunk_core.transaction.graph_svg import draw_graph

__all__ = ["AncestryGraph", "history_graph", "line_graph"]


@frozen(repr=False, eq=False)
class AncestryGraph:
    """Snapshots and how they descend from each other, newest first, with the names of branches and tags.

    Prints as text, shows as a drawing in notebooks: of the 150 newest snapshots, where there are more.
    """

    _entries: repo_info.SnapshotOutlines
    _labels: dict[bytes, list[str]]
    _plain: bool = field(default=True)

    def render(self, *, color: bool = False) -> str:
        """The graph as text, with ANSI colours if asked."""
        return render_graph(self._entries, self._labels, color=color)

    def __str__(self) -> str:
        return self.render(color=not self._plain)

    __repr__ = __str__

    def _repr_svg_(self) -> str:
        return draw_graph(self._entries, self._labels, color=not self._plain, most=_MOST_DRAWN)

    def _repr_html_(self) -> str:
        # In the page, and not as a picture beside it, the drawing has the text's colour on every theme.
        count = len(self._entries)
        about = f"{count:,} snapshot{'' if count == 1 else 's'}"
        return page("AncestryGraph", f"<div class='icck-wide'>{self._repr_svg_()}</div>", about=about)

    def plot(self, ax: Any = None) -> Any:
        """How the history grew: snapshots over time, as a plot of matplotlib.

        Parameters
        ----------
        ax
            Axes to draw on; new ones without them.

        Returns
        -------
        matplotlib.axes.Axes
            With the plot.

        Raises
        ------
        InvalidInputError
            If matplotlib is not installed.
        """
        axes = new_axes() if ax is None else ax
        times = sorted(self._entries.times)
        axes.step([datetime_from_us(time) for time in times], range(1, len(times) + 1), where="post")
        axes.set_xlabel("committed")
        axes.set_ylabel("snapshots")
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", rotation=30)
        return axes


_MOST_DRAWN = 150


async def _labels(history: History) -> dict[bytes, list[str]]:
    """Names of branches and tags by snapshot, ``main`` first."""
    branches, tags = await history.refs()
    labels: dict[bytes, list[str]] = {}
    for name in sorted(branches, key=lambda name: (name != "main", name)):
        labels.setdefault(branches[name], []).append(name)
    for name in sorted(tags):
        labels.setdefault(tags[name], []).append(f"tag: {name}")
    return labels


async def history_graph(history: History, *, plain: bool) -> AncestryGraph:
    """Everything that branches reach, and tags too."""
    labels = await _labels(history)
    known = await history.all_outlines()
    row_of: dict[bytes | None, int] = dict(zip(known.ids, range(len(known)), strict=True))
    reached: dict[int, None] = {}
    for tip in reversed(labels):
        row = row_of.get(tip)
        while row is not None and row not in reached:
            reached[row] = None
            row = row_of.get(known.parent_ids[row])
    return AncestryGraph(known.chosen(reached), labels, plain)


async def line_graph(history: History, start: bytes, *, plain: bool) -> AncestryGraph:
    """One snapshot and its ancestors."""
    entries = await history.outlines(start)
    return AncestryGraph(entries, await _labels(history), plain)
