"""How far the random tests search: `ICECHUNK_TEST_SEARCH` is a factor for their numbers of programs."""

from __future__ import annotations

import os

__all__ = ["examples"]

_FACTOR = float(os.environ.get("ICECHUNK_TEST_SEARCH", "1"))


def examples(count: int) -> int:
    """The number of examples of a long search: ``count``, where nobody asks for more or fewer."""
    return max(1, round(count * _FACTOR))
