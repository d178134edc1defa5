"""Bind a backend object to the contract: check every hook once, then call it directly.

pluggy rejects unknown required arguments. It accepts, silently, an argument with a default
(and then does not pass it), a misspelt optional argument, and a plain function where a
coroutine is due. All of these are checked here, at open.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any
from weakref import WeakKeyDictionary, ref

import pluggy
from attrs import frozen

from icechunk_core.contract.hookspecs import PROJECT, OperationHooks
from icechunk_core.errors import PluginError

__all__ = ["OPTIONAL_HOOKS", "REQUIRED_HOOKS", "bind_hooks", "check_replacements"]

REQUIRED_HOOKS = ("get_range", "put", "list", "head", "delete", "close")
OPTIONAL_HOOKS = ("capabilities", "copy", "sync", "take_turn")
_HOOKS = (*REQUIRED_HOOKS, *OPTIONAL_HOOKS)
_MARK = f"{PROJECT}_impl"
"""What `hookimpl` writes on functions."""
_COROUTINES = frozenset({"get_range", "put", "head", "delete", "copy", "sync", "take_turn", "close"})


@frozen
class _Method:
    """A method of a backend class that was found to implement a hook."""

    attribute: str
    function: ref[Any]  # weak: it may lead to its class, which would stay for ever
    positions: tuple[int, ...] | None

    def is_of(self, backend: object) -> bool:
        """Whether nothing was put in its place since."""
        return getattr(type(backend), self.attribute, None) is self.function()


@frozen
class _Plan:
    """What was found out about a backend class."""

    specification: type
    methods: Mapping[str, _Method]

    def suits(self, backend: object) -> bool:
        """Whether it holds for this object: all is as it was, and the object has no hooks of its own."""
        return (
            self.specification is OperationHooks
            and all(method.is_of(backend) for method in self.methods.values())
            and not any(hasattr(value, _MARK) for value in getattr(backend, "__dict__", {}).values())
        )


# Checking takes a millisecond, and the answer is the same for all objects of a class.
_plans: WeakKeyDictionary[type, _Plan] = WeakKeyDictionary()


def bind_hooks(backend: object, plugin: str) -> dict[str, Callable[..., Any]]:
    """The backend's hooks as callables that take all arguments of the specification, by position.

    Raises
    ------
    PluginError
        Naming plugin, hook and what to change.
    """
    known = _plans.get(type(backend))
    if known is not None and known.suits(backend):
        return {
            name: _taking(getattr(backend, method.attribute), method.positions)
            for name, method in known.methods.items()
        }
    functions = _registered(backend, plugin)
    positions = {name: _checked(plugin, name, function) for name, function in functions.items()}
    _check_complete(plugin, backend, functions)
    plan = _plan_of(backend, functions, positions)
    if plan is not None:
        _plans[type(backend)] = plan
    return {name: _taking(function, positions[name]) for name, function in functions.items()}


def _registered(backend: object, plugin: str) -> dict[str, Callable[..., Any]]:
    """The functions that implement hooks."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(OperationHooks)
    try:
        manager.register(backend, name=plugin)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"storage plugin {plugin!r} does not fit the contract: {error}") from error
    _check_known(plugin, [caller.name for caller in manager.get_hookcallers(backend) or []])
    found: dict[str, Callable[..., Any]] = {}
    for name in _HOOKS:
        implementations = getattr(manager.hook, name).get_hookimpls()
        if not implementations:
            continue
        implementation = implementations[-1]
        if implementation.wrapper or implementation.hookwrapper:
            raise _misfit(plugin, name, "is a hook wrapper; wrap storages with icechunk_wrap_storage")
        found[name] = implementation.function
    return found


