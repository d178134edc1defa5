"""Names of a package that are loaded when they are used first (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module

__all__ = ["lazy"]


def lazy(
    package: str, names: Mapping[str, Iterable[str]], modules: Iterable[str] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose modules are loaded when something of them is used.

    A worker, a command or a backend pays for what it needs and no more. Type checkers do not follow this:
    the package tells them the same with imports below ``if TYPE_CHECKING``, or in an ``__init__.pyi``.

    Parameters
    ----------
    package
        Its ``__name__``.
    names
        What it offers, by the module that has it, relative to the package: ``"module"`` is inside it,
        ``".module"`` beside it. No name may be that of a module inside, which importing that would bind.
    modules
        Modules inside it that are attributes, too, before somebody imports them.
    """
    module_of = {name: module for module, offered in names.items() for name in offered}
    inside = frozenset(modules)

    def load(name: str) -> object:
        if name in module_of:
            value: object = getattr(import_module(f".{module_of[name]}", package), name)
        elif name in inside:
            value = import_module(f".{name}", package)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def offered() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of, *inside})

    return load, offered
