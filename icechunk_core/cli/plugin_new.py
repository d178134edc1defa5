"""``plugins new``: a plugin to begin with, complete and proven, made from a template."""

from __future__ import annotations

import importlib.resources
import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from icechunk_core.cli.exit_codes import ExitCode
from icechunk_core.cli.output import fail, print_lines
from icechunk_core.plugins import known_schemes, known_wrappers

__all__ = ["files_of_plugin", "new_plugin"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SCHEME = re.compile(r"[a-z][a-z0-9-]+")
_DECORATION = re.compile(r"^icechunk-|-(backend|wrapper|storage|plugin)$")
_TAKEN = frozenset({"attrs", "filelock", "icechunk", "icechunk_core", "icechunk_conformance", "tests"})
_FILES = {
    "pyproject.toml": "{kind}/pyproject.toml",
    "README.md": "{kind}/README.md",
    "{package}/__init__.py": "init.py",
    "{package}/py.typed": None,
    "{package}/plugin.py": "{kind}/plugin.py",
    "{package}/_storage.py": "{kind}/storage.py",
    "tests/test_{package}.py": "{kind}/test.py",
}


def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of the distribution, e.g. icechunk-acme-backend.")],
    scheme: Annotated[
        str | None,
        typer.Option(help="What its URLs begin with; without it the name without icechunk- and -backend."),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(help="Where to put it; without it a folder of the name, here.")
    ] = None,
    wrapper: Annotated[
        bool, typer.Option("--wrapper", help="Something to put around any storage, not a storage.")
    ] = False,
) -> None:
    """Begin a plugin of your own: a package that works, with its tests, to be changed into what you need.

    A backend keeps objects as files of one directory and is commit-safe from the start; a wrapper logs
    slow calls. Nothing that is there is overwritten.
    """
    chosen = scheme if scheme is not None else _DECORATION.sub("", _DECORATION.sub("", name))
    problem = _problem_with(name, chosen, wrapper=wrapper)
    if problem is not None:
        raise fail(problem, ExitCode.USAGE)
    folder = directory if directory is not None else Path(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise fail(
            f"{folder} exists and is not empty; nothing was written. Choose another --directory",
            ExitCode.CONFLICT,
        )
    files = files_of_plugin(name, chosen, wrapper=wrapper)
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with (folder / path).open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        raise fail(f"cannot write to {folder}: {error.strerror or error}", ExitCode.STORAGE) from error
    url = f"{chosen}+file:///tmp/somewhere" if wrapper else f"{chosen}:///tmp/somewhere"
    print_lines("\n".join(str(folder / path) for path in files))
    print_lines(
        f"\nNext:\n  cd {folder}\n  pip install -e '.[test]'\n  pytest\n  icechunk-core storage verify {url}"
    )


def files_of_plugin(name: str, scheme: str, *, wrapper: bool = False) -> Mapping[str, str]:
    """The files of a new plugin, by path.

    >>> list(files_of_plugin("icechunk-acme-backend", "acme"))[-1]
    'tests/test_icechunk_acme_backend.py'
    """
    package = name.replace("-", "_")
    kind = "wrapper" if wrapper else "backend"
    words = {
        "distribution": name,
        "package": package,
        "scheme": scheme,
        "name": "".join(part.capitalize() for part in scheme.split("-")),
    }
    templates = importlib.resources.files("icechunk_core.cli") / "plugin_template"
    found: dict[str, str] = {}
    for path, template in _FILES.items():
        text = ""
        if template is not None:
            text = (templates / f"{template.format(kind=kind)}.template").read_text(encoding="utf-8")
        found[path.format(package=package)] = Template(text).substitute(words)
    return found


def _problem_with(name: str, scheme: str, *, wrapper: bool) -> str | None:
    """Why a plugin cannot be named so, or ``None``."""
    package = name.replace("-", "_")
    if not _NAME.fullmatch(name):
        return (
            f"{name!r} cannot be the name of a distribution here: lower-case letters, digits and single "
            "hyphens, beginning with a letter"
        )
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in _TAKEN:
        return f"the package of {name!r} would be {package}, which is taken; choose another name"
    if not _SCHEME.fullmatch(scheme):
        return (
            f"{scheme!r} cannot begin a URL: two or more lower-case letters, digits and hyphens, beginning "
            "with a letter; choose one with --scheme"
        )
    if scheme in (known_wrappers() if wrapper else known_schemes()):
        return f"a plugin for {scheme!r} is installed already; choose another one with --scheme"
    return None
