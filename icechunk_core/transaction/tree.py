"""The hierarchy of a snapshot as a drawing in text."""

from __future__ import annotations

import json
from collections.abc import Iterable

from attrs import field, mutable

from icechunk_core.format.snapshot import NodeSnapshot
from icechunk_core.transaction.paths import path_key

__all__ = ["Branch", "branches", "data_type", "render_tree"]


@mutable
class Branch:
    """A node, or only a name on the way to one, and what is below it by name."""

    node: NodeSnapshot | None = None
    below: dict[str, Branch] = field(factory=dict)


def render_tree(nodes: Iterable[NodeSnapshot], *, top: str = "/") -> str:
    """Draw groups, and arrays with shape and data type.

    A group that has members but does not exist itself is drawn with a question mark. ``top`` is the
    path of the node that stands first; all others are below it.
    """
    root = branches(nodes, top=top)
    lines = [_printable(top) + _about(root)]
    # (branch, indentation) still to be drawn, the next one last: deep hierarchies need no recursion.
    waiting = _rows(root, "")
    while waiting:
        line, branch, indent = waiting.pop()
        lines.append(line)
        waiting += _rows(branch, indent)
    return "\n".join(lines)


def branches(nodes: Iterable[NodeSnapshot], *, top: str = "/") -> Branch:
    """The nodes as they lie below one another."""
    root = Branch()
    for node in nodes:
        branch = root
        for part in node.path[len(top.rstrip("/")) :].split("/")[1:]:
            if part:
                branch = branch.below.setdefault(part, Branch())
        branch.node = node
    return root


def _rows(branch: Branch, indent: str) -> list[tuple[str, Branch, str]]:
    names = sorted(branch.below, key=path_key)
    rows = []
    for name in names:
        last = name == names[-1]
        below = branch.below[name]
        line = f"{indent}{'└── ' if last else '├── '}{_printable(name)}{_about(below)}"
        rows.append((line, below, indent + ("    " if last else "│   ")))
    return rows[::-1]


def _about(branch: Branch) -> str:
    node = branch.node
    if node is None:
        return " ?" if branch.below else ""
    if node.array is None:
        return ""
    name = data_type(node.user_data)
    return f" {node.array.shape}{' ' if name else ''}{_printable(name)}"


def data_type(user_data: bytes) -> str:
    """The name of an array's data type in its ``zarr.json``; empty where that does not tell."""
    try:
        declared = json.loads(user_data)["data_type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    name = declared.get("name") if isinstance(declared, dict) else declared
    return name if isinstance(name, str) else ""


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
