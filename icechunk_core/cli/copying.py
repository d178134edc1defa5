"""The command copy."""

from __future__ import annotations

from typing import Annotated

import attrs
import typer

from icechunk_core.cli.arguments import AsJson, DryRun, Options, open_repository, storage_at
from icechunk_core.cli.executors import Dask, Workers, chosen_executor
from icechunk_core.cli.exit_codes import ExitCode
from icechunk_core.cli.output import bytes_text, print_json, print_lines, print_pairs
from icechunk_core.cli.progress import shown_progress
from icechunk_core.maintenance import CopySummary, VerifyReport
from icechunk_core.repository import Repository

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(copy)


def copy(
    source: Annotated[str, typer.Argument(help="The repository.", metavar="SOURCE")],
    target: Annotated[str, typer.Argument(help="Where to; empty, or an earlier copy.", metavar="TARGET")],
    branch: Annotated[
        list[str] | None, typer.Option("--branch", "-b", help="Only this branch; repeatable.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="Only this tag; repeatable.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let the target lose changes of its own.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Check the whole target afterwards.")] = False,
    workers: Workers = 0,
    dask: Dask = None,
    source_option: Options = None,
    target_option: Annotated[
        list[str] | None,
        typer.Option("--target-option", help="NAME=VALUE for the target's storage.", metavar="NAME=VALUE"),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Copy a repository, or chosen branches and tags, to another storage. Ids stay the same.

    Run it again to go on after an interruption, or to bring the copy up to date.
    """
    repo = open_repository(source, source_option)
    storage = storage_at(target, target_option)
    chosen = bool(branch or tag)
    with chosen_executor(workers, dask) as executor, shown_progress(quiet=quiet or as_json) as progress:
        summary = repo.copy(
            storage,
            branches=branch or [] if chosen else None,
            tags=tag or [] if chosen else None,
            overwrite=overwrite,
            dry_run=dry_run,
            executor=executor,
            progress=progress,
        )
        report = None
        if verify and not dry_run:
            report = Repository.open(storage).verify(data=True, executor=executor, progress=progress)
    if as_json:
        verified = {} if report is None else {"verified": report.ok}
        print_json({"dry_run": dry_run, **attrs.asdict(summary), **verified})
    else:
        _print(summary, report, dry_run=dry_run)
    if report is not None and not report.ok:
        raise typer.Exit(int(ExitCode.FOUND_PROBLEMS))


def _print(summary: CopySummary, report: VerifyReport | None, *, dry_run: bool) -> None:
    print_pairs(
        {
            "would copy" if dry_run else "copied": f"{summary.objects_copied:,} objects, "
            f"{bytes_text(summary.bytes_copied)}",
            "already there": f"{summary.objects_present:,} objects",
            "branches": ", ".join(summary.branches) or "-",
            "tags": ", ".join(summary.tags) or "-",
        }
    )
    if report is not None:
        print_lines(repr(report) if not report.ok else "the copy is sound")
