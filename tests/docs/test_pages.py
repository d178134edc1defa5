"""Pages that name files or are written from code are up to date."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE_ROW = re.compile(r"^\| (?!I want to change|---)(?P<what>[^|]+) \| (?P<cells>.+) \|$", re.MULTILINE)


def _rows() -> list[tuple[str, str]]:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## I want to change", 1)[1].split("\n## ", 1)[0]
    return [(row["what"], row["cells"]) for row in TABLE_ROW.finditer(section)]


@pytest.mark.parametrize(("what", "cells"), _rows(), ids=[what for what, _ in _rows()])
def test_every_path_in_the_contributing_table_exists(what: str, cells: str) -> None:
    """Each row of "I want to change" names a file, its test and its doc, and all of them exist."""
    columns = cells.split(" | ")
    assert len(columns) == 3
    for column in columns:
        paths = re.findall(r"`([^`]+)`", column)
        assert paths, f"{what}: a column names no path"
        for path in paths:
            assert list(ROOT.glob(path)), f"{what}: {path} does not exist"


def test_relative_links_lead_somewhere() -> None:
    """Every relative link in README, CONTRIBUTING, CHANGELOG and docs leads to a file."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not target.startswith(("http://", "https://", "mailto:"))
    ]
    broken = [(str(page), target) for page, target in links if not (page.parent / target).exists()]
    assert links
    assert not broken


def test_the_errors_page_is_current() -> None:
    """`docs/reference/errors.md` is what `errors_page.py` writes from the classes."""
    source = ROOT / "docs" / "reference" / "errors_page.py"
    spec = importlib.util.spec_from_file_location("errors_page", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.render(), (
        f"run python {source.relative_to(ROOT)}"
    )


def test_every_decision_is_listed() -> None:
    """Each record in `docs/decisions` is in its index and in the navigation."""
    index = (ROOT / "docs" / "decisions" / "index.md").read_text(encoding="utf-8")
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    records = [path.name for path in (ROOT / "docs" / "decisions").glob("0*.md")]
    assert records
    for record in records:
        assert record in index
        assert f"decisions/{record}" in navigation


def test_the_version_is_the_same_everywhere() -> None:
    """The version in `pyproject.toml` is the one that the package reports."""
    import tomllib

    import icechunk_core

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert icechunk_core.__version__ == declared


def test_every_layer_is_explained() -> None:
    """The page about the architecture has each layer of the import contract, in the same order."""
    import configparser

    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    layers = re.findall(r"\b[a-z]\w*", contracts["importlinter:contract:layers"]["layers"])
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## Layers")[2].partition("\n## ")[0]
    rows = [
        re.findall(r"`(\w+)`", row.split("|")[1]) for row in section.splitlines() if row.startswith("| `")
    ]
    named = [name for row in rows for name in row]
    assert set(layers) <= set(named), "a layer of .importlinter is not in docs/explanation/architecture.md"
    assert set(named) <= set(layers), (
        "docs/explanation/architecture.md has a layer that is not in .importlinter"
    )
    places = {name: layers.index(name) for name in named}
    tops = [min(places[name] for name in row) for row in rows]
    assert tops == sorted(tops), "the layers of docs/explanation/architecture.md are in another order"


def test_every_extra_is_explained() -> None:
    """The start page says what each extra of the distribution is for, but for those that develop it."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    section = (ROOT / "docs" / "index.md").read_text(encoding="utf-8").partition("## Install")[2]
    table = [
        line.split("|")[1] for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")
    ]
    named = [name for cell in table for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(set(project["optional-dependencies"]) - {"demo", "dev", "docs", "test"})


def test_levels_are_told_as_they_were_found() -> None:
    """The page about what storages promise gives each server the level that its report gives it."""
    table = (ROOT / "docs" / "reference" / "backends.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "explanation" / "consistency.md").read_text(encoding="utf-8")
    bullets = dict(re.findall(r"^\* \*\*([\w-]+)\*\*(.*?)(?=\n\* |\n\n)", page, re.MULTILINE | re.DOTALL))
    plain = {"memory": "memory", "filesystem": "local directory", "http": "web servers"}
    rows = re.findall(r"^\| (\w+) \| ([^|]+) \| \*\*([\w-]+)\*\* \|", table, re.MULTILINE)
    assert rows
    for backend, server, level in rows:
        assert plain.get(backend, server.split()[0]) in bullets[level], f"{server} is at the level {level}"
