"""The history of a repository: snapshots, their ancestry, differences."""

from __future__ import annotations

from collections.abc import AsyncIterator

from icechunk_core.drive import blocking, blocking_iterator
from icechunk_core.format import base32
from icechunk_core.repository import queries
from icechunk_core.repository.graph import AncestryGraph, history_graph
from icechunk_core.repository.part import RepositoryPart
from icechunk_core.repository.values import SnapshotInfo
from icechunk_core.transaction.diff import Diff

__all__ = ["HistoryPart"]


class HistoryPart(RepositoryPart):
    """What was committed, when and on top of what."""

    async def lookup_snapshot_async(self, snapshot_id: str) -> SnapshotInfo:
        """When, why and on top of what a snapshot was committed."""
        record = await self._context.history.snapshot_info(base32.decode(snapshot_id))
        return SnapshotInfo.from_record(record)

    lookup_snapshot = blocking(lookup_snapshot_async)

    async def async_ancestry(
        self, *, branch: str | None = None, tag: str | None = None, snapshot_id: str | None = None
    ) -> AsyncIterator[SnapshotInfo]:
        """A snapshot and its ancestors, newest first, down to the first one.

        Exactly one of the arguments says where to start.
        """
        start = await queries.resolve(self._context.history, branch, tag, snapshot_id)
        async for record in self._context.history.ancestry(start):
            yield SnapshotInfo.from_record(record)

    ancestry = blocking_iterator(async_ancestry)

    async def ancestry_graph_async(self) -> AncestryGraph:
        """All branches and tags as one graph: text in a terminal."""
        return await history_graph(self._context.history)

    ancestry_graph = blocking(ancestry_graph_async)

    async def diff_async(
        self,
        *,
        from_branch: str | None = None,
        from_tag: str | None = None,
        from_snapshot_id: str | None = None,
        to_branch: str | None = None,
        to_tag: str | None = None,
        to_snapshot_id: str | None = None,
    ) -> Diff:
        """What was done between two versions, the first of which is an ancestor of the second.

        Raises
        ------
        InvalidInputError
            If it is not.
        """
        history = self._context.history
        start = await queries.resolve(history, from_branch, from_tag, from_snapshot_id)
        end = await queries.resolve(history, to_branch, to_tag, to_snapshot_id)
        return await queries.diff(self._context, start, end)

    diff = blocking(diff_async)
