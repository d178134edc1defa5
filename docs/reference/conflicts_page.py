"""Writes `conflicts.md` from the table of conflict rules: ``python docs/reference/conflicts_page.py``."""

from __future__ import annotations

from pathlib import Path

from icechunk_core import BasicConflictSolver, ConflictDetector, VersionSelection
from icechunk_core.transaction.conflicts import RULES, Conflict, Rule

PAGE = Path(__file__).with_name("conflicts.md")

HEAD = """\
# Conflicts

When a branch has moved on since a session started, `Session.rebase`, or `commit` with `rebase_with`, puts
the session's changes on top of each commit in between, one after the other. The table has every way in
which they can clash with such a commit, in the order in which they are looked for. What is not in it does
not clash: different chunks of one array, for example, or a chunk here and an attribute of another array
there.

A solver may choose whose version wins where the table says so. Everywhere else the rebase fails:
`RebaseFailedError` names the commit and all conflicts with it, and the session keeps its changes.
"""
SOLVERS = """
## What the solvers do

`ConflictDetector` chooses nothing. `BasicConflictSolver` chooses as its arguments say; these are the
outcomes, by default and with the other values. A solver of your own is a subclass of `ConflictSolver` that
overrides `select`; a version that the first table does not offer counts as a failure.
"""
TAIL = """
This page is written by `docs/reference/conflicts_page.py` from `icechunk_core.transaction.conflicts.RULES`.
How to work with conflicts is in [Write concurrently](../how-to/write-concurrently.md).
"""
VERSIONS = {VersionSelection.UseOurs: "the session's", VersionSelection.UseTheirs: "the commit's"}
OUTCOMES = {
    VersionSelection.UseOurs: "the session's wins",
    VersionSelection.UseTheirs: "the commit's wins",
    VersionSelection.Fail: "fails",
}
SOLVER_COLUMNS = {
    "`ConflictDetector()`": ConflictDetector(),
    "`BasicConflictSolver()`": BasicConflictSolver(),
    "`on_chunk_conflict=UseTheirs`": BasicConflictSolver(on_chunk_conflict=VersionSelection.UseTheirs),
    "`on_chunk_conflict=Fail`": BasicConflictSolver(on_chunk_conflict=VersionSelection.Fail),
    "`fail_on_delete_of_...=True`": BasicConflictSolver(
        fail_on_delete_of_updated_array=True, fail_on_delete_of_updated_group=True
    ),
}


def render() -> str:
    """The page as Markdown."""
    lines = [HEAD, "| `ConflictType` | The session | The commit | A solver may keep |", "|---|---|---|---|"]
    lines += [
        f"| `{rule.conflict_type.name}` | {rule.ours} | {rule.theirs} | {_ways_out(rule)} |" for rule in RULES
    ]
    lines += [SOLVERS, "| `ConflictType` | " + " | ".join(SOLVER_COLUMNS) + " |"]
    lines.append("|---" * (len(SOLVER_COLUMNS) + 1) + "|")
    for rule in RULES:
        if rule.ways_out:
            cells = [OUTCOMES[outcome(rule, name)] for name in SOLVER_COLUMNS]
            lines.append(f"| `{rule.conflict_type.name}` | {' | '.join(cells)} |")
    lines.append(f"| all others |{' fails |' * len(SOLVER_COLUMNS)}")
    return "\n".join(lines) + "\n" + TAIL


def outcome(rule: Rule, solver: str) -> VersionSelection:
    """Whose version a solver's choice leads to."""
    choice = SOLVER_COLUMNS[solver].select(Conflict(rule.conflict_type, "/node"))
    return choice if choice in rule.ways_out else VersionSelection.Fail


def _ways_out(rule: Rule) -> str:
    return " or ".join(VERSIONS[version] for version in rule.ways_out) or "neither"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
