"""Walks the public names of a package: its modules, their names, the members of classes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from enum import Enum
from importlib import import_module
from types import ModuleType, UnionType
from typing import Any, get_args

import attrs

from tests.api.shape import Member, parameters_of, show

__all__ = ["MODULES", "Surface"]

MODULES = (
    "",
    "config",
    "conflicts",
    "credentials",
    "dask",
    "distributed",
    "ops",
    "repository",
    "session",
    "snapshots",
    "storage",
    "store",
    "testing",
    "types",
    "virtual",
    "xarray",
)
_COUNTED = {"_repr_html_", "__add__", "__call__", "__iter__", "__aiter__", "__anext__"}


def public(name: str) -> bool:
    return name in _COUNTED or not name.startswith("_")


class Surface:
    """The public names of one package, by module (``config:RepositoryConfig``) and by class.

    Parameters
    ----------
    package
        Its name.
    stub
        Members of compiled classes, from a stub file; they win over inspection.
    """

    def __init__(self, package: str, stub: Mapping[str, Member] | None = None) -> None:
        self.package = package
        self.members: dict[str, Member] = {}
        self._stub = stub or {}

    def walk(self) -> dict[str, Member]:
        """All names that each module lists in ``__all__`` or defines itself."""
        for module in MODULES:
            loaded = import_module(f"{self.package}.{module}" if module else self.package)
            for name in self._names(loaded):
                self.add(module, name, getattr(loaded, name))
        return self.members

    def look_up(self, names: Mapping[str, Member]) -> dict[str, Member]:
        """Those of the given names that exist here."""
        for module in MODULES:
            try:
                loaded = import_module(f"{self.package}.{module}" if module else self.package)
            except ModuleNotFoundError:
                continue
            for name in [each.partition(":")[2] for each in names if each.startswith(f"{module}:")]:
                if hasattr(loaded, name):
                    self.add(module, name, getattr(loaded, name))
        return self.members

    def _names(self, module: ModuleType) -> set[str]:
        own = {
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        }
        return own | set(getattr(module, "__all__", ()))

    def add(self, module: str, name: str, value: Any) -> None:
        self.members[f"{module}:{name}"] = Member("name")
        if inspect.isclass(value):
            self._add_class(value.__name__, value)
        elif isinstance(value, UnionType):
            parts = sorted(part.__qualname__ for part in get_args(value))
            self.members[name] = Member("union", value=" | ".join(parts))
        elif callable(value) and hasattr(value, "__name__"):
            known = self._stub.get(name)
            self.members[name] = known or Member("function", parameters_of(value))
        elif getattr(value, "__args__", None) and not hasattr(value, "__supertype__"):
            self.members[name] = Member("alias", value=show(get_args(value)))

    # --- classes

    def _add_class(self, name: str, cls: type) -> None:
        if name in self.members and self.members[name].kind == "class":
            return
        bases = frozenset(each.__name__ for each in cls.__mro__[1:] if issubclass(cls, BaseException))
        self.members[name] = Member("class", bases=bases - {"object"})
        if issubclass(cls, BaseException):
            return
        for member, value in self._members_of(name, cls):
            if inspect.isclass(value):
                if member in vars(cls):  # variants inherit their siblings; once is enough
                    self._add_class(f"{name}.{member}", value)
            else:
                self.members[f"{name}.{member}"] = self._describe(name, cls, member, value)
        prefix = f"{name}."
        for stubbed, described in self._stub.items():
            rest = stubbed.removeprefix(prefix)
            if stubbed.startswith(prefix) and "." not in rest and (public(rest) or rest == "()"):
                self.members.setdefault(stubbed, described)
        constructor = self._constructor(cls)
        if constructor is not None:
            self.members.setdefault(f"{name}.()", constructor)

    def _members_of(self, name: str, cls: type) -> Iterator[tuple[str, Any]]:
        """Names that the class or a base of this package defines."""
        seen = set()
        for base in cls.__mro__:
            mine = base is cls or base.__module__.startswith(self.package)
            names = [] if not mine or base in (object, Enum) else list(vars(base))
            if mine and attrs.has(base):
                names += [each.name for each in attrs.fields(base)]
            for member in names:
                if public(member) and member not in seen:
                    seen.add(member)
                    yield member, inspect.getattr_static(cls, member, None)

    def _describe(self, name: str, cls: type, member: str, value: Any) -> Member:
        known = self._stub.get(f"{name}.{member}")
        if known is not None and not (known.kind == "value" and value is None):
            return known
        if isinstance(value, property):
            return Member("attribute", settable=value.fset is not None)
        if attrs.has(cls) and member in attrs.fields_dict(cls):
            frozen = cls.__setattr__ is not object.__setattr__ and "frozen" in repr(cls.__setattr__)
            return Member("attribute", settable=not frozen)
        if isinstance(value, staticmethod | classmethod):
            return Member("function", parameters_of(getattr(cls, member)))
        if inspect.isdatadescriptor(value):
            return Member("attribute", settable=True)
        if callable(value) and not isinstance(value, Enum | cls):
            return self._method(value)
        return Member("value")

    def _method(self, value: Any) -> Member:
        try:
            return Member("function", parameters_of(value, drop_first=True))
        except ValueError:
            return Member("function")

    def _constructor(self, cls: type) -> Member | None:
        known = self._stub.get(cls.__name__)
        if issubclass(cls, Enum) or (known is not None and known.kind == "enum"):
            return None
        if cls.__init__ is object.__init__ and cls.__new__ is object.__new__:
            # A compiled class whose stub tells no constructor has none for users.
            return None if self._stub else Member("function", ())
        try:
            return Member("function", parameters_of(cls))
        except ValueError:
            return None
