"""Conditions on arrays and dimensions, for preloading and splitting manifests (FORMAT.md, section 8)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from attrs import field, frozen

from icechunk_core.format.config_base import InvalidTree, Variant, invalid, variant_of

__all__ = ["ManifestPreloadCondition", "ManifestSplitCondition", "ManifestSplitDimCondition"]

Tree = Any
Condition = TypeVar("Condition", bound="_Condition")
Bound: TypeAlias = tuple[str, int | None]
"""One end of a range of numbers: ``("Unbounded", None)``, ``("Included", n)`` or ``("Excluded", n)``."""

_UNBOUNDED: Bound = ("Unbounded", None)


@frozen(repr=False)
class _Condition:
    """A condition: its kind, and what it is about (a regex, conditions, or bounds)."""

    kind: str
    value: Any = None

    @classmethod
    def or_conditions(cls: type[Condition], conditions: Sequence[Condition]) -> Condition:
        """Holds if any of the conditions holds."""
        return cls("or", cls._checked(conditions))

    @classmethod
    def and_conditions(cls: type[Condition], conditions: Sequence[Condition]) -> Condition:
        """Holds if all of the conditions hold."""
        return cls("and", cls._checked(conditions))

    @classmethod
    def path_matches(cls: type[Condition], regex: str) -> Condition:
        """Holds if the regex is found in the array's absolute path, such as ``/path/to/array``."""
        return cls("path_matches", _text(regex))

    @classmethod
    def name_matches(cls: type[Condition], regex: str) -> Condition:
        """Holds if the regex is found in the last segment of the array's path."""
        return cls("name_matches", _text(regex))

    @classmethod
    def _checked(cls, conditions: Sequence[Any]) -> tuple[Any, ...]:
        for condition in conditions:
            if not isinstance(condition, cls):
                raise invalid(f"expected a {cls.__name__}, not {type(condition).__name__}")
        return tuple(conditions)

    def __and__(self: Condition, other: Condition) -> Condition:
        return self.and_conditions([self, other])

    def __or__(self: Condition, other: Condition) -> Condition:
        return self.or_conditions([self, other])

    def __repr__(self) -> str:
        if self.kind in ("or", "and"):
            return f"{type(self).__name__}.{self.kind}_conditions({list(self.value)!r})"
        shown = "" if self.value is None else repr(self.value)
        return f"{type(self).__name__}.{self.kind}({shown})"

    def to_tree(self) -> Tree:
        """The stored form."""
        if self.kind in ("or", "and"):
            return Variant(self.kind, [condition.to_tree() for condition in self.value])
        if self.kind in ("path_matches", "name_matches"):
            return Variant(self.kind, {"regex": self.value})
        return self.kind

    @classmethod
    def from_tree(cls: type[Condition], tree: Tree) -> Condition:
        """Read the stored form; raises `InvalidTree`."""
        variant = variant_of(tree)
        kind, payload = variant.name, variant.payload
        if kind in ("or", "and"):
            if not isinstance(payload, list):
                raise InvalidTree("expected a list of conditions", kind)
            return cls(kind, tuple(cls.from_tree(item) for item in payload))
        if kind in ("path_matches", "name_matches"):
            return cls(kind, _regex_of(payload, kind))
        return cls._other_from_tree(kind, payload)

    @classmethod
    def _other_from_tree(cls: type[Condition], kind: str, payload: Tree) -> Condition:
        raise InvalidTree(f"unknown condition {kind!r}")

    def _holds(self, path: str, holds: Callable[[Any], bool]) -> bool:
        if self.kind == "or":
            return any(map(holds, self.value))
        if self.kind == "and":
            return all(map(holds, self.value))
        return _found(self.value, path if self.kind == "path_matches" else path.rpartition("/")[2])


@frozen(repr=False)
class ManifestPreloadCondition(_Condition):
    """When to load the manifests of an array as a session starts.

    >>> few = ManifestPreloadCondition.num_refs(None, 100)
    >>> condition = ManifestPreloadCondition.name_matches("^time$") & few
    >>> condition.matches("/climate/time", 12)
    True
    """

    @classmethod
    def num_refs(cls, from_refs: int | None, to_refs: int | None) -> ManifestPreloadCondition:
        """Holds if the manifest has at least ``from_refs`` and fewer than ``to_refs`` chunk references."""
        lower = _UNBOUNDED if from_refs is None else ("Included", operator.index(from_refs))
        upper = _UNBOUNDED if to_refs is None else ("Excluded", operator.index(to_refs))
        return cls("num_refs", (lower, upper))

    @classmethod
    def true(cls) -> ManifestPreloadCondition:
        """Always holds."""
        return cls("true")

    @classmethod
    def false(cls) -> ManifestPreloadCondition:
        """Never holds."""
        return cls("false")

    def matches(self, path: str, num_refs: int) -> bool:
        """Whether the condition holds for a manifest of an array."""
        if self.kind in ("true", "false"):
            return self.kind == "true"
        if self.kind == "num_refs":
            (low_kind, low), (high_kind, high) = self.value
            above = low is None or num_refs > low or (num_refs == low and low_kind == "Included")
            below = high is None or num_refs < high or (num_refs == high and high_kind == "Included")
            return above and below
        return self._holds(path, lambda condition: bool(condition.matches(path, num_refs)))

    def __repr__(self) -> str:
        if self.kind != "num_refs":
            return super().__repr__()
        (_, low), (_, high) = self.value
        return f"ManifestPreloadCondition.num_refs({low}, {high})"

    def to_tree(self) -> Tree:
        """The stored form."""
        if self.kind != "num_refs":
            return super().to_tree()
        lower, upper = (kind if count is None else Variant(kind, count) for kind, count in self.value)
        return Variant("num_refs", {"from": lower, "to": upper})

    @classmethod
    def _other_from_tree(cls, kind: str, payload: Tree) -> ManifestPreloadCondition:
        if kind in ("true", "false") and payload is None:
            return cls(kind)
        if kind == "num_refs" and isinstance(payload, dict):
            return cls(kind, (_bound(payload.get("from")), _bound(payload.get("to"))))
        raise InvalidTree(f"unknown preload condition {kind!r}")


