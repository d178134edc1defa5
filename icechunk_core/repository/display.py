"""How values describe themselves: lines of text in a terminal, a small table in a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

import attrs

from icechunk_core.html import facts, page

__all__ = ["Described", "html_of", "text_of"]


def _shown(value: Any) -> str:
    return value.name if isinstance(value, Enum) else str(value)


def text_of(title: str, items: Iterable[tuple[str, Any]]) -> str:
    """A title and one line per value; values of several lines are indented below their name."""
    lines = [f"<icechunk_core.{title}>"]
    for name, value in items:
        text = _shown(value)
        if "\n" in text and not isinstance(value, str):
            lines.append(f"{name}:")
            lines.extend(f"    {line}" for line in text.splitlines())
        else:
            lines.append(f"{name}: {text}")
    return "\n".join(lines)


def html_of(title: str, items: Iterable[tuple[str, Any]]) -> str:
    """The same as HTML: a heading and a table."""
    return page(title, facts((name.replace("_", " "), _for_people(value)) for name, value in items))


def _for_people(value: Any) -> Any:
    if hasattr(value, "_repr_html_"):
        return value
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, Mapping):
        return json.dumps(dict(value), indent=1, ensure_ascii=False, default=str) if value else "none"
    return "none" if value is None else _shown(value)


class Described:
    """Gives an attrs class, or one with `_described`, its forms: text, executable (``repr``) and HTML."""

    __slots__ = ()

    def _described(self) -> list[tuple[str, Any]]:
        names = [attribute.name for attribute in attrs.fields(type(self))]  # type: ignore[arg-type]
        return [(name, getattr(self, name)) for name in names if not name.startswith("_")]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self._described())
        return f"{type(self).__name__}({values})"

    def __str__(self) -> str:
        return text_of(type(self).__name__, self._described())

    def _repr_html_(self) -> str:
        return html_of(type(self).__name__, self._described())
