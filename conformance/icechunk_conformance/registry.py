"""The list of checks, and which capabilities call for which."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import frozen

from icechunk_core.contract import AtomicityScope, Capabilities

if TYPE_CHECKING:
    from icechunk_conformance.target import Target

__all__ = ["BY_CHANCE", "GROUPS", "REQUIREMENTS", "Check", "all_checks", "check", "select"]

CheckFunction: TypeAlias = "Callable[[Target], Coroutine[Any, Any, None]]"

GROUPS = {
    "A": "Basics",
    "B": "Byte ranges",
    "C": "Keys",
    "D": "Listing",
    "E": "Conditional put, in sequence",
    "F": "Conditional put, raced",
    "G": "Ambiguous outcomes",
    "H": "Transport faults",
    "I": "Cancellation and event loops",
    "J": "Pickling, fork and secrets",
    "K": "Durability",
    "L": "Random programs and request budgets",
    "M": "The engine on the storage",
}

BY_CHANCE = frozenset({"F13", "F14", "F15", "F16", "G12", "H14", "L01", "M03", "M04", "M05"})
"""Checks that search at random: they may come upon any mistake, or miss one in a single try."""

REQUIREMENTS: dict[str, Callable[[Capabilities], bool]] = {
    "create": lambda it: it.create,
    "update": lambda it: it.update,
    "threads": lambda it: it.atomicity >= AtomicityScope.THREAD,
    "processes": lambda it: it.atomicity >= AtomicityScope.PROCESS,
    "list": lambda it: it.list,
    "ordered_list": lambda it: it.list and it.ordered_list,
    "metadata": lambda it: it.metadata,
    "suffix_range": lambda it: it.suffix_range,
    "copy": lambda it: it.copy,
    "may_suspend": lambda it: it.may_suspend,
    "fork_safe": lambda it: it.fork_safe,
    "read_only": lambda it: it.read_only,
    "unique_versions": lambda it: it.unique_versions,
    "flat": lambda it: it.key_space.value == "flat",
}
"""Names usable in ``requires``; a leading ``!`` means *not declared*."""


@frozen
class Check:
    """One check.

    Attributes
    ----------
    id
        Stable: the group's letter and two digits. Never given to another check.
    title
        A line that says what holds.
    promise
        The docstring: what a user may rely on when the check passes.
    requires
        Capabilities that call for it (`REQUIREMENTS`). A name with ``!`` calls for it
        where that capability is *not* declared: then the operation must raise.
    known_failure
        A documented failure of a real system, where one is known.
    reading
        Whether it is about reading only, so that a read-only storage can be put to it once
        another storage has written the objects (its *writable twin*).
    """

    id: str
    title: str
    promise: str
    requires: tuple[str, ...]
    known_failure: str
    function: CheckFunction
    reading: bool = False

    @property
    def group(self) -> str:
        return self.id[0]

    def missing(self, capabilities: Capabilities, *, twin: bool = False) -> str | None:
        """Why these capabilities do not call for the check, or ``None`` if they do.

        Parameters
        ----------
        twin
            Whether another storage can write what a read-only one reads.
        """
        if capabilities.read_only and "read_only" not in self.requires:
            if not self.reading:
                return "the storage is read-only"
            if not twin:
                return "the storage is read-only, and nothing else can write what it reads (--writable-twin)"
        for name in self.requires:
            declared = REQUIREMENTS[name.lstrip("!")](capabilities)
            if declared is name.startswith("!"):
                plain = name.lstrip("!")
                return f"{plain} is declared" if declared else f"{plain} is not declared"
        return None


_CHECKS: dict[str, Check] = {}


def check(
    id: str, title: str, *, requires: tuple[str, ...] = (), known_failure: str = "", reading: bool = False
) -> Callable[[CheckFunction], CheckFunction]:
    """Register a check; the function stays a plain coroutine function."""
    if id in _CHECKS or id[0] not in GROUPS:
        raise ValueError(f"check id {id!r} is taken, or its group is unknown")
    for name in requires:
        if name.lstrip("!") not in REQUIREMENTS:
            raise ValueError(f"check {id}: unknown requirement {name!r}")

    def register(function: CheckFunction) -> CheckFunction:
        promise = inspect.getdoc(function)
        if not promise:
            raise ValueError(f"check {id} needs a docstring that says what it promises")
        _CHECKS[id] = Check(id, title, promise, requires, known_failure, function, reading)
        return function

    return register


def all_checks() -> list[Check]:
    """Every check, by id."""
    from icechunk_conformance import checks

    checks.load()
    return [_CHECKS[id] for id in sorted(_CHECKS)]


def select(only: list[str] | None) -> list[Check]:
    """The checks whose id is, or whose group is, among ``only`` (``None``: all).

    Raises
    ------
    ValueError
        If a name is neither a check nor a group.
    """
    checks = all_checks()
    if not only:
        return checks
    wanted = [name.strip().upper() for name in only if name.strip()]
    known = {check.id for check in checks} | set(GROUPS)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"no check or group {', '.join(unknown)}; see --list")
    return [check for check in checks if check.id in wanted or check.group in wanted]
