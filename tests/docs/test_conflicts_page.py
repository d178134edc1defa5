"""The page of conflicts says what the table in the code says, and the table is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from icechunk_core import ConflictType, VersionSelection
from icechunk_core.transaction.conflicts import RULES
from tests.docs.test_urls_page import load

ROOT = Path(__file__).parents[2]
writer: Any = load(ROOT / "docs" / "reference" / "conflicts_page.py")


def test_the_page_is_current() -> None:
    """`docs/reference/conflicts.md` is what `conflicts_page.py` writes from `RULES`."""
    text = writer.PAGE.read_text(encoding="utf-8")
    assert text == writer.render(), "run python docs/reference/conflicts_page.py"


def test_every_kind_has_one_row() -> None:
    """Each `ConflictType` is one rule, and one row of the page."""
    assert sorted(rule.conflict_type for rule in RULES) == sorted(ConflictType)
    table = writer.render().partition("## What the solvers do")[0]
    assert [table.count(f"| `{kind.name}` |") for kind in ConflictType] == [1] * len(ConflictType)


def test_solvers_choose_only_what_is_offered() -> None:
    """No solver of the library decides a conflict for which the table has no way out."""
    for rule in RULES:
        for name in writer.SOLVER_COLUMNS:
            chosen = writer.outcome(rule, name)
            assert chosen is VersionSelection.Fail or chosen in rule.ways_out
