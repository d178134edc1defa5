"""The examples in docstrings work as printed."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest

PACKAGES = ("icechunk_core", "icechunk_memory", "icechunk_filesystem", "icechunk_conformance")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _modules() -> list[str]:
    """Every module with an example in it; those that run as programs are not imported."""
    found = []
    for package in PACKAGES:
        root = importlib.import_module(package)
        found.append(package)
        found += [
            info.name
            for info in pkgutil.walk_packages(root.__path__, f"{package}.")
            if "__main__" not in info.name
        ]
    sources = {name: importlib.util.find_spec(name) for name in found}
    return [
        name
        for name, spec in sources.items()
        if spec is not None and spec.origin and ">>> " in Path(spec.origin).read_text(encoding="utf-8")
    ]


MODULES = _modules()


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example in the docstrings of a module prints what it says."""
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_modules_with_examples_are_found() -> None:
    """The search finds the packages' own examples."""
    assert {"icechunk_core", "icechunk_core.drive", "icechunk_core.clock"} <= set(MODULES)
