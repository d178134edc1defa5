"""What a function says that could only give the answer after waiting for something."""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["LATER", "Later"]


class Later(Enum):
    """The type of `LATER`."""

    LATER = "not at hand: nothing was done, await the coroutine that does the same"


LATER: Final = Later.LATER
"""The answer is not at hand."""
