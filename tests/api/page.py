"""Writes `docs/reference/differences.md`: ``python -m tests.api.page``."""

from __future__ import annotations

from pathlib import Path

from tests.api.accepted import ACCEPTED, NOT_WALKED
from tests.differential.accepted import BEHAVIOUR

__all__ = ["PAGE", "render"]

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "differences.md"

HEAD = """\
# Differences from Icechunk 2.3

Programs written for the Python package `icechunk` 2.3 run with `import icechunk_core as icechunk`.
A test walks every public name of that package, with all members of classes, parameters and
defaults, and compares them with this one. These are all the differences it finds.

Names, and parameters that may be left out, which only icechunk-core has are no differences;
they are in the [API reference](api.md).
"""
MORE = """
## Differences that names do not show
"""
BEHAVE = """
## Differences of behaviour

Random programs run on both packages side by side, with several sessions, conflicts, moves, expiry
and garbage collection; values, codes of errors, histories, operations logs and data must be equal.
These are all the differences that they found and that stay.
"""


def render() -> str:
    """The page as Markdown."""
    lines = [HEAD, "| Name | Difference | Reason |", "|---|---|---|"]
    for each in ACCEPTED:
        # Where both a module and a class are walked, the name is told once.
        names = [name.replace(":", ".").replace(".()", "()") for name in each.names]
        shown = [name for name in names if not any(other.endswith(f".{name}") for other in names)]
        difference = each.difference or "missing as a class"
        cells = (", ".join(f"`{name}`" for name in shown), _cell(difference), _cell(each.reason))
        lines.append(f"| {' | '.join(cells)} |")
    lines += [MORE, "| Name | Difference |", "|---|---|"]
    lines += [f"| {name} | {_cell(text)} |" for name, text in NOT_WALKED]
    lines += [BEHAVE, "| What | Difference |", "|---|---|"]
    lines += [f"| {name} | {_cell(text)} |" for name, text in BEHAVIOUR]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
