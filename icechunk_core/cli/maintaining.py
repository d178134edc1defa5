"""Commands that keep a repository in shape: expire, gc, repack, rewrite-manifests, verify."""

from __future__ import annotations

from typing import Annotated, Any

import attrs
import typer

from icechunk_core.cli.arguments import (
    AsJson,
    DryRun,
    Options,
    Url,
    Yes,
    confirm,
    open_repository,
    parse_time,
)
from icechunk_core.cli.executors import Dask, Workers, chosen_executor
from icechunk_core.cli.exit_codes import ExitCode
from icechunk_core.cli.output import bytes_text, print_json, print_lines, print_pairs
from icechunk_core.cli.progress import shown_progress
from icechunk_core.maintenance import GCSummary

__all__ = ["register"]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
OlderThan = Annotated[
    str,
    typer.Option("--older-than", help="A time, such as 2026-03-01, or an age, such as 30d, 12h or 15m."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(expire)
    app.command()(gc)
    app.command()(repack)
    app.command("rewrite-manifests")(rewrite_manifests)
    app.command()(verify)


def expire(
    url: Url,
    older_than: OlderThan,
    delete_branches: Annotated[bool, typer.Option(help="Delete branches whose tip is older.")] = False,
    delete_tags: Annotated[bool, typer.Option(help="Delete tags whose snapshot is older.")] = False,
    dry_run: DryRun = False,
    option: Options = None,
    yes: Yes = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Take old snapshots out of the history. Their objects stay until gc."""
    limit = parse_time(older_than)
    repo = open_repository(url, option)
    if not dry_run:
        confirm(f"Take snapshots from before {limit.isoformat()} out of the history?", yes=yes)
    with shown_progress(quiet=quiet or as_json) as progress:
        expired = repo.expire_snapshots(
            limit,
            delete_expired_branches=delete_branches,
            delete_expired_tags=delete_tags,
            dry_run=dry_run,
            progress=progress,
        )
    if as_json:
        print_json({"older_than": limit, "dry_run": dry_run, "expired": sorted(expired)})
    else:
        print_lines(f"{len(expired):,} snapshots {'would expire' if dry_run else 'expired'}")


def gc(
    url: Url,
    older_than: OlderThan,
    dry_run: DryRun = False,
    workers: Workers = 0,
    dask: Dask = None,
    option: Options = None,
    yes: Yes = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Delete objects that nothing refers to. Those of sessions which began after the time are safe."""
    limit = parse_time(older_than)
    repo = open_repository(url, option)
    if not dry_run:
        confirm(
            f"Delete unused objects from before {limit.isoformat()}? Sessions that began earlier and are "
            "not committed lose what they wrote.",
            yes=yes,
        )
    with chosen_executor(workers, dask) as executor, shown_progress(quiet=quiet or as_json) as progress:
        summary = repo.garbage_collect(limit, dry_run=dry_run, executor=executor, progress=progress)
    if as_json:
        print_json({"older_than": limit, "dry_run": dry_run, **attrs.asdict(summary)})
    else:
        print_pairs(_collected(summary, dry_run=dry_run))
    if summary.objects_failed_to_delete:
        raise typer.Exit(int(ExitCode.FOUND_PROBLEMS))


def _collected(summary: GCSummary, *, dry_run: bool) -> dict[str, Any]:
    title = "would be deleted" if dry_run else "deleted"
    shown: dict[str, Any] = {
        f"bytes {title}": bytes_text(summary.bytes_deleted),
        "snapshots": f"{summary.snapshots_deleted:,}",
        "transaction logs": f"{summary.transaction_logs_deleted:,}",
        "manifests": f"{summary.manifests_deleted:,}",
        "chunk objects": f"{summary.chunks_deleted:,}",
    }
    if summary.objects_failed_to_delete:
        shown["could not be deleted"] = f"{summary.objects_failed_to_delete:,}"
        shown["because"] = "; ".join(summary.delete_errors)
    return shown


def repack(
    url: Url,
    branch: Annotated[str, typer.Option(help="The branch whose latest version is repacked.")] = "main",
    message: Annotated[str, typer.Option("--message", "-m", help="What the commit says.")] = "Repack",
    live_below: Annotated[float, typer.Option(help="Rewrite objects of which less than this is used.")] = 0.5,
    dry_run: DryRun = False,
    workers: Workers = 0,
    dask: Dask = None,
    option: Options = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Copy chunks out of objects that are mostly unused, in a commit that changes no data."""
    repo = open_repository(url, option)
    with chosen_executor(workers, dask) as executor, shown_progress(quiet=quiet or as_json) as progress:
        summary = repo.repack(
            message,
            branch=branch,
            live_below=live_below,
            dry_run=dry_run,
            executor=executor,
            progress=progress,
        )
    if as_json:
        print_json({"dry_run": dry_run, **attrs.asdict(summary)})
        return
    print_pairs(
        {
            "sparse objects": f"{summary.packs:,}",
            "chunks to copy" if dry_run else "chunks copied": f"{summary.chunks:,}",
            "their bytes": bytes_text(summary.bytes_copied),
            "bytes not in use": bytes_text(summary.dead_bytes),
            "commit": summary.snapshot_id or "-",
        }
    )


def rewrite_manifests(
    url: Url,
    branch: Annotated[str, typer.Option(help="The branch to commit to.")] = "main",
    message: Annotated[
        str, typer.Option("--message", "-m", help="What the commit says.")
    ] = "Rewrite manifests",
    workers: Workers = 0,
    dask: Dask = None,
    option: Options = None,
    quiet: Quiet = False,
) -> None:
    """Write all manifests anew, split as the configuration says now, in a commit that changes no data."""
    repo = open_repository(url, option)
    with chosen_executor(workers, dask) as executor, shown_progress(quiet=quiet) as progress:
        snapshot_id = repo.rewrite_manifests(message, branch=branch, executor=executor, progress=progress)
    print_lines(f"branch {branch} is at {snapshot_id}")


def verify(
    url: Url,
    data: Annotated[bool, typer.Option("--data", help="Also read all chunk objects.")] = False,
    virtual: Annotated[bool, typer.Option("--virtual", help="Also look at files of virtual chunks.")] = False,
    max_problems: Annotated[int, typer.Option(help="Tell so many problems in detail.")] = 100,
    workers: Workers = 0,
    dask: Dask = None,
    option: Options = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check that everything which the history leads to is there and sound. Nothing is changed.

    Ends with exit code 1 if anything is wrong.
    """
    repo = open_repository(url, option)
    with chosen_executor(workers, dask) as executor, shown_progress(quiet=quiet or as_json) as progress:
        report = repo.verify(
            data=data, virtual=virtual, max_problems=max_problems, executor=executor, progress=progress
        )
    if as_json:
        print_json({"ok": report.ok, **attrs.asdict(report)})
    else:
        print_lines(repr(report).partition("\n")[2])
        print_lines("nothing is wrong" if report.ok else f"{report.problem_count:,} problems")
    if not report.ok:
        raise typer.Exit(int(ExitCode.FOUND_PROBLEMS))
