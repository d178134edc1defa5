"""Writes the pages of the API reference: ``python docs/reference/api_page.py``.

A public name is one in ``__all__`` of `icechunk_core` or of a module in `MODULES`. Each is described on
one page; `GROUPS` says on which, and a new name has to be given its place there.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from functools import cache
from itertools import pairwise
from pathlib import Path

from attrs import frozen

FOLDER = Path(__file__).parent / "api"
PACKAGE = Path(__file__).parents[2] / "icechunk_core"
INDEX = Path(__file__).with_name("api.md")

MODULES = (
    "about",
    "codec_pipeline",
    "config",
    "conflicts",
    "contract",
    "credentials",
    "dask",
    "distributed",
    "errors",
    "kerchunk",
    "logs",
    "ops",
    "plugins",
    "snapshots",
    "storage",
    "testing",
    "types",
    "virtual",
    "virtualizarr",
    "xarray",
)
"""The modules whose names are public, besides those of the package itself."""


@frozen
class Group:
    """A page: names of the package one by one, and modules whole."""

    page: str
    title: str
    intro: str
    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


GROUPS = (
    Group(
        "repositories",
        "Repositories",
        "Create and open a repository, its branches, tags and history.",
        (
            *("Repository", "upgrade_icechunk_repository", "SpecVersion", "CommitMethod"),
            *("SnapshotInfo", "AncestryGraph", "ManifestFileInfo", "Diff"),
            *("RepoStatus", "RepoAvailability", "FeatureFlag", "Attribution", "Update", "UpdateType"),
        ),
    ),
    Group(
        "sessions",
        "Sessions and stores",
        "Read and change one version, and commit.",
        ("Session", "ForkSession", "SessionMode", "ChunkType", "IcechunkStore", "VirtualChunkSpec"),
    ),
    Group(
        "observing",
        "Observing and showing",
        "What was asked of storages, which settings apply, and what is where. "
        "How to [observe](../../how-to/observe.md) and [work in notebooks](../../how-to/notebooks.md).",
        (
            *("IoStats", "OperationStats", "EffectiveConfig", "EffectiveSetting", "SettingSource"),
            *("NodeTree", "ChunkMap"),
        ),
    ),
    Group(
        "conflicts",
        "Conflicts and their solvers",
        "Which conflicts there are, and what the solvers make of them, is in a [table](../conflicts.md).",
        (
            *("ConflictSolver", "ConflictDetector", "BasicConflictSolver"),
            *("Conflict", "ConflictType", "VersionSelection"),
        ),
    ),
    Group(
        "maintenance",
        "Reports of maintenance",
        "What the maintaining methods of [`Repository`][icechunk_core.Repository] return.",
        (
            *("GCSummary", "ChunkStorageStats", "PackStats", "RepackSummary", "CopySummary"),
            *("VerifyReport", "Progress"),
        ),
    ),
    Group(
        "configuration",
        "Classes of the configuration",
        "All settings with their defaults are in a [table](../configuration.md).",
        (
            *("RepositoryConfig", "CompressionConfig", "CompressionAlgorithm", "CachingConfig"),
            *("ManifestConfig", "ManifestPreloadConfig", "ManifestPreloadCondition"),
            *("ManifestSplittingConfig", "ManifestSplitCondition", "ManifestSplitDimCondition"),
            *("ManifestSplitValues", "SplitSizesDict", "ManifestVirtualChunkLocationCompressionConfig"),
            *("RepoUpdateRetryConfig", "VirtualChunkContainer", "PackConfig"),
        ),
    ),
    Group(
        "storages",
        "Storages",
        "Functions that open storages, wrappers around them, and the settings that they share. "
        "All options of the backends are in a [table](../urls.md).",
        modules=("storage",),
    ),
    Group(
        "credentials",
        "Credentials",
        "How storages and virtual chunks sign requests.",
        modules=("credentials",),
    ),
    Group(
        "contract",
        "Contract of storages",
        "What a storage plugin implements, and how plugins are found.",
        modules=("contract", "plugins"),
    ),
    Group(
        "writing",
        "Writing with xarray, dask, VirtualiZarr and kerchunk",
        "Optional parts; they need the packages that they are named after. And a codec pipeline for zarr.",
        modules=("xarray", "virtualizarr", "kerchunk", "dask", "distributed", "codec_pipeline"),
    ),
    Group(
        "store-centred",
        "Store-centred API",
        "One object for repository, session and store; [how it is used](../store-api.md).",
        ("StorageConfig", "StoreConfig", "VirtualRefConfig", "SnapshotMetadata"),
    ),
    Group(
        "errors",
        "Classes of errors",
        "All errors with their kinds are in a [table](../errors.md).",
        modules=("errors",),
    ),
    Group("logs", "Logs, versions, tests", "", modules=("logs", "about", "testing")),
)

HEAD = """\
# API

