"""The command ``icechunk-core`` and what it does with errors."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from icechunk_core import about
from icechunk_core.cli import (
    changing,
    copying,
    importing,
    looking,
    maintaining,
    plugin_commands,
    refs,
    virtual_importing,
)
from icechunk_core.cli.exit_codes import ExitCode, exit_code_of
from icechunk_core.cli.output import fail
from icechunk_core.errors import IcechunkError

__all__ = ["app", "run"]

app = typer.Typer(
    name="icechunk-core",
    help="Versioned Zarr repositories on any storage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 problems were found, 2 wrong usage, 3 not found, 4 conflict, "
    "5 storage failed, 6 outcome unknown, 7 other errors.",
)

_GROUPS = (looking, changing, refs, maintaining, copying, importing, virtual_importing, plugin_commands)
for commands in _GROUPS:
    commands.register(app)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"icechunk-core {about.__version__}")
        raise typer.Exit


_State = {"traceback": False}


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error comes from.")
    ] = False,
) -> None:
    _State["traceback"] = show_traceback


def run(arguments: list[str] | None = None) -> int:
    """Run a command line; gives its exit code."""
    _State["traceback"] = False
    try:
        result = app(arguments, standalone_mode=False)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:
        return int(ExitCode.USAGE)
    except IcechunkError as error:
        if _State["traceback"]:
            traceback.print_exc(file=sys.stderr)
        return int(fail(error.message, exit_code_of(error)).exit_code)
    except Exception as error:
        shown = getattr(error, "show", None)
        if shown is None:
            raise
        # What typer says about wrong arguments.
        shown()
        return int(getattr(error, "exit_code", ExitCode.USAGE))
    return result if isinstance(result, int) else int(ExitCode.OK)
