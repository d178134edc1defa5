"""Reports of long operations to whoever started them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen

__all__ = ["OnProgress", "Progress", "Reporter"]


@frozen
class Progress:
    """How far an operation is.

    Attributes
    ----------
    phase
        What is being done: ``"snapshots"``, ``"manifests"``, ``"delete chunks"``, ...
    done
        Things of this phase done so far; never decreases within a phase.
    total
        How many there are, if that is known.
    """

    phase: str
    done: int
    total: int | None = None


OnProgress: TypeAlias = Callable[[Progress], None]
"""Called from the thread that does the work; what it raises ends the operation."""


class Reporter:
    """Counts and reports, or nothing if nobody listens."""

    def __init__(self, listener: OnProgress | None) -> None:
        self._listener = listener
        self._phase = ""
        self._done = 0
        self._total: int | None = None

    def start(self, phase: str, total: int | None = None) -> None:
        """Begin a phase."""
        self._phase, self._done, self._total = phase, 0, total
        self._tell()

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        self._tell()

    def _tell(self) -> None:
        if self._listener is not None:
            self._listener(Progress(self._phase, self._done, self._total))
