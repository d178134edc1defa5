"""The page of the command line."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "docs" / "reference" / "command_line_page.py"


def test_the_page_is_current() -> None:
    """The page tells the commands as they are."""
    pytest.importorskip("typer")
    made = runpy.run_path(str(PROGRAM))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"]()
