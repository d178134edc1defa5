"""The examples in README and docs work as printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.examples import examples_of, run_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# A package of its own: tests/conformance/test_third_party_backend.py installs and runs it.
ELSEWHERE = {DOCS / "how-to" / "write-a-backend.md"}
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    if "examples" not in page.parts and page not in ELSEWHERE and examples_of(page)
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_of_a_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All examples of a page run in order, and print what the page says."""
    monkeypatch.chdir(tmp_path)
    assert run_page(page) > 0


def test_the_pages_with_examples_are_found() -> None:
    """The runner sees README, the tutorial and the how-to pages."""
    names = {page.name for page in PAGES}
    assert {"README.md", "tutorial.md", "travel-in-time.md", "write-concurrently.md"} <= names


def test_a_wrong_output_is_noticed(tmp_path: Path) -> None:
    """A page whose example prints something else fails, and the message names page and line."""
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md:4 prints\n2"):
        run_page(page)


def test_the_readme_example_is_short() -> None:
    """README's example stays within the promised size: ten statements, give or take the prints."""
    (example,) = examples_of(ROOT / "README.md")
    assert len([line for line in example.code.splitlines() if line.strip()]) <= 16
