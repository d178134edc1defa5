"""Writes ``docs/reference/conformance.md`` from the checks themselves.

Run it as ``python -m icechunk_conformance.reference_page docs/reference/conformance.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from icechunk_conformance.broken import gallery
from icechunk_conformance.hooks import hooks_of
from icechunk_conformance.registry import GROUPS, Check, all_checks
from icechunk_conformance.report import CONSEQUENCES, Level, meaning_of

__all__ = ["reference_page"]

_INTRODUCTION = """\
# The conformance suite: every check

*Generated from the checks; change those and run
`python -m icechunk_conformance.reference_page docs/reference/conformance.md`.*

```
python -m icechunk_conformance file:///tmp/somewhere
```

runs the suite against any storage that opens by URL. It works under a random prefix, touches
nothing else, and removes what it wrote. `--list` lists the checks, `--only E` or `--only E02,F01`
runs some, `--budget normal` or `large` does more work, `--json` prints the report for machines,
`--require Commit-safe` makes a lower level a failure. The exit status is 0 when every check that
was called for passed, 1 when one failed, 2 when nothing could be tested.

A storage declares its capabilities. **What is declared must hold; what is not declared must raise
`Unsupported`** and write nothing. So each check says which capabilities call for it; a name with
`!` calls for it where that capability is *not* declared.
"""


def reference_page() -> str:
    """The page, as Markdown."""
    parts = [_INTRODUCTION, _levels()]
    checks = all_checks()
    caught = _caught()
    for group, name in GROUPS.items():
        parts.append(f"## {group}. {name}\n\nWhere one of these fails, {CONSEQUENCES[group]}.\n")
        parts += [_entry(check, caught.get(check.id, [])) for check in checks if check.group == group]
    parts.append(_gallery())
    return "\n".join(parts)


def _levels() -> str:
    rows = ["## Levels\n", "| level | groups | meaning |", "|---|---|---|"]
    groups = {
        Level.READ: "A–D",
        Level.SINGLE_WRITER: "A–E",
        Level.COMMIT_SAFE: "A–G",
        Level.PRODUCTION: "all",
    }
    rows += [f"| {level.label} | {groups[level]} | {meaning_of(level)} |" for level in groups]
    rows.append(
        "\nA level counts the checks that the declared capabilities call for. Read takes that something "
        "could be read at all; Commit-safe that `create`, `update` and between whom they are atomic are "
        "declared; Production that `durable` is, and that faults could be injected into the transport, if "
        "there is one.\n"
    )
    return "\n".join(rows)


def _entry(check: Check, caught: list[str]) -> str:
    promise = " ".join(check.promise.split()).replace("  ", " ")
    lines = [f"### {check.id} {check.title} {{#{check.id.lower()}}}\n", promise + "\n"]
    hooks = ", ".join(f"[`{name}`](hooks/{name}.md)" for name in hooks_of(check.id))
    lines.append(f"* About: {hooks}")
    if check.requires:
        lines.append("* Called for by: " + ", ".join(f"`{name}`" for name in check.requires))
    if check.known_failure:
        lines.append(f"* Known to go wrong: {check.known_failure}")
    if caught:
        lines.append("* Catches, in the gallery: " + ", ".join(caught))
    return "\n".join(lines) + "\n"


def _caught() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in gallery():
        for id in entry.caught_by:
            found.setdefault(id, []).append(entry.name)
    return found


def _gallery() -> str:
    rows = [
        "## The gallery of broken storages\n",
        "Each is a small storage with one mistake, and is caught by exactly the checks named; that is "
        "how the suite itself is tested (`icechunk_conformance.broken`).\n",
        "| storage | mistake | caught by |",
        "|---|---|---|",
    ]
    rows += [
        f"| {entry.name} | {' '.join(entry.mistake.split())} | {', '.join(sorted(entry.caught_by))} |"
        for entry in gallery()
    ]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference_page(), encoding="utf-8")
