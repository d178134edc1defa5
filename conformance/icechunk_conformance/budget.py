"""How much work the suite may do."""

from __future__ import annotations

from attrs import frozen

__all__ = ["BUDGETS", "LARGE", "NORMAL", "SMALL", "Budget"]


@frozen
class Budget:
    """Sizes of the expensive checks.

    Attributes
    ----------
    large_object
        Bytes of the large objects; up to four times as many where only larger ones are uploaded in parts.
    listing
        Objects in the many-page listing; more than one page of every known server from ``normal`` on.
    threads, processes
        Contenders of a race.
    rounds
        Keys that are raced for.
    increments
        Counter increments of each contender.
    timeout
        Seconds after which one check is given up; less once several were (`Patience`).
    patience
        Seconds after which a client gives up a server that says nothing, where it can be told to.
    programs
        Random programs that are compared with a model.
    commits
        Commits of each process that races for a branch.
    """

    name: str
    large_object: int
    listing: int
    threads: int
    processes: int
    rounds: int
    increments: int
    timeout: float
    patience: float = 1.5
    programs: int = 2
    commits: int = 3


SMALL = Budget("small", 5 << 20, 1_100, 4, 3, 18, 8, 60.0)
NORMAL = Budget("normal", 24 << 20, 2_500, 6, 4, 40, 15, 180.0, 2.0, programs=10, commits=6)
LARGE = Budget("large", 160 << 20, 11_000, 8, 8, 100, 40, 900.0, 2.0, programs=40, commits=10)
BUDGETS = {budget.name: budget for budget in (SMALL, NORMAL, LARGE)}