def _plan_of(
    backend: object,
    functions: Mapping[str, Callable[..., Any]],
    positions: Mapping[str, tuple[int, ...] | None],
) -> _Plan | None:
    """What can be bound again without a look, if all hooks are methods of the class."""
    methods: dict[str, _Method] = {}
    for name, function in functions.items():
        attribute = str(getattr(function, "__name__", ""))
        method = getattr(type(backend), attribute, None)
        if method is None or getattr(function, "__func__", None) is not method:
            return None
        methods[name] = _Method(attribute, ref(method), positions[name])
    plan = _Plan(OperationHooks, methods)
    return plan if plan.suits(backend) else None


def check_replacements(plugin: str, replaced: Mapping[str, Callable[..., Any]]) -> None:
    """Check the hooks of a wrapper: they exist, and are coroutines or async generators as due.

    Raises
    ------
    PluginError
        Naming the hook.
    """
    _check_known(plugin, list(replaced))
    for name, function in replaced.items():
        _check_kind(plugin, name, function)


def _misfit(plugin: str, hook: str, what: str) -> PluginError:
    return PluginError(f"storage plugin {plugin!r}, hook {hook!r} {what}")


def _check_known(plugin: str, names: list[str]) -> None:
    for name in names:
        if name not in _HOOKS:
            import difflib

            close = difflib.get_close_matches(name, _HOOKS, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise _misfit(plugin, name, f"is unknown; {hint}The contract has {', '.join(_HOOKS)}")


def _check_complete(plugin: str, backend: object, bound: Mapping[str, Callable[..., Any]]) -> None:
    missing = [name for name in REQUIRED_HOOKS if name not in bound]
    if not missing:
        return
    unmarked = [name for name in missing if callable(getattr(type(backend), name, None))]
    if unmarked:
        raise PluginError(
            f"storage plugin {plugin!r} has {', '.join(unmarked)}, but not marked as hooks; "
            "put @icechunk_core.contract.hookimpl above them"
        )
    raise PluginError(
        f"storage plugin {plugin!r} lacks the hooks {', '.join(missing)}; "
        "implement them and mark them with @icechunk_core.contract.hookimpl"
    )


def _checked(plugin: str, name: str, function: Callable[..., Any]) -> tuple[int, ...] | None:
    """Which of the specified arguments an implementation takes; ``None`` if all of them."""
    specified = list(inspect.signature(getattr(OperationHooks, name)).parameters)[1:]
    accepted: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            raise _misfit(plugin, name, f"takes {parameter.name!r} by keyword only; remove the '*'")
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise _misfit(plugin, name, f"takes *{parameter.name}; name the arguments instead")
        if parameter.default is not parameter.empty:
            raise _misfit(plugin, name, f"gives {parameter.name!r} a default; remove it")
        if parameter.name not in specified:
            raise _misfit(plugin, name, f"takes {parameter.name!r}; the contract has {', '.join(specified)}")
        accepted.append(parameter.name)
    _check_kind(plugin, name, function)
    if accepted == specified:
        return None
    return tuple([specified.index(argument) for argument in accepted])


def _check_kind(plugin: str, name: str, function: Callable[..., Any]) -> None:
    if name in _COROUTINES and not inspect.iscoroutinefunction(function):
        raise _misfit(plugin, name, "must be a coroutine function; write 'async def'")
    if name == "list" and not inspect.isasyncgenfunction(function):
        raise _misfit(plugin, name, "must be an async generator; write 'async def' and 'yield'")
    if name == "capabilities" and (
        inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    ):
        raise _misfit(plugin, name, "must be a plain function; write 'def'")


def _taking(function: Callable[..., Any], positions: tuple[int, ...] | None) -> Callable[..., Any]:
    """Drop the arguments that an implementation leaves out, so that new ones break no old plugin."""
    if positions is None:
        return function
    if not positions:
        return lambda *_: function()
    if len(positions) == 1:
        only = positions[0]
        return lambda *arguments: function(arguments[only])
    pick = itemgetter(*positions)
    return lambda *arguments: function(*pick(arguments))
