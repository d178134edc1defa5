"""Commands about storage plugins: plugins, storage verify."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import attrs
import typer

from icechunk_core.cli.arguments import AsJson
from icechunk_core.cli.exit_codes import ExitCode
from icechunk_core.cli.output import fail, print_json, print_lines, print_table
from icechunk_core.cli.plugin_new import new_plugin
from icechunk_core.plugins import PluginState, list_plugins

__all__ = ["register"]

plugins = typer.Typer(help="The storage plugins that are installed.", invoke_without_command=True)
storage = typer.Typer(help="Look at a storage, with or without a repository on it.", no_args_is_help=True)

_UNUSABLE = (PluginState.BROKEN, PluginState.CONFLICT)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    plugins.command("new")(new_plugin)
    app.add_typer(plugins, name="plugins")
    app.add_typer(storage, name="storage")


@plugins.callback()
def show_plugins(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show where broken ones failed.")] = False,
    as_json: AsJson = False,
) -> None:
    """List all plugins, broken ones with their cause."""
    if context.invoked_subcommand is not None:
        return
    records = list_plugins(check=True)
    if as_json:
        print_json([attrs.asdict(record) for record in records])
    else:
        print_table(
            ["scheme", "kind", "state", "from", "plugin"],
            [
                (
                    each.name,
                    each.kind,
                    each.state,
                    f"{each.distribution} {each.version}".strip() or "-",
                    each.target,
                )
                for each in records
            ],
        )
        for record in records:
            if record.error:
                print_lines(f"\n{record.name}: {record.error}")
            if record.traceback and verbose:
                print_lines(record.traceback)
    if any(record.state in _UNUSABLE for record in records):
        raise typer.Exit(int(ExitCode.FOUND_PROBLEMS))


@storage.command(
    "verify",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def verify_storage(context: typer.Context) -> None:
    """Run the conformance suite on a storage: may a repository live there, with how many writers?

    Everything happens under a random prefix, which is removed at the end. All arguments are those of
    ``python -m icechunk_conformance``; --help shows them.
    """
    try:
        suite: Any = importlib.import_module("icechunk_conformance.__main__")
    except ModuleNotFoundError as error:
        raise fail(
            f"the conformance suite needs {error.name}: pip install 'icechunk-core[conformance]'",
            ExitCode.USAGE,
        ) from error
    try:
        code = suite.main(list(context.args), program="icechunk-core storage verify")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ExitCode.USAGE)
    sys.stdout.flush()
    raise typer.Exit(code)
