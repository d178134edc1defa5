"""The page of the command line, made from the commands themselves.

Run it as ``python docs/reference/command_line_page.py``; a test checks that the page is current.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.main import get_command

from icechunk_core.cli.app import app
from icechunk_core.cli.exit_codes import ExitCode

PAGE = Path(__file__).with_name("command-line.md")

_HEAD = """\
# Command line

`pip install 'icechunk-core[cli]'` brings the program `icechunk-core`. Every command takes a URL or a
path: `./directory`, `s3://bucket/prefix`, `gs://…`, `az://…`, `https://…`, or the scheme of a plugin that
you installed. Options of the storage go with `--option NAME=VALUE` ([all of them](urls.md)).

`--json` prints one JSON document. What is destructive has `--dry-run` where that means something, and
asks; `--yes` answers. Where there is no terminal to ask, the command ends without doing anything.

```console
$ icechunk-core import-netcdf 2024-*.nc ./climate --append-dim time
$ icechunk-core import-virtual s3://archive/2024-01.nc s3://my-bucket/climate -s region=eu-west-1
$ icechunk-core log ./climate
$ icechunk-core copy ./climate s3://my-bucket/climate --verify
$ icechunk-core gc s3://my-bucket/climate --older-than 30d --dry-run
$ icechunk-core storage verify s3://my-bucket/somewhere
```

## Exit codes

| code | meaning |
|---|---|
"""
_MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FOUND_PROBLEMS: "done, and problems were found",
    ExitCode.USAGE: "wrong arguments, or a question that nobody answered",
    ExitCode.NOT_FOUND: "no such repository, branch, tag, snapshot or node",
    ExitCode.CONFLICT: "somebody else was first, or it exists already; nothing was changed",
    ExitCode.STORAGE: "the storage could not be reached, refused, or is full",
    ExitCode.UNKNOWN: "the storage did not say whether a change took place; look before repeating it",
    ExitCode.FAILED: "anything else, such as a damaged object",
}


def page() -> str:
    """The page, as Markdown."""
    rows = "".join(f"| {int(code)} | {_MEANINGS[code]} |\n" for code in ExitCode)
    root = get_command(app)
    parts = [_HEAD + rows]
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        parts.extend(_sections(name, command))
    return "\n".join(parts)


def _sections(name: str, command: Any) -> list[str]:
    sections = [_section(name, command)]
    for below, inner in getattr(command, "commands", {}).items():
        sections.extend(_sections(f"{name} {below}", inner))
    return sections


def _section(name: str, command: Any) -> str:
    lines = [f"## {name}", "", _text(command.help), ""]
    if getattr(command, "commands", None) and not command.invoke_without_command:
        return "\n".join(lines)
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    words = [_usage(each) for each in arguments]
    lines += [
        "```text",
        " ".join(["icechunk-core", name, *words, *(["[OPTIONS]"] if options else [])]),
        "```",
        "",
    ]
    if options:
        lines += ["| option | |", "|---|---|"]
        lines += [f"| {_names(each)} | {_text(each.help)} |" for each in options]
        lines.append("")
    return "\n".join(lines)


def _text(help: str | None) -> str:
    return " ".join((help or "").split()).replace("|", "\\|")


def _usage(argument: Any) -> str:
    word = str(argument.metavar or argument.name.upper())
    return word if argument.required else f"[{word}]"


def _names(option: Any) -> str:
    return ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
