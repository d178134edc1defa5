"""Seeded chance: programs and schedules that look random and can be repeated by their seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from icechunk_core.ids import SeededIds, SystemIds

__all__ = ["Chance", "fresh_seed"]

T = TypeVar("T")


def fresh_seed() -> int:
    """A seed that differs from run to run."""
    return int(SystemIds().uniform() * 2**31)


class Chance:
    """A sequence of choices that a seed decides.

    >>> [Chance(7).below(10) for _ in range(3)] == [Chance(7).below(10) for _ in range(3)]
    True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._uniform = SeededIds(seed).uniform

    def uniform(self) -> float:
        """A number in [0, 1)."""
        return self._uniform()

    def below(self, limit: int) -> int:
        """A whole number in [0, limit)."""
        return int(self._uniform() * limit)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.below(len(options))]
