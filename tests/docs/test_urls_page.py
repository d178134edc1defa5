"""The page of storage URLs says what the backends' configuration classes have."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from icechunk_core import storage
from icechunk_core.plugins.firstparty import FIRST_PARTY_EXTRAS

ROOT = Path(__file__).parents[2]


def load(path: Path) -> ModuleType:
    """A script of the documentation as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


writer: Any = load(ROOT / "docs" / "reference" / "urls_page.py")
SPECS = list(writer.specs())


def test_the_page_is_current() -> None:
    """`docs/reference/urls.md` is what `urls_page.py` writes from the classes."""
    assert writer.PAGE.read_text(encoding="utf-8") == writer.render(), (
        "run python docs/reference/urls_page.py"
    )


@pytest.mark.parametrize("spec", SPECS, ids=[spec.name for spec in SPECS])
def test_every_option_is_documented(spec: Any) -> None:
    """The docstring of each configuration class says what each of its options means, and of no others."""
    told = writer.meanings(spec.config)
    options = [each.name for each in writer.options_of(spec.config)]
    assert [name for name in options if not writer.meaning_of(name, told)] == []
    assert set(told) <= set(options)


def test_every_scheme_is_there() -> None:
    """All schemes that the distribution opens, and all constructors, have their section."""
    schemes = {scheme for spec in SPECS for scheme in spec.schemes}
    assert schemes == {"file", "memory", *FIRST_PARTY_EXTRAS}
    named = {name for names in writer.CONSTRUCTORS.values() for name in names}
    assert named == {name for name in storage.__all__ if name.endswith("_storage")} - {"as_storage"}
