"""The history of a repository as a picture in text."""

from __future__ import annotations

from attrs import field, frozen

from icechunk_core.format import repo_info
from icechunk_core.history import History
from icechunk_core.transaction.graph import render_graph

__all__ = ["AncestryGraph", "history_graph"]


@frozen
class AncestryGraph:
    """Branches, tags and the snapshots that they reach. Prints as a graph, newest snapshot first.

    >>> import icechunk_core
    >>> repo = icechunk_core.Repository.create("memory:")
    >>> print(repo.ancestry_graph())
    ● 1CECHNKR (main) Repository initialized
    """

    _entries: tuple[repo_info.SnapshotInfo, ...] = field(repr=False)
    _labels: dict[bytes, list[str]] = field(repr=False)

    def render(self, *, color: bool = False) -> str:
        """The graph as text, with ANSI colours if asked."""
        return render_graph(self._entries, self._labels, color=color)

    def __str__(self) -> str:
        return self.render()

    def __repr__(self) -> str:
        return self.render()


async def history_graph(history: History) -> AncestryGraph:
    """Everything that branches and tags reach."""
    branches, tags = await history.branches(), await history.tags()
    labels: dict[bytes, list[str]] = {}
    for name in sorted(branches, key=lambda name: (name != "main", name)):
        labels.setdefault(branches[name], []).append(name)
    for name in sorted(tags):
        labels.setdefault(tags[name], []).append(f"tag: {name}")
    known = {info.id: info for info in await history.all_snapshots()}
    reached: dict[bytes, repo_info.SnapshotInfo] = {}
    pending = list(labels)
    while pending:
        info = known.get(pending.pop())
        if info is None or info.id in reached:
            continue
        reached[info.id] = info
        if info.parent_id is not None:
            pending.append(info.parent_id)
    return AncestryGraph(tuple(reached.values()), labels)
