"""What sessions and repositories ask of a repository's refs and history."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Self

from icechunk_core.assets.manager import AssetManager
from icechunk_core.contract import Storage
from icechunk_core.format.repo_info import (
    RepoInfo,
    SnapshotInfo,
    SnapshotOutlines,
    Update,
    UpdateKind,
    UpdateLog,
)
from icechunk_core.format.snapshot import Snapshot

__all__ = ["Decide", "History", "OnSynced", "WriteFiles"]

OnSynced = Callable[[list[str]], None]
WriteFiles = Callable[[], Coroutine[Any, Any, list[str]]]
"""Writes files and gives their keys, or those of all files that are not durable yet."""
Decide = Callable[[RepoInfo], tuple[RepoInfo, UpdateKind]]
"""Makes the new content, and the entry for the log, of the content just read; or raises why not."""


class History(ABC):
    """Refs and history. Names are text, snapshot ids are 12 bytes.

    Every method that writes either succeeds, or raises and has changed nothing, or raises
    `OutcomeUnknown`.
    """

    spec_version: int
    _assets: AssetManager
    _storage: Storage

    def observed_by(self, assets: AssetManager) -> Self:
        """The same history, through assets that are observed; what was read already stays known."""
        seen = object.__new__(type(self))
        seen.__dict__.update(self.__dict__)
        seen._assets, seen._storage = assets, assets.storage
        return seen

    # --- reading

    @abstractmethod
    async def branches(self) -> dict[str, bytes]:
        """All branches and where they point."""

    @abstractmethod
    async def tags(self) -> dict[str, bytes]:
        """All live tags and where they point."""

    @abstractmethod
    async def branch(self, name: str) -> bytes:
        """Where a branch points; `RefNotFoundError` if there is none."""

    async def writable_branch(self, name: str) -> bytes:
        """As `branch`, after `check_writable`; both with one look where one shows them."""
        await self.check_writable()
        return await self.branch(name)

    @abstractmethod
    def branch_object(self, name: str) -> str:
        """Key of the object that a commit to the branch replaces."""

    async def branch_ancestry(self, name: str) -> AsyncIterator[SnapshotInfo]:
        """The `ancestry` of where a branch points, with one look where one shows both."""
        async for info in self.ancestry(await self.branch(name)):
            yield info

    @abstractmethod
    async def tag(self, name: str) -> bytes:
        """Where a tag points; `RefNotFoundError` if there is none or it was deleted."""

    @abstractmethod
    async def snapshot_info(self, snapshot_id: bytes) -> SnapshotInfo:
        """A snapshot's entry in the history; `SnapshotNotFoundError` if it is not part of it."""

    @abstractmethod
    def ancestry(self, snapshot_id: bytes) -> AsyncIterator[SnapshotInfo]:
        """The snapshot, its parent, and so on to the root."""

    async def lineage(self, snapshot_id: bytes) -> AsyncIterator[Sequence[SnapshotInfo]]:
        """As `ancestry`, in blocks whose entries may be decoded when they are looked at."""
        async for info in self.ancestry(snapshot_id):
            yield [info]

    async def outlines(self, snapshot_id: bytes) -> SnapshotOutlines:
        """As `ancestry`, without the metadata, and all at once."""
        return SnapshotOutlines.of([info async for info in self.ancestry(snapshot_id)])

    async def all_outlines(self) -> SnapshotOutlines:
        """As `all_snapshots`, without the metadata."""
        return SnapshotOutlines.of(await self.all_snapshots())

    async def refs(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """`branches` and `tags`."""
        return await self.branches(), await self.tags()

    @abstractmethod
    async def all_snapshots(self) -> list[SnapshotInfo]:
        """Every snapshot that history knows (spec 1: those reachable from refs)."""

    # --- commits

    @abstractmethod
    async def publish_commit(
        self, branch: str, base_id: bytes, new: SnapshotInfo, write: WriteFiles, on_synced: OnSynced
    ) -> None:
        """Move ``branch`` from ``base_id`` to ``new``, after ``write`` has written its files.

        They are written beside what else can be done before the branch moves, and made durable before.

        Raises
        ------
        ConflictError
            If the branch points elsewhere and ``new`` is not in its history.
        """

    @abstractmethod
    async def publish_amend(
        self, branch: str, base_id: bytes, new: SnapshotInfo, write: WriteFiles, on_synced: OnSynced
    ) -> None:
        """Replace the tip ``base_id`` by ``new``."""

    @abstractmethod
    async def publish_detached(self, new: SnapshotInfo, write: WriteFiles, on_synced: OnSynced) -> None:
        """Record a snapshot that no ref points to."""

    # --- refs

    @abstractmethod
    async def create_branch(self, name: str, snapshot_id: bytes) -> None:
        """Create a branch."""

    @abstractmethod
    async def reset_branch(self, name: str, snapshot_id: bytes, from_id: bytes | None) -> None:
        """Point a branch elsewhere, if ``from_id`` is given only from there."""

    @abstractmethod
    async def delete_branch(self, name: str) -> None:
        """Delete a branch; never ``main``."""

    @abstractmethod
    async def create_tag(self, name: str, snapshot_id: bytes) -> None:
        """Create a tag; names of deleted tags cannot be used again."""

    @abstractmethod
    async def delete_tag(self, name: str) -> None:
        """Delete a tag for good."""

    # --- what only spec 2 has; in spec 1 these raise `FormatError`, ``unsupported-spec-version``

    @abstractmethod
    async def info(self) -> RepoInfo:
        """The whole repo info: metadata, status, feature flags and so on."""

    @abstractmethod
    async def root(self) -> tuple[bytes, RepoInfo]:
        """The repo object as it is stored, and its content."""

    @abstractmethod
    async def update(self, decide: Decide) -> RepoInfo:
        """Replace the repo info by what ``decide`` makes of the current one."""

    @abstractmethod
    def ops_log_pages(self) -> AsyncIterator[UpdateLog]:
        """Every change, newest first, in pages that are decoded where they are looked at."""

    async def ops_log(self) -> AsyncIterator[Update]:
        """Every change of the repository, newest first."""
        async for page in self.ops_log_pages():
            for update in page:
                yield update

    # --- configuration and sessions

    @abstractmethod
    async def stored_config(self) -> bytes | None:
        """The stored configuration document: FlexBuffers in spec 2, YAML in spec 1."""

    @abstractmethod
    async def save_config(self, document: bytes) -> None:
        """Store a configuration document."""

    @abstractmethod
    async def check_writable(self) -> None:
        """Raise `ReadOnlyError` if the repository's status forbids writing."""

    @abstractmethod
    def info_of(self, snapshot: Snapshot, parent_id: bytes | None) -> SnapshotInfo:
        """The history entry of a snapshot that is about to be published."""
