"""Links of the documentation lead somewhere; nothing is asked over the network."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.docs.test_urls_page import load

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
REFERENCE = re.compile(r"\]\[([\w.]+)\]")
HEADING = re.compile(r"^#{1,6} (.+?)(?: #*)?$", re.MULTILINE)


def _text(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown's table of contents makes them.

    >>> import tempfile
    >>> page = Path(tempfile.mkdtemp()) / "page.md"
    >>> _ = page.write_text("# Use `S3`, and more\\n## [Title](x.md)\\n## Title\\n")
    >>> sorted(anchors(page))
    ['title', 'title_1', 'use-s3-and-more']
    """
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in HEADING.findall(_text(page)):
        named = re.search(r"\{#([\w-]+)\}\s*$", heading)
        if named:
            found.add(named[1])
            continue
        plain = re.sub(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", heading).replace("`", "")
        ascii_only = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_only).strip().lower())
        found.add(f"{slug}_{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def _links(page: Path) -> list[str]:
    return LINK.findall(
        CODE.sub("", _text(page)) + " ".join(re.findall(r"\[`[^`]*`\]\([^)\s]+\)", _text(page)))
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_documentation(page: Path) -> None:
    """Each relative link names a file, and its anchor a heading there; pages of the site stay on it."""
    for link in _links(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.exists(), f"{link} leads nowhere"
        if parts.fragment:
            assert parts.fragment in anchors(target), f"{link}: there is no such heading"
        if DOCS in page.parents:
            assert DOCS in target.parents, f"{link} leads out of the site"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_elsewhere(page: Path) -> None:
    """Each external link is a complete web address."""
    for link in _links(page):
        parts = urlsplit(link)
        if parts.scheme and parts.scheme != "mailto":
            assert parts.scheme == "https", f"{link} is not https"
            assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc), f"{link} has no host"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_references_to_the_api(page: Path) -> None:
    """Each ``[text][icechunk_core.Name]`` is a name, or a member of a name, of the API reference."""
    writer: Any = load(DOCS / "reference" / "api_page.py")
    known = set(writer.described().values())
    for path in REFERENCE.findall(_text(page)):
        owner = path.rpartition(".")[0]
        assert path in known or owner in known, f"the API reference has no {path}"


def test_every_page_is_in_the_navigation() -> None:
    """Readers find each page of the site in its navigation, and the navigation has no others."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = set(re.findall(r"[\w./-]+\.md", navigation))
    assert named == {str(page.relative_to(DOCS)) for page in PAGES if DOCS in page.parents}
