"""The history of a repository: snapshots, their ancestry, differences."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from icechunk_core.drive import blocking, blocking_iterator
from icechunk_core.repository import queries
from icechunk_core.repository.arguments import snapshot_id_bytes
from icechunk_core.repository.part import RepositoryPart
from icechunk_core.repository.values import ManifestFileInfo, SnapshotInfo

if TYPE_CHECKING:
    from icechunk_core.repository.graph import AncestryGraph
    from icechunk_core.repository.updates import Update
    from icechunk_core.transaction.diff import Diff

__all__ = ["HistoryPart"]


class HistoryPart(RepositoryPart):
    """What was committed, when and on top of what."""

    async def lookup_snapshot_async(self, snapshot_id: str) -> SnapshotInfo:
        """When, why and on top of what a snapshot was committed."""
        record = await self._context.history.snapshot_info(snapshot_id_bytes(snapshot_id))
        return SnapshotInfo.from_record(record)

    lookup_snapshot = blocking(lookup_snapshot_async)

    async def list_manifest_files_async(self, snapshot_id: str) -> list[ManifestFileInfo]:
        """The manifest files that a snapshot uses, with their sizes.

        Raises
        ------
        SnapshotNotFoundError
            If there is no such snapshot.
        """
        snapshot = await self._context.assets.snapshot(snapshot_id_bytes(snapshot_id))
        return [ManifestFileInfo.from_record(record) for record in snapshot.manifest_files]

    list_manifest_files = blocking(list_manifest_files_async)

    def async_ancestry(
        self, *, branch: str | None = None, tag: str | None = None, snapshot_id: str | None = None
    ) -> AsyncIterator[SnapshotInfo]:
        """A snapshot and its ancestors, newest first, down to the first one.

        Exactly one of the arguments says where to start.
        """
        queries.check_one_version(branch, tag, snapshot_id)
        return self._ancestry(branch, tag, snapshot_id)

    async def _ancestry(
        self, branch: str | None, tag: str | None, snapshot_id: str | None
    ) -> AsyncIterator[SnapshotInfo]:
        async for block in self._ancestry_blocks(branch, tag, snapshot_id):
            for info in block:
                yield info

    async def _ancestry_blocks(
        self, branch: str | None = None, tag: str | None = None, snapshot_id: str | None = None
    ) -> AsyncIterator[list[SnapshotInfo]]:
        queries.check_one_version(branch, tag, snapshot_id)
        start = await queries.resolve(self._context.history, branch, tag, snapshot_id)
        async for block in self._context.history.lineage(start):
            yield SnapshotInfo.lazily(block)

    ancestry = blocking_iterator(async_ancestry, blocks=_ancestry_blocks)

    async def ancestry_graph_async(
        self,
        *,
        branch: str | None = None,
        tag: str | None = None,
        snapshot_id: str | None = None,
        plain: bool = False,
    ) -> AncestryGraph:
        """The history as a picture: text when printed, a drawing (SVG) in a notebook.

        Parameters
        ----------
        branch, tag, snapshot_id
            At most one: draw only what it descends from. Without any, draw all branches.
        plain
            No colours, for files and logs.

        >>> import icechunk_core
        >>> repo = icechunk_core.Repository.create("memory:")
        >>> print(repo.ancestry_graph(plain=True))
        ● 1CECHNKR (main) Repository initialized
        """
        from icechunk_core.repository.graph import history_graph, line_graph

        history = self._context.history
        if branch is None and tag is None and snapshot_id is None:
            return await history_graph(history, plain=plain)
        start = await queries.resolve(history, branch, tag, snapshot_id)
        return await line_graph(history, start, plain=plain)

    ancestry_graph = blocking(ancestry_graph_async)

    async def ops_log_async(self) -> AsyncIterator[Update]:
        """Everything that was done to the repository, newest first, back to its creation.

        Old entries are in backup files; where these were cleaned up, the log ends. Needs spec 2.

        >>> import icechunk_core
        >>> repo = icechunk_core.Repository.create("memory:")
        >>> repo.create_tag("start", repo.lookup_branch("main"))
        >>> [update.kind for update in repo.ops_log()]
        [UpdateType.TagCreated(name='start'), UpdateType.RepoInitialized()]
        """
        async for page in self._ops_log_pages():
            for update in page:
                yield update

    async def _ops_log_pages(self) -> AsyncIterator[list[Update]]:
        from icechunk_core.repository.updates import Update

        async for page in self._context.history.ops_log_pages():
            yield Update.lazily(page)

    ops_log = blocking_iterator(ops_log_async, blocks=_ops_log_pages)

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
