"""The generated reference page."""

from __future__ import annotations

from pathlib import Path

from icechunk_conformance.reference_page import reference_page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "conformance.md"


def test_the_page_is_current() -> None:
    """``docs/reference/conformance.md`` is what the checks say; the page itself says how to renew it."""
    assert PAGE.read_text(encoding="utf-8") == reference_page()
