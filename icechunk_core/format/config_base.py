"""How configuration classes describe themselves: fields with a stored key, checks, and a codec.

The stored form of a configuration is a *tree* (FORMAT.md, section 8): dicts, lists, scalars, and `Variant`
for enum values that carry data. A `ConfigNode` is one dict of that tree. Keys it does not know are kept in
`unknown` and written back, so that a newer writer's settings survive an older library.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from enum import Enum
from typing import Any, ClassVar, TypeVar

import attrs
from attrs import define, field, frozen

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import InvalidInputError
from icechunk_core.format.config_display import as_html, described, executable

__all__ = [
    "Codec",
    "ConfigNode",
    "InvalidTree",
    "Variant",
    "choice",
    "custom",
    "flag",
    "integer",
    "invalid",
    "node",
    "text",
    "variant_of",
]

Tree = Any
Node = TypeVar("Node", bound="ConfigNode")


class InvalidTree(ValueError):
    """A stored value has the wrong type or is out of range; the message starts with the path of its key."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.problem = problem
        self.path = path

    def below(self, key: str) -> InvalidTree:
        """The same problem, seen from one level up."""
        return InvalidTree(self.problem, f"{key}.{self.path}" if self.path else key)


@frozen
class Variant:
    """An enum value that carries data: ``{name: payload}`` in FlexBuffers, ``!name payload`` in YAML."""

    name: str
    payload: Tree


def variant_of(tree: Tree) -> Variant:
    """Read a variant in any of its spellings; one without data has the payload None."""
    if isinstance(tree, Variant):
        return tree
    if isinstance(tree, str):
        return Variant(tree, None)
    if isinstance(tree, dict) and len(tree) == 1:
        ((name, payload),) = tree.items()
        return Variant(name, payload)
    raise InvalidTree("expected a variant: a name, or one name with its value")


@frozen
class Codec:
    """How values of one field are checked, stored, read and merged.

    Attributes
    ----------
    check
        Returns the value to keep; raises ValueError or TypeError.
    to_tree, from_tree
        Stored form and back; ``from_tree`` raises `InvalidTree`.
    merge
        Combines two values, the second winning. None: it replaces the first.
    """

    check: Callable[[Any], Any]
    to_tree: Callable[[Any], Tree]
    from_tree: Callable[[Tree], Any]
    merge: Callable[[Any, Any], Any] | None = None


def invalid(problem: str) -> InvalidInputError:
    """An error about a configuration value given by the caller."""
    return InvalidInputError(problem, kind=ErrorKind.CONFIG_DESERIALIZATION)


def _same(value: Any) -> Any:
    return value


def _converter(codec: Codec) -> Any:
    def convert(value: Any, _: Any, attribute: Any) -> Any:
        if value is None:
            return None
        try:
            return codec.check(value)
        except (TypeError, ValueError) as error:
            raise invalid(f"{attribute.name}: {error}") from None

    return attrs.Converter(convert, takes_self=True, takes_field=True)


def custom(codec: Codec, *, init: bool = True, nested: type[ConfigNode] | None = None) -> Any:
    """A nullable field with a codec of its own; ``nested`` is the class of a nested configuration."""
    metadata = {"codec": codec} if nested is None else {"codec": codec, "node": nested}
    return field(default=None, init=init, converter=_converter(codec), metadata=metadata)


def integer(bits: int, *, minimum: int = 0, signed: bool = False) -> Any:
    """A nullable integer that fits ``bits`` bits."""
    low = -(1 << bits - 1) if signed else minimum
    high = (1 << bits - signed) - 1

    def check(value: Any) -> int:
        number = operator.index(value)
        if not low <= number <= high:
            raise ValueError(f"{number} is not between {low} and {high}")
        return number

    def from_tree(tree: Tree) -> int:
        if not isinstance(tree, int) or isinstance(tree, bool) or not low <= tree <= high:
            raise InvalidTree(f"expected an integer between {low} and {high}")
        return tree

    return custom(Codec(check, _same, from_tree))


def flag() -> Any:
    """A nullable truth value."""

    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError("expected True, False or None")
        return value

    return custom(Codec(check, _same, _typed(bool, "true or false")))


