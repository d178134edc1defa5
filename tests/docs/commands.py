"""Commands in Markdown pages: what can be run here is run, of the rest it is checked that it exists.

A block of commands is run if all of them are ``icechunk-core`` on local storages. Others need a bucket, a
network, a shell's patterns or minutes; of those each command, with its options, must be one that there is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

__all__ = ["check", "commands_of", "is_local", "run"]

ROOT = Path(__file__).parents[2]
_REMOTE = re.compile(r"^(?!file:|memory:)[a-z][a-z0-9+.-]*:")
_PATTERN = re.compile(r"[*?<>|$]|^[A-Z]{3,}$|…")
_HARMLESS = {"cd", "curl", "ls", "export", "mkdir"}


def commands_of(block: str) -> list[list[str]]:
    """The commands of a block as words; what a session shows between them is left out.

    >>> commands_of("$ icechunk-core log here  # newest first\\n7Q  First data\\n")
    [['icechunk-core', 'log', 'here']]
    >>> commands_of("make test\\nNAME=value make \\\\\\n  lint\\n")
    [['make', 'test'], ['make', 'lint']]
    """
    lines = block.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    split = [shlex.split(line, comments=True) for line in lines]
    return [_without_variables(words) for words in split if words]


def _without_variables(words: list[str]) -> list[str]:
    while len(words) > 1 and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words


def is_local(command: list[str]) -> bool:
    """Whether a command can be run here, with nothing but files of the directory it is run in."""
    words = command[1:]
    local = not any(_REMOTE.match(word) or _PATTERN.search(word) for word in words)
    return command[0] == "icechunk-core" and local and "--install-completion" not in words


def run(command: list[str]) -> str:
    """Run ``icechunk-core`` in this process; what it prints.

    Raises
    ------
    AssertionError
        If it fails.
    """
    from icechunk_core.cli.app import run as run_command

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = run_command(command[1:])
    assert code == 0, f"{shlex.join(command)} ended with {code}"
    return printed.getvalue()


def check(command: list[str]) -> None:
    """Check that a command exists and has the options that it is given.

    Raises
    ------
    AssertionError
        If not, or if nothing here knows how to find out.
    """
    name, *words = command
    if name == "icechunk-core":
        _parse(words)
    elif name == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(words) <= set(targets), f"make has no {words}"
    elif name in ("pip", "uv") or words[:2] == ["-m", "pip"]:
        _check_extras(" ".join(words))
    elif name.startswith("python") and words[0] == "-m":
        _check_module(words[1], [word for word in words[2:] if word.startswith("--")])
    elif name == "python":
        assert (ROOT / words[0]).exists(), f"there is no {words[0]}"
    else:
        assert name in _HARMLESS, f"nothing checks the command {name}; see tests/docs/commands.py"


def _parse(words: list[str]) -> None:
    """Let typer parse the words without doing anything."""
    import typer.main

    from icechunk_core.cli.app import app

    level: Any = typer.main.get_command(app)
    context = level.make_context("icechunk-core", list(words), resilient_parsing=True)
    while hasattr(level, "commands"):
        options = [word for word in words if word.startswith("-")]
        names = [word for word in words if not word.startswith("-")]
        if not names:
            known = {option for each in level.params for option in each.opts}
            assert set(options) <= known | {"--help", "-h"}, f"{options} are no options of icechunk-core"
            return
        assert names[0] in level.commands, f"icechunk-core has no command {names[0]}"
        level, words = level.commands[names[0]], words[words.index(names[0]) + 1 :]
    if words:  # else it is only mentioned
        level.make_context(level.name, list(words), parent=context)


def _check_extras(text: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extras in re.findall(r"(?:icechunk-core|\.)\[([^\]]+)\]", text):
        unknown = set(extras.split(",")) - set(project["optional-dependencies"])
        assert not unknown, f"icechunk-core has no extras {unknown}"


def _check_module(name: str, options: list[str]) -> None:
    if name == "http.server":
        return
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"there is no module {name}"
    assert spec.origin is not None, f"{name} is no module"
    source = Path(spec.origin)
    if source.name == "__init__.py":
        source = source.with_name("__main__.py")
    text = "".join(each.read_text(encoding="utf-8") for each in source.parent.glob("*.py"))
    missing = [option for option in options if option.partition("=")[0] not in text]
    assert not missing, f"python -m {name} has no {missing}"