Everything here is imported from `icechunk_core`, unless a module is named. Methods that do I/O come twice:
`commit` blocks, `commit_async` is the coroutine. Names, signatures and behaviour are those of `icechunk` 2.3,
with [these differences](differences.md).

This page and those that it leads to are written by `docs/reference/api_page.py` from the docstrings.
"""


def public_names(module: str = "") -> list[str]:
    """What a module offers, in the order of the alphabet."""
    name = f"icechunk_core.{module}" if module else "icechunk_core"
    return sorted(importlib.import_module(name).__all__, key=str.lower)


def path_of(group: Group, name: str) -> str:
    """The path by which a name of a group is imported."""
    in_config = not hasattr(importlib.import_module("icechunk_core"), name)
    return f"icechunk_core.config.{name}" if in_config else f"icechunk_core.{name}"


def described() -> dict[str, str]:
    """Every name that some page describes, with its path; what a page takes from two modules counts once."""
    found: dict[str, str] = {}
    for group in GROUPS:
        found |= {name: path_of(group, name) for name in group.names}
        for module in group.modules:
            for name in public_names(module):
                found.setdefault(name, f"icechunk_core.{module}.{name}")
    return found


def render_page(group: Group) -> str:
    """A page of the reference as Markdown."""
    lines = [f"# {group.title}", *(["", group.intro] if group.intro else [])]
    for path in [*(path_of(group, name) for name in group.names), *map(_module, group.modules)]:
        lines += ["", f"::: {path}"]
        if _is_enum(path):
            lines += ["    options:", "      show_if_no_docstring: true"]
    return "\n".join(lines) + "\n"


def _is_enum(path: str) -> bool:
    module, _, name = path.rpartition(".")
    value = getattr(importlib.import_module(module), name, None)
    return inspect.isclass(value) and issubclass(value, Enum)


def render_index() -> str:
    """The page that leads to every name."""
    lines = [HEAD]
    for group in GROUPS:
        lines += [f"## [{group.title}](api/{group.page}.md)", ""]
        if group.intro:
            lines += [group.intro.replace("](../", "]("), ""]
        lines += ["| Name | Is |", "|---|---|"]
        lines += [f"| [`{name}`][{path}] | {summary} |" for name, path, summary in _entries(group)]
        lines += [""]
    return "\n".join(lines)


def _entries(group: Group) -> Iterator[tuple[str, str, str]]:
    for name in group.names:
        yield name, path_of(group, name), _summary(path_of(group, name))
    for module in group.modules:
        for name in public_names(module):
            path = f"icechunk_core.{module}.{name}"
            if described()[name] == path:
                yield name if name in public_names() else f"{module}.{name}", path, _summary(path)


def _module(name: str) -> str:
    return f"icechunk_core.{name}"


@cache
def _of_values() -> dict[str, str]:
    """The docstrings below assignments, by the assigned name."""
    found: dict[str, str] = {}
    for source in sorted(PACKAGE.rglob("*.py")):
        body = ast.parse(source.read_text(encoding="utf-8")).body
        for statement, following in pairwise(body):
            targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                names = [each.id for each in targets if isinstance(each, ast.Name)]
                found |= dict.fromkeys(names, str(following.value.value))
    return found


def _summary(path: str) -> str:
    """The first sentence of a docstring."""
    module, _, name = path.rpartition(".")
    value = getattr(importlib.import_module(module), name)
    own = inspect.isclass(value) or inspect.isfunction(value)
    text = (inspect.getdoc(value) if own else _of_values().get(name)) or ""
    sentence = re.split(r"(?<=[.!?])\s|\n\n", " ".join(text.split("\n\n")[0].split()))[0]
    return sentence.replace("``", "`").replace("|", "\\|")


def write() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for group in GROUPS:
        (FOLDER / f"{group.page}.md").write_text(render_page(group), encoding="utf-8")
    INDEX.write_text(render_index(), encoding="utf-8")


if __name__ == "__main__":
    write()
