"""Who decides what happens with a conflict: `ConflictSolver` and the two that come with the library."""

from __future__ import annotations

from collections.abc import Mapping

from icechunk_core.transaction.conflicts import Conflict, ConflictType, VersionSelection

__all__ = ["BasicConflictSolver", "ConflictDetector", "ConflictSolver", "VersionSelection"]


class ConflictSolver:
    """Base of conflict solvers. Subclass it and override `select`.

    >>> class TheirChunks(ConflictSolver):
    ...     def select(self, conflict):
    ...         same_chunk = conflict.conflict_type is ConflictType.ChunkDoubleUpdate
    ...         return VersionSelection.UseTheirs if same_chunk else VersionSelection.Fail
    """

    def select(self, conflict: Conflict) -> VersionSelection:
        """Whose version wins. A choice that the kind of conflict does not offer counts as `Fail`."""
        return VersionSelection.Fail

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ConflictDetector(ConflictSolver):
    """Solves nothing: a rebase with it succeeds only without conflicts, and otherwise lists them."""


class BasicConflictSolver(ConflictSolver):
    """Solves conflicts about single chunks and about deleted nodes; all others fail.

    Parameters
    ----------
    on_chunk_conflict
        Whose chunk to keep where both wrote the same one.
    fail_on_delete_of_updated_array, fail_on_delete_of_updated_group
        Whether to fail when the session deleted what the other commit changed; otherwise it stays deleted.
    """

    def __init__(
        self,
        *,
        on_chunk_conflict: VersionSelection = VersionSelection.UseOurs,
        fail_on_delete_of_updated_array: bool = False,
        fail_on_delete_of_updated_group: bool = False,
    ) -> None:
        self.on_chunk_conflict = VersionSelection(on_chunk_conflict)
        self.fail_on_delete_of_updated_array = fail_on_delete_of_updated_array
        self.fail_on_delete_of_updated_group = fail_on_delete_of_updated_group

    def select(self, conflict: Conflict) -> VersionSelection:
        return self._policy().get(conflict.conflict_type, VersionSelection.Fail)

    def _policy(self) -> Mapping[ConflictType, VersionSelection]:
        delete = {True: VersionSelection.Fail, False: VersionSelection.UseOurs}
        return {
            ConflictType.ChunkDoubleUpdate: self.on_chunk_conflict,
            ConflictType.DeleteOfUpdatedArray: delete[self.fail_on_delete_of_updated_array],
            ConflictType.DeleteOfUpdatedGroup: delete[self.fail_on_delete_of_updated_group],
        }

    def __repr__(self) -> str:
        return (
            f"BasicConflictSolver(on_chunk_conflict={self.on_chunk_conflict!r}, "
            f"fail_on_delete_of_updated_array={self.fail_on_delete_of_updated_array}, "
            f"fail_on_delete_of_updated_group={self.fail_on_delete_of_updated_group})"
        )
