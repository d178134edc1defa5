"""The report on a terminal: a table in colour where `rich` is installed, plain text elsewhere."""

from __future__ import annotations

import sys

from icechunk_conformance.registry import GROUPS
from icechunk_conformance.report import Report, Status

__all__ = ["print_report"]

_STYLES = {
    Status.PASSED: ("ok", "green"),
    Status.FAILED: ("FAIL", "bold red"),
    Status.NOT_CALLED_FOR: ("-", "dim"),
}


def print_report(report: Report, *, verbose: bool = False) -> None:
    """Print table and verdict to standard output."""
    if sys.stdout.isatty():
        try:
            _print_rich(report, verbose)
        except ImportError:
            pass
        else:
            return
    print(report.as_text(verbose=verbose))


def _print_rich(report: Report, verbose: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(title=escape(report.storage), title_justify="left", box=None, pad_edge=False)
    for name in ("", "check", "what holds"):
        table.add_column(name)
    group = ""
    for result in report.results:
        if result.check.group != group:
            group = result.check.group
            table.add_row("", f"[bold]{group}", f"[bold]{GROUPS[group]}")
        mark, style = _STYLES[result.status]
        text = escape(result.check.title)
        if result.message and (result.status is Status.FAILED or verbose):
            text += "\n" + f"[{style}]" + escape(result.message)
        table.add_row(f"[{style}]{mark}", result.check.id, text)
    console.print(table)
    console.print()
    for line in report.verdict():
        console.print(escape(line), highlight=False)
