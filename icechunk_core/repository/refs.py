"""Branches and tags of a repository."""

from __future__ import annotations

from icechunk_core.drive import blocking
from icechunk_core.format import base32
from icechunk_core.repository.arguments import ref_name, snapshot_id_bytes
from icechunk_core.repository.part import RepositoryPart

__all__ = ["RefsPart"]

_TAG = "the name of a tag"


class RefsPart(RepositoryPart):
    """Branches and tags: names for snapshots."""

    async def list_branches_async(self) -> set[str]:
        """Names of all branches."""
        return set(await self._context.history.branches())

    list_branches = blocking(list_branches_async)

    async def lookup_branch_async(self, branch: str) -> str:
        """Id of the snapshot that a branch points to; `RefNotFoundError` if there is no such branch."""
        return base32.encode(await self._context.history.branch(ref_name(branch)))

    lookup_branch = blocking(lookup_branch_async)

    async def create_branch_async(self, branch: str, snapshot_id: str) -> None:
        """Create a branch at a snapshot.

        Raises
        ------
        AlreadyExistsError
            If the name is taken (`ConflictError` in spec 1).
        SnapshotNotFoundError
            If there is no such snapshot.
        """
        await self._context.history.create_branch(ref_name(branch), snapshot_id_bytes(snapshot_id))

    create_branch = blocking(create_branch_async)

    async def reset_branch_async(
        self, branch: str, snapshot_id: str, *, from_snapshot_id: str | None = None
    ) -> None:
        """Point a branch to another snapshot; its later commits may become unreachable.

        Parameters
        ----------
        from_snapshot_id
            Only if the branch points there now; else `ConflictError`.
        """
        expected = None if from_snapshot_id is None else snapshot_id_bytes(from_snapshot_id)
        await self._context.history.reset_branch(ref_name(branch), snapshot_id_bytes(snapshot_id), expected)

    reset_branch = blocking(reset_branch_async)

    async def delete_branch_async(self, branch: str) -> None:
        """Delete a branch (never ``main``)."""
        await self._context.history.delete_branch(ref_name(branch))

    delete_branch = blocking(delete_branch_async)

    async def list_tags_async(self) -> set[str]:
        """Names of all tags."""
        return set(await self._context.history.tags())

    list_tags = blocking(list_tags_async)

    async def lookup_tag_async(self, tag: str) -> str:
        """Id of the snapshot that a tag points to; `RefNotFoundError` if there is no such tag."""
        return base32.encode(await self._context.history.tag(ref_name(tag, _TAG)))

    lookup_tag = blocking(lookup_tag_async)

    async def create_tag_async(self, tag: str, snapshot_id: str) -> None:
        """Give a snapshot a name for good.

        Raises
        ------
        AlreadyExistsError
            If the name is, or was ever, used for a tag.
        """
        await self._context.history.create_tag(ref_name(tag, _TAG), snapshot_id_bytes(snapshot_id))

    create_tag = blocking(create_tag_async)

    async def delete_tag_async(self, tag: str) -> None:
        """Delete a tag; its name cannot be used again."""
        await self._context.history.delete_tag(ref_name(tag, _TAG))

    delete_tag = blocking(delete_tag_async)
