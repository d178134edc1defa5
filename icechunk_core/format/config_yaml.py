"""The YAML of ``config.yaml``: YAML 1.2 scalars, and a tag for each variant that carries data.

PyYAML follows YAML 1.1, where ``yes`` is a truth value and ``1:30`` a number; readers and writers of this
file follow 1.2, where both are text. Reading therefore uses 1.2's rules, and writing quotes whatever either
would misread.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import Corrupt
from icechunk_core.format.config_base import Variant

__all__ = ["dump", "load"]

_MAX_SIZE = 1 << 20
_MAX_DEPTH = 100
_TAG = "tag:yaml.org,2002:"


def load(data: bytes, *, name: str) -> Any:
    """Read one YAML document as dicts, lists, scalars and `Variant`.

    Raises
    ------
    Corrupt
        It is no such document, or it is too large, too deep, or uses anchors.
    """
    if len(data) > _MAX_SIZE:
        raise _corrupt(f"{len(data)} bytes are too large for a configuration", name)
    try:
        return yaml.load(data, Loader=_Loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        # Without its cause, whose text quotes the file, where secrets may be.
        raise _corrupt(f"invalid YAML: {_problem(error)}", name) from None


def _problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        place = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        return f"{error.problem or error.context}{place}"
    return type(error).__name__ if isinstance(error, ValueError | TypeError | RecursionError) else str(error)


def dump(tree: Any) -> bytes:
    """Write such a tree as one YAML document."""
    text = yaml.dump(
        tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1 << 20
    )
    return text.encode("utf-8")


def _corrupt(problem: str, name: str) -> Corrupt:
    return Corrupt(problem, object_name=name, kind=ErrorKind.CONFIG_DESERIALIZATION)


# --- reading -------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """PyYAML's reader with the scalars of YAML 1.2, variants for tags, and no anchors."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors are not supported")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise yaml.YAMLError(f"nested more than {_MAX_DEPTH} levels deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.YAMLError(f"key {key!r} is no text")
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    base = {"0o": 8, "0x": 16}.get(digits[:2], 10)
    return sign * int(digits[2:] if base != 10 else digits, base)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _variant(loader: _Loader, name: str, node: yaml.Node) -> Variant:
    if isinstance(node, yaml.ScalarNode):
        plain = node.style is None
        tag = loader.resolve(yaml.ScalarNode, node.value, (plain, False))  # type: ignore[no-untyped-call]
        scalar = yaml.ScalarNode(tag, node.value, style=node.style)
        return Variant(name, loader.construct_object(scalar, deep=True))
    if isinstance(node, yaml.SequenceNode):
        return Variant(name, [loader.construct_object(item, deep=True) for item in node.value])
    assert isinstance(node, yaml.MappingNode)
    return Variant(name, loader.construct_mapping(node, deep=True))


def _sequence(loader: _Loader, node: yaml.SequenceNode) -> list[Any]:
    return [loader.construct_object(item, deep=True) for item in node.value]


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Loader.yaml_implicit_resolvers = {}
for _kind, _regex, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(
        _TAG + _kind, re.compile(rf"(?:{_regex})\Z"), [char if char != "\0" else "" for char in _first]
    )
_Loader.add_constructor(_TAG + "int", _integer)
_Loader.add_constructor(_TAG + "float", _float)
_Loader.add_constructor(_TAG + "seq", _sequence)
_Loader.add_constructor(_TAG + "map", _mapping)
_Loader.add_multi_constructor("!", _variant)


# --- writing -------------------------------------------------------------------

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_PLAIN = frozenset(["true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"])


class _Dumper(yaml.SafeDumper):
    """PyYAML's writer with tags for variants, and quotes where a reader might see no text."""

    def choose_scalar_style(self) -> Any:
        # PyYAML quotes every scalar under a tag of its own; a number there must stay plain.
        event: Any = self.event
        if event.tag and event.tag.startswith("!") and event.style is None:
            return ""
        return super().choose_scalar_style()

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_text(dumper: _Dumper, text: str) -> yaml.Node:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _NOT_PLAIN
    return dumper.represent_scalar(_TAG + "str", text, style=None if plain else '"')


def _write_variant(dumper: _Dumper, variant: Variant) -> yaml.Node:
    node = dumper.represent_data(variant.payload)
    node.tag = f"!{variant.name}"
    return node


_Dumper.add_representer(str, _write_text)
_Dumper.add_representer(Variant, _write_variant)
