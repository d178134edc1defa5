"""Arguments that many commands have, and what they stand for."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any, TypeAlias

import typer

from icechunk_core.cli.exit_codes import ExitCode
from icechunk_core.cli.output import errors
from icechunk_core.clock import SystemClock, datetime_from_us
from icechunk_core.contract import Storage
from icechunk_core.errors import RefNotFoundError, SnapshotNotFoundError
from icechunk_core.repository import Repository
from icechunk_core.session import Session
from icechunk_core.storage import as_storage, storage_from_url

__all__ = [
    "AsJson",
    "DryRun",
    "Options",
    "Ref",
    "Url",
    "Yes",
    "confirm",
    "named_options",
    "open_repository",
    "parse_time",
    "resolve_snapshot",
    "session_at",
    "storage_at",
]

Url: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="Where the repository is: a path, or a URL such as s3://bucket/prefix, gs://, az://, https://",
        metavar="URL",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would happen.")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Ref: TypeAlias = Annotated[
    str,
    typer.Option("--ref", "-r", help="A branch, a tag or a snapshot id; main~2 is the second before main."),
]
Options: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="NAME=VALUE for the storage; repeatable.", metavar="NAME=VALUE"),
]

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def storage_at(url: str, options: list[str] | None = None) -> Storage:
    """Open a storage by URL or path.

    Raises
    ------
    typer.BadParameter
        If an option is not NAME=VALUE.
    """
    given = named_options(options)
    return storage_from_url(url, **given) if given else as_storage(url)


def named_options(options: list[str] | None, hint: str = "--option") -> dict[str, Any]:
    """Options as they were given, by name.

    Raises
    ------
    typer.BadParameter
        If one is not NAME=VALUE.

    >>> named_options(["region=eu-west-1"])
    {'region': 'eu-west-1'}
    """
    given: dict[str, Any] = {}
    for option in options or ():
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{option!r} is not NAME=VALUE", param_hint=hint)
        given[name] = value
    return given


def open_repository(url: str, options: list[str] | None = None) -> Repository:
    """Open a repository. Commands that write check again what the storage can do."""
    return Repository.open(storage_at(url, options), require_commit_safety=False)


def resolve_snapshot(repo: Repository, ref: str) -> str:
    """The snapshot that a branch, a tag or a (shortened) snapshot id stands for.

    ``main~2`` is the second one before ``main``, as in git; ``main~`` the one before.

    Raises
    ------
    RefNotFoundError
        If it is none of them, or the beginning of several ids, or the history is shorter.
    """
    for lookup in (repo.lookup_branch, repo.lookup_tag):
        try:
            return lookup(ref)
        except RefNotFoundError:
            continue
    try:
        return repo.lookup_snapshot(ref).id
    except (SnapshotNotFoundError, ValueError):
        pass
    begun = _ids_that_begin(repo, ref.upper()) if len(ref) >= 4 else []
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise RefNotFoundError(f"{ref!r} is the beginning of {len(begun)} snapshot ids; write more of it")
    before = re.fullmatch(r"(.+)~(\d*)", ref)
    if before:
        return _ancestor(repo, before[1], int(before[2] or 1))
    names = ", ".join(sorted(repo.list_branches() | repo.list_tags())[:10])
    raise RefNotFoundError(f"{ref!r} is no branch, tag or snapshot of this repository; there are: {names}")


def _ancestor(repo: Repository, ref: str, steps: int) -> str:
    history = repo.ancestry(snapshot_id=resolve_snapshot(repo, ref))
    found = next(islice(history, steps, None), None)
    if found is None:
        raise RefNotFoundError(f"there are fewer than {steps} snapshots before {ref!r}")
    return found.id


def _ids_that_begin(repo: Repository, text: str) -> list[str]:
    found = {
        info.id
        for branch in repo.list_branches()
        for info in repo.ancestry(branch=branch)
        if info.id.startswith(text)
    }
    return sorted(found)


def session_at(repo: Repository, ref: str) -> Session:
    """A read-only session on a branch, tag or snapshot."""
    return repo.readonly_session(snapshot_id=resolve_snapshot(repo, ref))


def parse_time(text: str) -> datetime:
    """A time: ISO 8601, or an age such as ``30d``, ``12h``, ``15m`` or ``2w``.

    Raises
    ------
    typer.BadParameter
        If it is neither.

    >>> parse_time("2026-03-01").isoformat()
    '2026-03-01T00:00:00+00:00'
    """
    age = re.fullmatch(r"(\d+)([mhdw])", text.strip())
    if age:
        now = datetime_from_us(SystemClock().now_us())
        return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is neither a time such as 2026-03-01 or 2026-03-01T12:00+00:00 nor an age such as 30d"
        ) from error
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone.

    Raises
    ------
    typer.Exit
        If the answer is no, or nobody is there to answer.
    """
    if yes:
        return
    console = errors()
    if not console.is_terminal:
        console.print(f"[bold red]error:[/] {question} Pass --yes to say so without a terminal.")
        raise typer.Exit(int(ExitCode.USAGE))
    if not typer.confirm(question, err=True):
        console.print("Nothing was done.")
        raise typer.Exit(int(ExitCode.USAGE))
