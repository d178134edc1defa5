"""Commands that create a repository or change what it is: create, config, migrate."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from icechunk_core.cli.arguments import (
    AsJson,
    DryRun,
    Options,
    Url,
    Yes,
    confirm,
    open_repository,
    storage_at,
)
from icechunk_core.cli.exit_codes import ExitCode
from icechunk_core.cli.output import fail, print_json, print_lines
from icechunk_core.cli.progress import shown_progress
from icechunk_core.format.config_codec import config_from_tree, config_to_tree
from icechunk_core.format.configuration import RepositoryConfig
from icechunk_core.repository import Repository
from icechunk_core.repository.maintenance_methods import upgrade_icechunk_repository

__all__ = ["register"]

config = typer.Typer(help="Show and change the stored configuration.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(create)
    app.add_typer(config, name="config")
    app.command()(migrate)


def create(
    url: Url,
    spec_version: Annotated[int, typer.Option(help="Version of the format: 2, or 1 for old readers.")] = 2,
    option: Options = None,
) -> None:
    """Make an empty repository."""
    repo = Repository.create(storage_at(url, option), spec_version=spec_version)
    print_lines(f"created a repository of spec {int(repo.spec_version)}; branch main is empty")


@config.command("show")
def show_config(
    url: Url,
    option: Options = None,
    effective: Annotated[
        bool, typer.Option("--effective", help="All that applies, storage and packs too, and its source.")
    ] = False,
) -> None:
    """The stored configuration as JSON; what is null has its default."""
    if effective:
        print_json(open_repository(url, option).effective_config().to_dict())
        return
    stored = Repository.fetch_config(storage_at(url, option))
    print_json(None if stored is None else config_to_tree(stored))


@config.command("set")
def set_config(
    url: Url,
    name: Annotated[str, typer.Argument(help="A key, such as caching.num_chunk_refs.")],
    value: Annotated[str, typer.Argument(help="Its value as JSON; null for the default.")],
    option: Options = None,
    as_json: AsJson = False,
) -> None:
    """Change one setting for everybody who opens the repository from now on."""
    storage = storage_at(url, option)
    stored = Repository.fetch_config(storage) or RepositoryConfig()
    tree = config_to_tree(stored)
    _set(tree, name.split("."), _value(value))
    changed = config_from_tree(tree, name="the configuration")
    repo = Repository.open(storage, config=changed)
    repo.save_config()
    if as_json:
        print_json(config_to_tree(Repository.fetch_config(storage) or changed))
    else:
        print_lines(f"{name} is {value}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _set(tree: dict[str, Any], names: list[str], value: Any) -> None:
    place: Any = tree
    for name in names[:-1]:
        if name not in place or not isinstance(place[name], (dict, type(None))):
            raise fail(_unknown(names, place), ExitCode.USAGE)
        if place[name] is None:
            place[name] = {}
        place = place[name]
    if place is tree and names[-1] not in place:
        raise fail(_unknown(names, place), ExitCode.USAGE)
    place[names[-1]] = value


def _unknown(names: list[str], place: dict[str, Any]) -> str:
    return f"there is no setting {'.'.join(names)!r}; there are: {', '.join(sorted(place))}"


def migrate(
    url: Url,
    keep_old_files: Annotated[
        bool, typer.Option("--keep-old-files", help="Leave the refs and configuration of spec 1.")
    ] = False,
    dry_run: DryRun = False,
    option: Options = None,
    yes: Yes = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Migrate a repository of spec 1 to spec 2. Nobody else may use it meanwhile."""
    repo = open_repository(url, option)
    if not dry_run:
        confirm("Migrate to spec 2? Programs that know only spec 1 cannot open it any more.", yes=yes)
    with shown_progress(quiet=quiet) as progress:
        upgrade_icechunk_repository(
            repo, dry_run=dry_run, delete_unused_v1_files=not keep_old_files, progress=progress
        )
    print_lines("it can be migrated; nothing was changed" if dry_run else "migrated to spec 2")