@frozen(repr=False)
class ManifestSplitCondition(_Condition):
    """Which arrays a rule for splitting manifests is for.

    >>> (ManifestSplitCondition.name_matches("temp") | ManifestSplitCondition.AnyArray()).matches("/a/b")
    True
    """

    @classmethod
    def AnyArray(cls) -> ManifestSplitCondition:  # noqa: N802 - the name users know
        """Holds for every array."""
        return cls("any_array")

    def matches(self, path: str) -> bool:
        """Whether the condition holds for the array at an absolute path."""
        if self.kind == "any_array":
            return True
        return self._holds(path, lambda condition: bool(condition.matches(path)))

    @classmethod
    def _other_from_tree(cls, kind: str, payload: Tree) -> ManifestSplitCondition:
        if kind == "any_array" and payload is None:
            return cls(kind)
        raise InvalidTree(f"unknown array condition {kind!r}")


class ManifestSplitDimCondition:
    """Which dimension a split size is for: `Axis`, `DimensionName` or `Any`.

    >>> ManifestSplitDimCondition.DimensionName("^lon").matches(2, "longitude")
    True
    """

    Axis: TypeAlias = "_Axis"
    DimensionName: TypeAlias = "_DimensionName"
    Any: TypeAlias = "_Any"

    def matches(self, axis: int, name: str | None) -> bool:
        """Whether the condition holds for the dimension with that number and name (None: unnamed)."""
        raise InvalidTree("not a dimension condition")

    def to_tree(self) -> object:
        """The stored form."""
        raise InvalidTree("not a dimension condition")

    @staticmethod
    def from_tree(tree: object) -> ManifestSplitDimCondition:
        """Read the stored form; raises `InvalidTree`."""
        variant = variant_of(tree)
        if variant.name == "Any" and variant.payload is None:
            return _Any()
        if variant.name == "Axis" and isinstance(variant.payload, int) and 0 <= variant.payload < 1 << 64:
            return _Axis(variant.payload)
        if variant.name == "DimensionName" and isinstance(variant.payload, str):
            return _DimensionName(variant.payload)
        raise InvalidTree(f"unknown dimension condition {variant.name!r}")


@frozen
class _Axis(ManifestSplitDimCondition):
    """The dimension with that number, from 0."""

    axis: int = field(converter=operator.index)

    def matches(self, axis: int, name: str | None) -> bool:
        return axis == self.axis

    def to_tree(self) -> Variant:
        return Variant("Axis", self.axis)


@frozen
class _DimensionName(ManifestSplitDimCondition):
    """Dimensions in whose name the regex is found."""

    regex: str

    def matches(self, axis: int, name: str | None) -> bool:
        return name is not None and _found(self.regex, name)

    def to_tree(self) -> Variant:
        return Variant("DimensionName", self.regex)


@frozen
class _Any(ManifestSplitDimCondition):
    """Every dimension."""

    def matches(self, axis: int, name: str | None) -> bool:
        return True

    def to_tree(self) -> str:
        return "Any"


for _variant in (_Axis, _DimensionName, _Any):
    # They can only be put where users look for them once both classes exist.
    _variant.__name__ = _variant.__name__.removeprefix("_")
    _variant.__qualname__ = f"ManifestSplitDimCondition.{_variant.__name__}"
    setattr(ManifestSplitDimCondition, _variant.__name__, _variant)


def _text(regex: Any) -> str:
    if not isinstance(regex, str):
        raise invalid(f"a regex must be a string, not {type(regex).__name__}")
    return regex


def _regex_of(payload: Tree, kind: str) -> str:
    regex = payload.get("regex") if isinstance(payload, dict) else None
    if not isinstance(regex, str):
        raise InvalidTree("expected a regex", kind)
    return regex


def _bound(tree: Tree) -> Bound:
    variant = variant_of(tree)
    count = variant.payload
    if variant.name == "Unbounded" and count is None:
        return _UNBOUNDED
    if variant.name in ("Included", "Excluded") and isinstance(count, int) and 0 <= count < 1 << 32:
        return variant.name, count
    raise InvalidTree("expected Unbounded, Included or Excluded", "num_refs")


def _found(regex: str, text: str) -> bool:
    """Whether a regex is found in a text; one that Python cannot compile is found nowhere."""
    try:
        return re.search(regex, text) is not None
    except (re.error, RecursionError, OverflowError):
        return False
