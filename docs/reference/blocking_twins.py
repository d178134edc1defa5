"""For the API reference: shows ``commit = blocking(commit_async)`` as the method that it makes."""

from __future__ import annotations

from typing import Any

import griffe


class BlockingTwins(griffe.Extension):
    """Replaces class attributes ``x = helper(x_async)`` by functions with the signature of ``x_async``."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Called by griffe when a whole package has been read."""
        self._visit(pkg)

    def _visit(self, holder: griffe.Module | griffe.Class) -> None:
        for name, member in list(holder.members.items()):
            if member.is_alias:
                continue
            if isinstance(member, griffe.Module | griffe.Class):
                self._visit(member)
            elif isinstance(member, griffe.Attribute) and isinstance(holder, griffe.Class):
                source = _source(holder, member)
                if source is not None:
                    holder.set_member(name, _twin(name, source, member))


def _source(holder: griffe.Class, attribute: griffe.Attribute) -> griffe.Function | None:
    value = attribute.value
    if not isinstance(value, griffe.ExprCall) or len(value.arguments) != 1:
        return None
    name = str(value.arguments[0])
    if name not in (f"{attribute.name}_async", f"async_{attribute.name}"):
        return None
    source = holder.members.get(name)
    return source if isinstance(source, griffe.Function) else None


def _twin(name: str, source: griffe.Function, attribute: griffe.Attribute) -> griffe.Function:
    twin = griffe.Function(
        name,
        parameters=source.parameters,
        returns=str(source.returns).replace("AsyncIterator", "Iterator"),
        docstring=attribute.docstring or source.docstring,
        lineno=attribute.lineno,
        endlineno=attribute.endlineno,
    )
    twin.labels |= source.labels - {"async"}
    return twin
