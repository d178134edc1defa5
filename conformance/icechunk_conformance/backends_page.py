"""Writes ``docs/reference/backends.md``: backend x server x check, from reports of the suite.

``python -m icechunk_conformance.backends_page docs/reference/conformance-reports docs/reference/backends.md``
reads ``servers.json`` (names, order and known faults of the servers) and one report for each of
them, as ``python -m icechunk_conformance --json`` prints it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from attrs import frozen

from icechunk_conformance.registry import GROUPS, all_checks

__all__ = ["Server", "backends_page", "read_servers"]

_MARKS = {"passed": "✓", "failed": "✗", "not called for": "–"}

_INTRODUCTION = """\
# Backends and servers

*Generated from the reports in `docs/reference/conformance-reports`; run
`python -m tests.conformance.on_servers` to make them anew, and
`python -m icechunk_conformance.backends_page docs/reference/conformance-reports docs/reference/backends.md`
for the page alone.*

What the [conformance suite](conformance.md) found out about the backends that come with icechunk-core, each
on the servers with which they are tested. A level is a verdict about backend **and** server: the same S3
client is Production on a store that keeps its promises and Read on one that ignores conditions.
"""


@frozen
class Server:
    """One column of the table.

    Attributes
    ----------
    name
        File name of its report.
    backend
        Name of the backend that was used.
    title
        The server, with its version.
    faults
        What is known to be wrong with it, in a sentence.
    report
        The document of `icechunk_conformance.report.Report.as_json`.
    """

    name: str
    backend: str
    title: str
    faults: str
    report: dict[str, Any]

    def status(self, check: str) -> str:
        """Status of a check; of one that the report does not know, ``not run``."""
        found = [each["status"] for each in self.report["checks"] if each["id"] == check]
        return found[0] if found else "not run"

    def count(self, *statuses: str) -> int:
        """How many checks have one of these statuses."""
        return sum(each["status"] in statuses for each in self.report["checks"])


def read_servers(folder: Path) -> list[Server]:
    """The servers that have a report, in the order of ``servers.json``."""
    listed = json.loads((folder / "servers.json").read_text(encoding="utf-8"))
    servers = []
    for name, about in listed.items():
        path = folder / f"{name}.json"
        if path.exists():
            report = json.loads(path.read_text(encoding="utf-8"))
            servers.append(Server(name, about["backend"], about["server"], about["faults"], report))
    return servers


def backends_page(folder: Path) -> str:
    """The page, as Markdown."""
    servers = read_servers(folder)
    return "\n".join([_INTRODUCTION, _summary(servers), _failures(servers), _matrix(servers)])


def _summary(servers: list[Server]) -> str:
    rows = [
        "| backend | server | level | checks passed | known faults of the server |",
        "|---|---|---|---|---|",
    ]
    for server in servers:
        called = server.count("passed", "failed")
        rows.append(
            f"| {server.backend} | {server.title} | **{server.report['level']}** "
            f"| {server.count('passed')} of {called} | {server.faults} |"
        )
    return "\n".join(rows) + "\n"


def _failures(servers: list[Server]) -> str:
    parts = ["## What failed\n"]
    for server in servers:
        failed = [each for each in server.report["checks"] if each["status"] == "failed"]
        if not failed:
            continue
        parts.append(f"### {server.backend} on {server.title}\n")
        parts += [f"* {each['id']} {each['title']}: {_cell(each['message'])}" for each in failed]
        parts.append("")
    if len(parts) == 1:
        parts.append("Nothing.\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    """A message on one line, short and without what Markdown would take for markup."""
    line = " ".join(text.split())
    line = line if len(line) <= 200 else line[:200] + " …"
    for character in "\\`*_<>|[]":
        line = line.replace(character, "\\" + character)
    return line


def _matrix(servers: list[Server]) -> str:
    titles = [f"{server.backend}: {server.title}" for server in servers]
    rows = [
        "## Every check\n",
        "✓ passed, ✗ failed, – not called for by the declared capabilities.\n",
        "| check | " + " | ".join(titles) + " |",
        "|---|" + ":-:|" * len(servers),
    ]
    for group, name in GROUPS.items():
        rows.append(f"| **{group}. {name}** |" + " |" * len(servers))
        rows += [
            f"| {check.id} {check.title} | "
            + " | ".join(_MARKS.get(server.status(check.id), "?") for server in servers)
            + " |"
            for check in all_checks()
            if check.group == group
        ]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(backends_page(Path(sys.argv[1])), encoding="utf-8")