def text(*, init: bool = True) -> Any:
    """A nullable string."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"expected a string, not {type(value).__name__}")
        return value

    return custom(Codec(check, _same, _typed(str, "a string")), init=init)


def choice(names: dict[Enum, str]) -> Any:
    """A nullable enum member, stored under a name."""
    members = {name: member for member, name in names.items()}

    def check(value: Any) -> Enum:
        if value not in names:
            raise ValueError(f"expected one of {', '.join(map(str, names))}")
        return next(member for member in names if member == value)

    def from_tree(tree: Tree) -> Enum:
        if not isinstance(tree, str) or tree not in members:
            raise InvalidTree(f"expected one of {', '.join(members)}")
        return members[tree]

    return custom(Codec(check, names.__getitem__, from_tree))


def node(cls: type[ConfigNode], *, replaced_whole: bool = False) -> Any:
    """A nullable nested configuration, merged key by key unless it is ``replaced_whole``."""

    def check(value: Any) -> ConfigNode:
        if not isinstance(value, cls):
            raise TypeError(f"expected a {cls.__name__}, not {type(value).__name__}")
        return value

    merge = None if replaced_whole else lambda mine, theirs: mine.merged_with(theirs)
    return custom(Codec(check, lambda value: value.to_tree(), cls.from_tree, merge), nested=cls)


def _typed(cls: type, description: str) -> Callable[[Tree], Any]:
    def from_tree(tree: Tree) -> Any:
        if not isinstance(tree, cls):
            raise InvalidTree(f"expected {description}")
        return tree

    return from_tree


@define
class ConfigNode:
    """Base of the configuration classes: one dict of the stored tree.

    Every value may be None, which means "not set here".

    Attributes
    ----------
    unknown
        Stored keys that this library does not know, with their values.
    """

    required: ClassVar[tuple[str, ...]] = ()
    """Keys that must be present and not null."""

    unknown: dict[str, Tree] = field(factory=dict, init=False, repr=False, kw_only=True)

    def __repr__(self) -> str:
        return executable(self)

    def __str__(self) -> str:
        return described(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    @classmethod
    def codecs(cls) -> dict[str, Codec]:
        """The codec of each stored field, by key."""
        return {
            attribute.name: attribute.metadata["codec"]
            for attribute in attrs.fields(cls)
            if "codec" in attribute.metadata
        }

    def to_tree(self) -> dict[str, Tree]:
        """The stored form: every key, unset ones as None."""
        tree = dict(self.unknown)
        for key, codec in self.codecs().items():
            value = getattr(self, key)
            tree[key] = None if value is None else codec.to_tree(value)
        return tree

    @classmethod
    def from_tree(cls: type[Node], tree: Tree) -> Node:
        """Read the stored form. Missing keys count as None.

        Raises
        ------
        InvalidTree
            A known key has a value of the wrong type or out of range.
        """
        if not isinstance(tree, dict):
            raise InvalidTree("expected a map")
        codecs = cls.codecs()
        values: dict[str, Any] = {}
        unknown: dict[str, Tree] = {}
        for key, value in tree.items():
            codec = codecs.get(key)
            if codec is None:
                unknown[key] = value
            elif value is not None:
                try:
                    values[key] = codec.from_tree(value)
                except InvalidTree as error:
                    raise error.below(key) from None
        for key in cls.required:
            if values.get(key) is None:
                raise InvalidTree("missing", key)
        later = {key: values.pop(key) for key in list(values) if not getattr(attrs.fields(cls), key).init}
        self = cls(**values)
        self.unknown = unknown
        for key, value in later.items():
            setattr(self, key, value)
        return self

    def merged_with(self: Node, other: Node) -> Node:
        """A new configuration: this one with what ``other`` sets."""
        merged = copy.deepcopy(self)
        merged.unknown.update(copy.deepcopy(other.unknown))
        for attribute in attrs.fields(type(self)):
            codec: Codec | None = attribute.metadata.get("codec")
            theirs = getattr(other, attribute.name)
            if codec is None or theirs is None:
                continue
            theirs = copy.deepcopy(theirs)
            mine = getattr(merged, attribute.name)
            if codec.merge is not None and mine is not None:
                theirs = codec.merge(mine, theirs)
            setattr(merged, attribute.name, theirs)
        return merged
