"""Everything in the reference is there, with its parameters."""

from __future__ import annotations

import inspect
from inspect import Parameter
from typing import Any

import pytest
from zarr.abc.store import Store
from zarr.core.sync import SyncMixin

import icechunk_core
from tests.classic.reference import REFERENCE, Item


def _attribute(item: Item) -> Any:
    return inspect.getattr_static(getattr(icechunk_core, item.owner), item.name)


def _expected(text: str) -> list[tuple[str, Any, Any]]:
    """Name, kind and default of each parameter of a reference entry."""
    kind: Any = Parameter.POSITIONAL_OR_KEYWORD
    found: list[tuple[str, Any, Any]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part == "*":
            kind = Parameter.KEYWORD_ONLY
        elif part.startswith("**"):
            found.append((part[2:], Parameter.VAR_KEYWORD, Parameter.empty))
        elif part.startswith("*"):
            found.append((part[1:], Parameter.VAR_POSITIONAL, Parameter.empty))
        else:
            name, equals, default = part.partition("=")
            found.append((name, kind, {"None": None, "False": False}[default] if equals else Parameter.empty))
    return found


def _matches(given: Parameter, expected: tuple[str, Any, Any]) -> bool:
    name, kind, default = expected
    # A parameter that the reference requires may have a default here.
    return (
        given.name == name and given.kind is kind and (default is Parameter.empty or given.default == default)
    )


@pytest.mark.parametrize("item", REFERENCE, ids=str)
def test_use(item: Item) -> None:
    """Each item is a property, a method or a class method, blocking or awaited, as listed."""
    attribute = _attribute(item)
    if item.use == "property":
        assert isinstance(attribute, property)
        assert attribute.__doc__
        return
    assert isinstance(attribute, classmethod) is item.use.endswith("classmethod")
    function = attribute.__func__ if isinstance(attribute, classmethod) else attribute
    assert inspect.iscoroutinefunction(inspect.unwrap(function)) or not item.use.startswith("async")
    # A blocking twin wraps a coroutine function and is none itself.
    assert inspect.iscoroutinefunction(function) is item.use.startswith("async")
    assert inspect.isasyncgenfunction(function) is (item.use == "iterator")
    assert function.__doc__ or getattr(icechunk_core, item.owner).__doc__


@pytest.mark.parametrize("item", [item for item in REFERENCE if item.use != "property"], ids=str)
def test_parameters(item: Item) -> None:
    """The parameters have the listed names, order, kinds and defaults; whatever is added can be left out."""
    attribute = _attribute(item)
    function = attribute.__func__ if isinstance(attribute, classmethod) else attribute
    given = list(inspect.signature(function).parameters.values())[1:]  # without self or cls
    for expected in _expected(item.parameters):
        at = next((at for at, parameter in enumerate(given) if _matches(parameter, expected)), None)
        assert at is not None, f"{item}: no {expected}"
        left_out, given = given[:at], given[at + 1 :]
        assert all(_is_optional(parameter) for parameter in left_out)
        if expected[1] is Parameter.POSITIONAL_OR_KEYWORD:
            assert not left_out, f"{item}: {left_out} comes before {expected[0]}"
    assert all(_is_optional(parameter) for parameter in given)


def _is_optional(parameter: Parameter) -> bool:
    return parameter.default is not Parameter.empty and parameter.kind is Parameter.KEYWORD_ONLY


def test_bases() -> None:
    """The store is a zarr store with zarr's blocking mixin; ``VirtualRefConfig.S3`` is a class."""
    assert issubclass(icechunk_core.IcechunkStore, Store)
    assert issubclass(icechunk_core.IcechunkStore, SyncMixin)
    assert inspect.isclass(icechunk_core.VirtualRefConfig.S3)


@pytest.mark.parametrize(
    "name", ["commit", "checkout", "merge", "new_branch", "reset", "reset_branch", "set_virtual_ref", "tag"]
)
def test_twins_take_the_same(name: str) -> None:
    """A blocking method has the parameters of its async twin."""
    store = icechunk_core.IcechunkStore
    blocking = inspect.signature(getattr(store, name)).parameters
    awaited = inspect.signature(getattr(store, f"async_{name}")).parameters
    assert list(awaited) == list(blocking)[: len(awaited)]


@pytest.mark.parametrize("name", ["create", "open_existing", "open_or_create"])
def test_misspelt_arguments(name: str) -> None:
    """What is not a parameter is refused by name, before anything is created."""
    config = icechunk_core.StorageConfig.memory("x")
    with pytest.raises(TypeError, match="read_onyl"):
        getattr(icechunk_core.IcechunkStore, name)(storage=config, read_onyl=True)
    with pytest.raises(ValueError, match="no repository"):
        icechunk_core.IcechunkStore.open_existing(config)


def test_too_many_arguments() -> None:
    """So are positional arguments past the last one."""
    config = icechunk_core.StorageConfig.memory("x")
    with pytest.raises(TypeError, match="too many"):
        icechunk_core.IcechunkStore.create(config, False, None, 1)
    store = icechunk_core.IcechunkStore.create(config)
    with pytest.raises(TypeError, match="too many"):
        icechunk_core.IcechunkStore(store._session, False, 1)
