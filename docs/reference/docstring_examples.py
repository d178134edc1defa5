"""For the API reference: shows the examples in docstrings, which stand there as ``>>>``, as code."""

from __future__ import annotations

import re
from typing import Any

import griffe

_BLOCK = r"^>>> .*(?:\n.+)*(?:\n|\Z)"
_EXAMPLE = re.compile(rf"{_BLOCK}(?:\n*{_BLOCK})*", re.MULTILINE)
_SECTION = re.compile(r"^\w[\w ]*\n-{3,}$", re.MULTILINE)


class DocstringExamples(griffe.Extension):
    """Fences examples in the text of a docstring, and gives those after its sections one of their own."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Called by griffe when a whole package has been read."""
        self._visit(pkg)

    def _visit(self, holder: griffe.Object) -> None:
        if holder.docstring is not None:
            holder.docstring.value = shown(holder.docstring.value)
        for member in holder.members.values():
            if isinstance(member, griffe.Object):
                self._visit(member)


def shown(text: str) -> str:
    r"""A docstring whose examples griffe and Markdown understand.

    >>> shown("Adds.\n\n>>> 1 + 1\n2\n")
    'Adds.\n\n```pycon\n>>> 1 + 1\n2\n```\n'
    """
    if "```pycon" in text or "\nExamples\n---" in text:
        return text
    section = _SECTION.search(text)
    start = section.start() if section else len(text)
    before, after = text[:start], text[start:]
    before = _EXAMPLE.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", before)
    examples = _EXAMPLE.findall(after)
    if examples:
        after = _EXAMPLE.sub("", after).rstrip() + "\n\nExamples\n--------\n" + "\n".join(examples)
    return before + after
