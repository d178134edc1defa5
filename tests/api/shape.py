"""What a public name looks like from outside, in a form that two packages can be compared in."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import field, frozen

__all__ = ["ANY_DEFAULT", "Member", "Parameter", "differences", "parameters_of"]

ANY_DEFAULT = "..."
"""Default of a parameter that has one which a stub does not tell."""

_POSITIONAL = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")


@frozen
class Parameter:
    name: str
    kind: str
    default: str | None
    """As text; ``None`` for a parameter that must be given."""


@frozen
class Member:
    """A function, property, value or class."""

    kind: str
    parameters: tuple[Parameter, ...] | None = None
    settable: bool = False
    value: str | None = None
    bases: frozenset[str] = field(default=frozenset())


def show(value: Any) -> str:
    """A default as text that is the same in both packages."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if value is Ellipsis:
        return ANY_DEFAULT
    return repr(value).replace("icechunk_core.", "icechunk.")


def parameters_of(function: Any, *, drop_first: bool = False) -> tuple[Parameter, ...]:
    """Parameters of a function that can be inspected."""
    found = [
        Parameter(
            each.name,
            each.kind.name,
            None if each.default is inspect.Parameter.empty else show(each.default),
        )
        for each in inspect.signature(function).parameters.values()
    ]
    return tuple(found[1:] if drop_first else found)


def _accepts(theirs: Parameter, mine: Parameter) -> str | None:
    if theirs.kind != mine.kind:
        wider = mine.kind == "POSITIONAL_OR_KEYWORD" and not theirs.kind.startswith("VAR")
        if not wider:
            return f"parameter {mine.name} is {mine.kind.lower()}, not {theirs.kind.lower()}"
    if theirs.default == mine.default:
        return None
    if theirs.default is None:
        return None  # a parameter that may be left out here
    if mine.default is None:
        return f"parameter {mine.name} must be given"
    if ANY_DEFAULT in (theirs.default, mine.default):
        return None
    return f"parameter {mine.name} is {mine.default} by default, not {theirs.default}"


def _signature_differences(theirs: tuple[Parameter, ...], mine: tuple[Parameter, ...]) -> list[str]:
    """Calls that work there and not here. Parameters more, if they may be left out, are none."""
    found = []
    own: Mapping[str, Parameter] = {each.name: each for each in mine}
    swallows = {each.kind for each in mine}
    places = [each.name for each in mine if each.kind in _POSITIONAL]
    for place, each in enumerate(theirs):
        here = own.get(each.name)
        if here is None and each.kind == "POSITIONAL_ONLY" and place < len(places):
            here = own[places[place]]
        if here is None:
            same_kind = each.kind.startswith("VAR") and each.kind in swallows
            if not same_kind and not (each.kind == "KEYWORD_ONLY" and "VAR_KEYWORD" in swallows):
                found.append(f"no parameter {each.name}")
            continue
        problem = _accepts(each, here)
        if problem is not None:
            found.append(problem)
        if each.kind in _POSITIONAL and here.kind in _POSITIONAL and places.index(here.name) != place:
            found.append(f"parameter {each.name} is in another place")
    known = {each.name for each in theirs}
    for each in mine:
        required = each.default is None and not each.kind.startswith("VAR")
        if required and each.name not in known and len(mine) > len(theirs):
            found.append(f"parameter {each.name} must be given too")
    return found


def differences(theirs: Mapping[str, Member], mine: Mapping[str, Member]) -> dict[str, str]:
    """What is there and not here, or is here otherwise, by name."""
    found: dict[str, str] = {}
    for name, their in theirs.items():
        my = mine.get(name)
        if my is None:
            # What a missing class has is missing too; once is enough.
            if not any(name.startswith(f"{other}.") for other in found):
                found[name] = "missing"
            continue
        problems = _member_differences(their, my)
        if problems:
            found[name] = "; ".join(problems)
    return found


def _member_differences(their: Member, my: Member) -> list[str]:
    if their.kind != my.kind:
        return [f"is a {my.kind}, not a {their.kind}"]
    problems = []
    if their.parameters is not None and my.parameters is not None:
        problems = _signature_differences(their.parameters, my.parameters)
    if their.settable and not my.settable:
        problems.append("cannot be set")
    if their.value is not None and their.value != my.value:
        problems.append(f"is {my.value}, not {their.value}")
    missing = their.bases - my.bases
    if missing:
        problems.append(f"is no {', '.join(sorted(missing))}")
    return problems
