"""The hierarchy of a snapshot as a drawing in text."""

from __future__ import annotations

import json
from collections.abc import Iterable

from attrs import field, mutable

from icechunk_core.format.snapshot import NodeSnapshot
from icechunk_core.transaction.paths import path_key

__all__ = ["render_tree"]


@mutable
class _Branch:
    node: NodeSnapshot | None = None
    below: dict[str, _Branch] = field(factory=dict)


def render_tree(nodes: Iterable[NodeSnapshot], *, top: str = "/") -> str:
    """Draw groups, and arrays with shape and data type.

    A group that has members but does not exist itself is drawn with a question mark. ``top`` is the
    path of the node that stands first; all others are below it.
    """
    root = _Branch()
    for node in nodes:
        branch = root
        for part in node.path[len(top.rstrip("/")) :].split("/")[1:]:
            if part:
                branch = branch.below.setdefault(part, _Branch())
        branch.node = node
    lines = [_printable(top) + _about(root)]
    # (branch, indentation) still to be drawn, the next one last: deep hierarchies need no recursion.
    waiting = _rows(root, "")
    while waiting:
        line, branch, indent = waiting.pop()
        lines.append(line)
        waiting += _rows(branch, indent)
    return "\n".join(lines)


def _rows(branch: _Branch, indent: str) -> list[tuple[str, _Branch, str]]:
    names = sorted(branch.below, key=path_key)
    rows = []
    for name in names:
        last = name == names[-1]
        below = branch.below[name]
        line = f"{indent}{'└── ' if last else '├── '}{_printable(name)}{_about(below)}"
        rows.append((line, below, indent + ("    " if last else "│   ")))
    return rows[::-1]


def _about(branch: _Branch) -> str:
    node = branch.node
    if node is None:
        return " ?" if branch.below else ""
    if node.array is None:
        return ""
    return f" {node.array.shape}{_data_type(node.user_data)}"


def _data_type(user_data: bytes) -> str:
    try:
        declared = json.loads(user_data)["data_type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    name = declared.get("name") if isinstance(declared, dict) else declared
    return f" {_printable(name)}" if isinstance(name, str) else ""


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
