"""What a verification finds."""

from __future__ import annotations

import enum

from attrs import field, frozen

from icechunk_core.html import facts, page, text

__all__ = ["Orphans", "Problem", "ProblemKind", "VerifyReport"]


class ProblemKind(enum.StrEnum):
    """What can be wrong with an object; stable."""

    MISSING = "missing"
    """Something refers to it, and it is not there."""
    CORRUPT = "corrupt"
    """It cannot be decoded."""
    WRONG_SIZE = "wrong-size"
    """It is shorter or longer than what refers to it says."""
    INCONSISTENT = "inconsistent"
    """It can be decoded, and contradicts what refers to it."""
    UNREADABLE = "unreadable"
    """The storage could not give it; that may pass."""
    CHANGED = "changed"
    """A virtual chunk's object is not the one that was referenced."""


@frozen
class Problem:
    """One thing that is wrong.

    Attributes
    ----------
    kind
        What is wrong.
    key
        The object: its key in the repository, or a virtual chunk's location.
    detail
        What exactly, and who refers to it.
    """

    kind: ProblemKind
    key: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.key}: {self.detail}"


@frozen
class Orphans:
    """Objects that nothing in the history refers to.

    They harm nobody: they are left by sessions that were not committed, or belong to sessions
    that are still open, or are what `Repository.garbage_collect` deletes.
    """

    count: int
    bytes: int


@frozen(repr=False)
class VerifyReport:
    """Outcome of `Repository.verify`.

    Attributes
    ----------
    problems
        All that is wrong, at most ``max_problems`` of it.
    problem_count
        How much is wrong in all.
    snapshots, transaction_logs, manifests, chunk_refs, chunk_objects, virtual_objects
        How many were looked at.
    bytes_read
        Bytes of chunk objects that were read (with ``data=True``).
    orphans
        Objects that nothing refers to, by kind. ``None`` where the storage cannot list.
    """

    problems: tuple[Problem, ...] = ()
    problem_count: int = 0
    snapshots: int = 0
    transaction_logs: int = 0
    manifests: int = 0
    chunk_refs: int = 0
    chunk_objects: int = 0
    virtual_objects: int = 0
    bytes_read: int = 0
    orphans: dict[str, Orphans] | None = field(default=None)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem_count == 0

    def _rows(self) -> list[tuple[str, str]]:
        rows = [
            ("snapshots", f"{self.snapshots:,}"),
            ("transaction logs", f"{self.transaction_logs:,}"),
            ("manifests", f"{self.manifests:,}"),
            ("chunk refs", f"{self.chunk_refs:,}"),
            ("chunk objects", f"{self.chunk_objects:,}"),
        ]
        if self.virtual_objects:
            rows.append(("virtual objects", f"{self.virtual_objects:,}"))
        if self.bytes_read:
            rows.append(("bytes read", f"{self.bytes_read:,}"))
        for kind, orphans in (self.orphans or {}).items():
            if orphans.count:
                rows.append((f"orphaned {kind}", f"{orphans.count:,} ({orphans.bytes:,} bytes)"))
        return rows

    def __repr__(self) -> str:
        verdict = "nothing is wrong" if self.ok else f"{self.problem_count:,} problems"
        lines = [f"<icechunk_core.VerifyReport: {verdict}>"]
        lines += [f"{name}: {value}" for name, value in self._rows()]
        return "\n".join([*lines, *map(str, self.problems)])

    def _repr_html_(self) -> str:
        verdict = "nothing is wrong" if self.ok else f"{self.problem_count:,} problems"
        found = "".join(f"<div class='icck-row'>{text(problem)}</div>" for problem in self.problems[:_SHOWN])
        more = len(self.problems) - _SHOWN
        note = f"<div class='icck-note'>… {more:,} more</div>" if more > 0 else ""
        return page("VerifyReport", facts(self._rows()), found, note, about=verdict)


_SHOWN = 100
