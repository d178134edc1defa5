"""Steps about sessions: changes, commits, conflicts, forks."""

from __future__ import annotations

import pickle
from typing import Any

from tests.differential import actions
from tests.differential.accepted import (
    has_moved_nodes,
    has_new_nodes,
    has_remade_nodes,
    is_accepted_of_moves,
    is_accepted_of_remade_nodes,
    is_accepted_when_stranded,
    stranded,
)
from tests.differential.refs_part import RefsPart
from tests.differential.sides import Failure, Side, kinds_of
from tests.differential.views import session_properties, session_state

__all__ = ["SessionsPart"]


class SessionsPart(RefsPart):
    """Part of `Program`."""

    number: int = 0
    # Whether the peer left more behind: see `accepted.is_accepted_of_garbage`.
    leftovers: bool = False

    def has(self, slot: int) -> bool:
        """Whether there is a session of that number."""
        return slot in self.pair.ours.sessions

    def open_session(self, slot: int, branch: str, mode: str) -> None:
        """A session that changes chunks and metadata, or one that moves nodes."""

        def begin(side: Side) -> str:
            side.sessions[slot] = getattr(side.repo, mode)(branch)
            side.forks.pop(slot, None)
            return str(side.sessions[slot].snapshot_id)

        self.pair.call(begin)

    def change(self, slot: int, changes: list[tuple[Any, ...]]) -> None:
        """Change something and leave it uncommitted."""
        if not self.has(slot):
            return
        for name, *arguments in changes:
            self.pair.call(lambda side: actions.apply(side, side.sessions[slot], name, *arguments))  # noqa: B023
        self.look(slot)

    def commit(
        self, slot: int, solver: str | None, metadata: Any, allow_empty: bool, reopen: str | None
    ) -> None:
        """Commit, with rebasing or not."""
        if not self.has(slot) or (solver and self.rebase_with_care(slot, solver)):
            return
        message = self.message()
        self.end(
            slot,
            lambda side: side.sessions[slot].commit(
                message, metadata, rebase_with=actions.solver(side, solver), rebase_tries=4,
                allow_empty=allow_empty,
            ),
            reopen,
        )  # fmt: skip

    def amend(self, slot: int, metadata: Any, allow_empty: bool) -> None:
        """Replace the last commit."""
        if not self.has(slot):
            return
        message = self.message()
        self.end(
            slot,
            lambda side: side.sessions[slot].amend(message, metadata=metadata, allow_empty=allow_empty),
            "writable_session",
        )

    def flush(self, slot: int, metadata: Any) -> None:
        """A snapshot that is on no branch."""
        message = self.message()
        self.end(slot, lambda side: side.sessions[slot].flush(message, metadata=metadata), "writable_session")

    def rebase_with_care(self, slot: int, solver: str) -> bool:
        """Rebase a session whose outcome may differ; whether it did not survive.

        That is one whose base is no longer in its branch's history, or that has moved nodes, or made some
        where it has deleted others. Where the rebase fails, or the outcomes differ in an accepted way, the
        session ends on both sides: the peer leaves it halfway.
        """
        ours = self.pair.ours
        session = ours.sessions[slot]
        rules = [
            accepted
            for accepted, applies in (
                (is_accepted_when_stranded, stranded(ours.repo, session)),
                (is_accepted_of_moves, has_moved_nodes(session)),
                (is_accepted_of_remade_nodes, has_remade_nodes(session)),
            )
            if applies
        ]
        if not rules:
            return False
        answer = self.pair.call(
            lambda side: side.sessions[slot].rebase(actions.solver(side, solver)),
            lambda one, other: any(accepted(*kinds_of(one, other)) for accepted in rules),
        )
        if not isinstance(answer, Failure) and not self.pair.differ:
            self.look(slot)
            return False
        for side in self.pair.sides:
            del side.sessions[slot]
            side.forks.pop(slot, None)
        return True

    def message(self) -> str:
        """Another one for each commit."""
        self.number += 1
        return f"commit {self.number}"

    def end(self, slot: int, action: Any, reopen: str | None) -> None:
        """Make a snapshot of a session; look at it and at the branch; open the next session."""
        if not self.has(slot):
            return
        done = self.pair.new_snapshot(action)
        self.look_at_refs()
        if not done:
            self.look(slot)
            return
        self.look_at_snapshot(0)
        self.pair.call(lambda side: session_properties(side.sessions[slot]))
        if reopen:
            self.open_session(slot, "main", reopen)

    def rebase(self, slot: int, solver: str) -> None:
        """Bring a session up to date."""
        if self.has(slot) and not self.rebase_with_care(slot, solver):
            self.pair.call(lambda side: side.sessions[slot].rebase(actions.solver(side, solver)))
            self.look(slot)

    def fork_and_merge(self, slot: int, others: list[list[tuple[Any, ...]]]) -> None:
        """Change forks of a session, as other processes do, and merge them."""
        if not self.has(slot) or has_new_nodes(self.pair.ours.sessions[slot]):
            return

        def fork(side: Side) -> None:
            side.forks[slot] = [pickle.loads(pickle.dumps(side.sessions[slot].fork())) for _ in others]

        if isinstance(self.pair.call(fork), Failure):
            return
        self.leftovers = self.leftovers or len(others) > 1
        for number, changes in enumerate(others):
            for name, *arguments in changes:
                self.pair.call(lambda side: actions.apply(side, side.forks[slot][number], name, *arguments))  # noqa: B023
        self.pair.call(lambda side: side.sessions[slot].merge(*side.forks[slot]))
        self.look(slot)

    def race(
        self, first: list[tuple[Any, ...]], second: list[tuple[Any, ...]], solver: str, mode: str
    ) -> None:
        """Two writers begin at one version; one commits, the other finds that out."""
        self.open_session(0, "main", "writable_session")
        self.open_session(1, "main", mode)
        self.change(0, first)
        self.change(1, second)
        self.commit(0, None, None, True, "writable_session")
        self.rebase(1, solver)
        self.commit(1, solver, None, True, "writable_session")

    def look(self, slot: int) -> None:
        """A session's properties, its changes, and all that it holds."""
        self.pair.call(lambda side: session_state(side.sessions[slot], side))
