"""The pages of the hooks are what the specifications and the checks say."""

from __future__ import annotations

from typing import Any

import pytest

from icechunk_conformance.hooks import CHECKS_OF_HOOKS, checks_of
from icechunk_conformance.registry import GROUPS, all_checks
from tests.docs.test_urls_page import ROOT, load

writer: Any = load(ROOT / "docs" / "reference" / "hooks_page.py")


def test_the_pages_are_current() -> None:
    """`docs/reference/hooks` is what `hooks_page.py` writes, no page more, and all are in the navigation."""
    made = writer.pages()
    found = {path.name: path.read_text(encoding="utf-8") for path in writer.FOLDER.glob("*.md")}
    assert found == made, "run python docs/reference/hooks_page.py"
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [name for name in made if f"reference/hooks/{name}" not in navigation] == []


@pytest.mark.parametrize("name", writer.SPECIFICATIONS)
def test_every_hook_is_told_completely(name: str) -> None:
    """Each has its promise, every argument, what it returns, an example, and checks that prove it."""
    page = writer.page(name)
    promise, sections = writer._parts(writer.SPECIFICATIONS[name])
    assert promise
    assert "## Example" in page
    assert checks_of(name)
    for argument in writer.inspect.signature(writer.SPECIFICATIONS[name]).parameters:
        assert argument == "self" or f"`{argument}`" in page.split("## Arguments")[1].split("## ")[0]
    returned = writer.inspect.signature(writer.SPECIFICATIONS[name]).return_annotation
    assert ("Returns" in sections) is (returned != "None")


def test_every_check_is_about_a_hook() -> None:
    """The table of hooks and checks names every check, and only checks and groups that exist."""
    known = {check.id for check in all_checks()} | set(GROUPS)
    assert {id for ids in CHECKS_OF_HOOKS.values() for id in ids.split()} <= known
    named = {id for hook in CHECKS_OF_HOOKS for id in checks_of(hook)}
    assert named == {check.id for check in all_checks()}


def test_capabilities_are_named_as_they_are() -> None:
    """The table of hooks and capabilities names all of them."""
    named = {name for names in writer.CAPABILITIES.values() for name in names.split()}
    assert named == set(writer._meanings())
