"""Commands about branches and tags."""

from __future__ import annotations

from typing import Annotated

import typer

from icechunk_core.cli.arguments import AsJson, Options, Url, Yes, confirm, open_repository, resolve_snapshot
from icechunk_core.cli.output import print_json, print_lines, print_table, time_text
from icechunk_core.repository import Repository

__all__ = ["register"]

branch = typer.Typer(help="List, create, move and delete branches.", no_args_is_help=True)
tag = typer.Typer(help="List, create and delete tags.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Its name.")]
Start = Annotated[str, typer.Argument(help="Where it points: a branch, tag or snapshot id.", metavar="REF")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(branch, name="branch")
    app.add_typer(tag, name="tag")


def _print_refs(repo: Repository, refs: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print_json(refs)
        return
    rows = []
    for name, snapshot_id in refs.items():
        info = repo.lookup_snapshot(snapshot_id)
        rows.append((name, snapshot_id, time_text(info.written_at), info.message))
    print_table(["name", "snapshot", "written", "message"], rows)


@branch.command("list")
def list_branches(url: Url, option: Options = None, as_json: AsJson = False) -> None:
    """All branches and where they point."""
    repo = open_repository(url, option)
    refs = {name: repo.lookup_branch(name) for name in sorted(repo.list_branches())}
    _print_refs(repo, refs, as_json=as_json)


@branch.command("create")
def create_branch(url: Url, name: Name, start: Start = "main", option: Options = None) -> None:
    """Make a branch."""
    repo = open_repository(url, option)
    snapshot_id = resolve_snapshot(repo, start)
    repo.create_branch(name, snapshot_id)
    print_lines(f"branch {name} is at {snapshot_id}")


@branch.command("reset")
def reset_branch(url: Url, name: Name, start: Start, option: Options = None, yes: Yes = False) -> None:
    """Point a branch elsewhere. Commits that only it led to can be garbage collected then."""
    repo = open_repository(url, option)
    old, new = repo.lookup_branch(name), resolve_snapshot(repo, start)
    confirm(f"Move branch {name} from {old} to {new}?", yes=yes)
    repo.reset_branch(name, new, from_snapshot_id=old)
    print_lines(f"branch {name} is at {new}; it was at {old}")


@branch.command("delete")
def delete_branch(url: Url, name: Name, option: Options = None, yes: Yes = False) -> None:
    """Delete a branch. Commits that only it led to can be garbage collected then."""
    repo = open_repository(url, option)
    old = repo.lookup_branch(name)
    confirm(f"Delete branch {name}, which is at {old}?", yes=yes)
    repo.delete_branch(name)
    print_lines(f"deleted branch {name}; it was at {old}")


@tag.command("list")
def list_tags(url: Url, option: Options = None, as_json: AsJson = False) -> None:
    """All tags and where they point."""
    repo = open_repository(url, option)
    refs = {name: repo.lookup_tag(name) for name in sorted(repo.list_tags())}
    _print_refs(repo, refs, as_json=as_json)


@tag.command("create")
def create_tag(url: Url, name: Name, start: Start = "main", option: Options = None) -> None:
    """Make a tag. It never moves."""
    repo = open_repository(url, option)
    snapshot_id = resolve_snapshot(repo, start)
    repo.create_tag(name, snapshot_id)
    print_lines(f"tag {name} is at {snapshot_id}")


@tag.command("delete")
def delete_tag(url: Url, name: Name, option: Options = None, yes: Yes = False) -> None:
    """Delete a tag. Its name can never be used again."""
    repo = open_repository(url, option)
    old = repo.lookup_tag(name)
    confirm(f"Delete tag {name}, which is at {old}, for good?", yes=yes)
    repo.delete_tag(name)
    print_lines(f"deleted tag {name}; it was at {old}")
