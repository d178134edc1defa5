"""What commands print: tables and text for people, one JSON document for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from icechunk_core.cli.exit_codes import ExitCode

__all__ = [
    "bytes_text",
    "errors",
    "fail",
    "print_json",
    "print_lines",
    "print_pairs",
    "print_table",
    "time_text",
]

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def _console() -> Console:
    # Made anew: the stream and the width of the terminal may have changed.
    return Console(highlight=False, soft_wrap=True)


def errors() -> Console:
    """The console for everything that is not the result."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str, code: ExitCode) -> typer.Exit:
    """Print why a command ends, and give what to raise."""
    errors().print(f"[bold red]error:[/] {_plain(message)}")
    return typer.Exit(int(code))


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def print_json(value: Any) -> None:
    """One JSON document."""
    typer.echo(json.dumps(value, indent=2, default=_jsonable, ensure_ascii=False))


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)


def print_lines(text: str) -> None:
    """Text as it is, colours included where the terminal has them."""
    typer.echo(text)


def print_pairs(pairs: Mapping[str, Any]) -> None:
    """Names and values, aligned."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs.items():
        table.add_row(name, _plain(str(value)))
    _console().print(table)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows under headings."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_plain(str(cell)) for cell in row))
    _console().print(table)


def bytes_text(size: int) -> str:
    """A size for people.

    >>> bytes_text(5), bytes_text(1536), bytes_text(3 * 2**30)
    ('5 bytes', '1.5 KiB', '3.0 GiB')
    """
    value = float(size)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return f"{size} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{size} bytes"


def time_text(time: datetime) -> str:
    """A time for people, in their time zone, to the second."""
    return time.astimezone().isoformat(sep=" ", timespec="seconds")
