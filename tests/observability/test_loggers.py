"""The documentation names the loggers that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "observe.md"
CREATED = re.compile(r"^_\w+ = logging\.getLogger\((.+)\)$", re.MULTILINE)


def loggers() -> set[str]:
    """Names of the loggers of all modules of the package and its backends."""
    found = set()
    for folder in ("icechunk_core", "backends"):
        for path in (ROOT / folder).rglob("*.py"):
            for name in CREATED.findall(path.read_text(encoding="utf-8")):
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                found.add(module if name == "__name__" else name.strip('"'))
    return found


def test_every_logger_is_documented() -> None:
    """The table of the how-to has each logger, by the name that a filter takes, and no other."""
    table = PAGE.read_text(encoding="utf-8").partition("| Logger |")[2]
    assert set(re.findall(r"`(icechunk_core\.[\w.]+)`", table)) == loggers()
