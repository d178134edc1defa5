"""How long the next check may take: less and less, once checks of a storage do not come to an end.

A server that hangs would otherwise take the whole limit of every check that it hangs in: many minutes until
a verdict that the first few of them have settled.
"""

from __future__ import annotations

from attrs import define

__all__ = ["Patience"]

_SHORTER = 4.0
_SEVERAL = 3


@define
class Patience:
    """The limit of each check.

    The first check that runs into its limit leaves a quarter of it to those that follow, the next one a
    quarter of that, but never less than two seconds. Where three did, and the storage does not even take a
    small object then, a quarter of a second has to do until a check ends by itself. So a storage that does
    nothing at all has its verdict within two minutes or so, and one that hangs in every fifth check.

    Attributes
    ----------
    full
        Seconds of the first check.
    shortest, shortest_if_silent
        Seconds that a check is always given; the latter from a storage that says nothing any more.
    hung
        Checks that ran into their limit so far; slow failures add up to one.
    silent
        Whether the storage says nothing any more.
    """

    full: float
    shortest: float = 2.0
    shortest_if_silent: float = 0.25
    hung: int = 0
    silent: bool = False
    _lost: float = 0.0

    @property
    def limit(self) -> float:
        """Seconds that the next check may take.

        >>> patience = Patience(60.0)
        >>> limits = []
        >>> for _ in range(5):
        ...     limits.append(patience.limit)
        ...     patience.saw(hung=True, answers=False)
        >>> limits
        [60.0, 15.0, 3.75, 0.25, 0.25]
        """
        shortest = self.shortest_if_silent if self.silent else self.shortest
        wanted = shortest if self.silent else max(shortest, self.full / _SHORTER ** min(self.hung, 20))
        return min(self.full, wanted)

    @property
    def shortened(self) -> bool:
        """Whether the next check has less than the full time."""
        return self.limit < self.full

    def saw(self, *, hung: bool, answers: bool = True, lost: float = 0.0) -> None:
        """Note how a check ended, whether the storage answers after one that hung, and the seconds that one
        took which failed without: many such add up to one that hung."""
        self._lost += lost
        if self._lost >= self.full / 4:
            self._lost = 0.0
            self.hung += 1
        self.hung += hung
        self.silent = hung and not answers and self.hung >= _SEVERAL
