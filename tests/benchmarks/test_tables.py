"""The tables of results: what they say of figures and goals, and where they are put."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import run
from tests.benchmarks.sizes import TINY
from tests.benchmarks.table import Heading, Row, Words, render


def test_the_ratio_is_taken_within_rounds() -> None:
    """A slow moment of the machine meets both contestants: the ratio is the median of the rounds' ratios."""
    row = Row("work", "s", {"ours": [1.0, 10.0, 2.0], "peer": [2.0, 30.0, 5.0]}, target=2.5)
    assert row.ratio() == 2.5
    assert row.cells() == ["work", "s", "2", "5", "–", "2.5 ×", "≥ 2.5 × PASS"]


@pytest.mark.parametrize(
    ("either", "verdict"),
    [(False, "≥ 3 × MISS, ≤ 1.2 × zarr's PASS"), (True, "≥ 3 × or ≤ 1.2 × zarr's PASS")],
)
def test_several_goals(either: bool, verdict: str) -> None:
    """Each goal has a verdict, or, where one of them is enough, all together."""
    samples = {"ours": [1.1], "peer": [2.2], "zarr": [1.0]}
    assert Row("work", "s", samples, target=3, floor=1.2, either=either).verdict() == verdict


def test_a_limit_needs_no_peer() -> None:
    """A figure that may be so large at most is judged alone."""
    assert Row("memory", "MB", {"ours": [301.0]}, target=2, most=300).verdict() == "≤ 300 MISS"


def test_rendering() -> None:
    """All lines have the same columns, those with figures to the right."""
    table = render([Heading("Races"), Words("race", "80, 80", "80, 71", "none lost", True)])
    lines = table.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].count(":") == 4
    assert lines[3].split("|")[3].strip() == "80, 80"
    assert lines[3].rstrip(" |").endswith("none lost PASS")


def test_the_section_of_a_page() -> None:
    """What stands between the marks is replaced, again and again; all else stays."""
    page = f"before\n{run.BEGIN}\nold\n{run.END}\nafter\n"
    once = run.replaced(page, "new")
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert run.replaced(once, "new") == once
    with pytest.raises(ValueError, match="no section"):
        run.replaced("a page", "new")


def test_the_page_of_results_has_the_section() -> None:
    """`--write` finds its place in the page with the results."""
    page = Path(__file__).parents[2] / "docs" / "performance.md"
    run.replaced(page.read_text(encoding="utf-8"), "")


def test_a_run_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run measures in processes of their own, prints the table and puts it into a page."""
    page = tmp_path / "page.md"
    page.write_text(f"# Results\n\n{run.BEGIN}{run.END}\n")
    run.main(["--only", "memory", "--write", str(page)], TINY)
    printed = capsys.readouterr().out
    assert "0.01 GB in chunks of 4 KiB: memory above what is in flight" in printed
    assert printed.strip() in page.read_text()
