"""Steps about branches, tags and versions."""

from __future__ import annotations

from typing import Any

from tests.differential.sides import Failure, Pair, Side, errors_may_differ
from tests.differential.views import id_of, refs_of, session_state, time_of, version

__all__ = ["RefsPart"]


class RefsPart:
    """Part of `Program`."""

    pair: Pair
    # Whether garbage has been collected.
    collected: bool = False

    def set_ref(self, action: str, name: str, snapshot: int) -> None:
        """Create or reset a branch, or create a tag."""
        self.pair.call(lambda side: getattr(side.repo, action)(name, id_of(side, snapshot)))
        self.look_at_refs()

    def delete_ref(self, action: str, name: str) -> None:
        """Delete a branch or a tag."""
        self.pair.call(lambda side: getattr(side.repo, action)(name))
        self.look_at_refs()

    def reset_branch_from(self, snapshot: int, expected: int) -> None:
        """Reset a branch that must be where one thinks it is."""
        self.pair.call(
            lambda side: side.repo.reset_branch(
                "main", id_of(side, snapshot), from_snapshot_id=id_of(side, expected)
            )
        )
        self.look_at_refs()

    def look_at_refs(self) -> None:
        """Branches, tags and the history of main."""
        self.pair.call(lambda side: [refs_of(side.repo), list(side.repo.ancestry(branch="main"))])

    def look_at_snapshot(self, snapshot: int) -> None:
        """A version, its history and its contents."""
        self.pair.call(lambda side: side.repo.lookup_snapshot(id_of(side, snapshot)))
        self.pair.call(lambda side: list(side.repo.ancestry(snapshot_id=id_of(side, snapshot))))
        self.pair.call(lambda side: version(side.repo, id_of(side, snapshot)), self._may_be_collected)
        self.pair.call(
            lambda side: sum(f.num_chunk_refs for f in side.repo.list_manifest_files(id_of(side, snapshot))),
            self._may_be_collected,
        )

    def _may_be_collected(self, ours: Any, theirs: Any) -> bool:
        """Whether the peer's garbage collection may have taken manifests that ours has kept.

        Those of snapshots that are in no history, and too young to be deleted themselves.
        """
        return errors_may_differ(ours, theirs) or (
            self.collected
            and not isinstance(ours, Failure)
            and isinstance(theirs, Failure)
            and theirs.kind == "object-not-found"
        )

    def diff(self, start: int, end: int) -> None:
        """The difference of two versions, in any order."""
        self.pair.call(
            lambda side: side.repo.diff(from_snapshot_id=id_of(side, start), to_snapshot_id=id_of(side, end))
        )

    def diff_of_refs(self, start: str, end: str) -> None:
        """The difference of what a branch and a branch or tag point to."""
        to = {"to_tag" if end.startswith("v") else "to_branch": end}
        self.pair.call(lambda side: side.repo.diff(from_branch=start, **to))

    def look_at_the_past(self, branch: str, snapshot: int, microseconds: int) -> None:
        """A branch as it was at about the time of a snapshot."""

        def open_past(side: Side) -> Any:
            session = side.repo.readonly_session(branch, as_of=time_of(side, snapshot, microseconds))
            return session_state(session, side)

        self.pair.call(open_past)
