"""The pages of the API reference are current and complete."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import icechunk_core
from tests.docs.test_urls_page import load

ROOT = Path(__file__).parents[2]
CLASSES = [
    each
    for each in (getattr(icechunk_core, name) for name in icechunk_core.__all__)
    if inspect.isclass(each)
    and not issubclass(each, Enum)  # the names of an enum's members say what they are
]
INNER = {"default_kind", "previous_file", "required", "schemes", "unknown", "value", "variant"}
"""Attributes of classes of errors and settings that belong to how they are built."""

writer: Any = load(ROOT / "docs" / "reference" / "api_page.py")


def test_the_index_is_current() -> None:
    """`docs/reference/api.md` is what `api_page.py` writes from the docstrings."""
    assert writer.INDEX.read_text(encoding="utf-8") == writer.render_index(), (
        "run python docs/reference/api_page.py"
    )


@pytest.mark.parametrize("group", writer.GROUPS, ids=lambda group: group.page)
def test_each_page_is_current_and_in_the_navigation(group: Any) -> None:
    """Each group of names has its page, as `api_page.py` writes it, and readers find it."""
    page = writer.FOLDER / f"{group.page}.md"
    assert page.read_text(encoding="utf-8") == writer.render_page(group), (
        "run python docs/reference/api_page.py"
    )
    assert f"reference/api/{group.page}.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_no_other_pages_are_left() -> None:
    """The folder has the pages of the groups and no others."""
    assert {page.stem for page in writer.FOLDER.iterdir()} == {group.page for group in writer.GROUPS}


@pytest.mark.parametrize("module", ["", *writer.MODULES])
def test_every_public_name_is_described(module: str) -> None:
    """Every name in ``__all__`` of the package and of its public modules is in the reference."""
    missing = [name for name in writer.public_names(module) if name not in writer.described()]
    assert not missing, "give them a place in GROUPS of docs/reference/api_page.py, then run it"


def test_every_name_says_what_it_is() -> None:
    """No name of the reference lacks its sentence."""
    lines = [line for line in writer.render_index().splitlines() if line.startswith("| [")]
    assert lines
    assert not [line for line in lines if line.endswith("|  |")]


def _members_without_a_word(cls: type[Any]) -> Iterator[str]:
    own = [each for each in cls.__mro__ if each.__module__.startswith("icechunk_core")]
    told = " ".join(inspect.getdoc(each) or "" for each in own)
    for name in dir(cls):
        owner = next((each for each in own if name in vars(each)), None)
        if name.startswith("_") or owner is None:
            continue
        member = inspect.getattr_static(cls, name)
        member = getattr(member, "__func__", member)
        has_docstring = isinstance(member, property) or callable(member)
        if has_docstring and member.__doc__:
            continue
        below = re.search(rf'^    {name}\b.*\n    """', inspect.getsource(owner), re.MULTILINE)
        if not below and not re.search(rf"\b{name}\b", told):
            yield name


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_member_is_described(cls: type[Any]) -> None:
    """Each method and attribute of a public class has a docstring, or is in that of the class."""
    assert set(_members_without_a_word(cls)) <= INNER
