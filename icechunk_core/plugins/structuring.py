"""Options (from a URL, a mapping, keywords) into a backend's configuration, with errors that name the option.

cattrs does the work, with stricter rules for plain values: ``bool("false")`` is no way to
read a URL. A value appears in a message only if its field has a ``repr``; the text of other
values is taken out of every message.
"""

from __future__ import annotations

import enum
import functools
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, cast, get_args, get_origin

import attrs

from icechunk_core.errors import PluginError, StorageConfigError
from icechunk_core.plugins.secrets import scrubbed, secret_texts

if TYPE_CHECKING:
    import cattrs

__all__ = ["option_names", "public_options", "structure_config"]

C = TypeVar("C")

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


class _Unstructurable(Exception):
    """A field of a type that nothing structures."""


class _Misfit(Exception):
    """A value that does not fit: where (nested option names), and what was expected."""

    def __init__(self, expected: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(expected)
        self.expected = expected
        self.path = path


def option_names(config: type[Any]) -> list[str]:
    """The options of a configuration class: its fields, except private ones."""
    return [each.name for each in _fields(config)]


def structure_config(config: type[C], options: Mapping[str, Any], *, backend: str) -> C:
    """Make a configuration from options.

    Parameters
    ----------
    config
        attrs class. Fields whose name starts with an underscore are not options.
    options
        Values by option name: text, as in a URL, or the proper types.
    backend
        Name for messages.

    Raises
    ------
    StorageConfigError
        If an option is unknown, missing or has a wrong value; names the option.
    """
    try:
        return _structure_class(config, options)
    except _Misfit as misfit:
        told = scrubbed(_told(config, options, misfit), secret_texts(config, options))
        text = f"{backend} storage: {told}"
    except _Unstructurable as error:
        raise PluginError(
            f"the configuration of {backend!r} storage has a field that options cannot fill: {error}"
        ) from None
    # Outside of the handlers, so that no chained exception shows what the message hides.
    raise StorageConfigError(text)


def public_options(config: object) -> dict[str, Any]:
    """Options of a configuration, without those that hold secrets."""
    if not attrs.has(type(config)):
        return {}
    return {each.name: getattr(config, each.name) for each in _fields(type(config)) if each.repr}


# --- one class ---------------------------------------------------------------


def _fields(config: type[Any]) -> list[attrs.Attribute[Any]]:
    return [each for each in attrs.fields(config) if each.init and not each.name.startswith("_")]


def _structure_class(config: type[C], options: Any) -> C:
    if isinstance(options, config):
        return options
    if not isinstance(options, Mapping):
        raise _Misfit(f"expected a mapping of the options {_listed(option_names(config))}")
    options = _renamed(config, options)
    allowed = {each.name: each for each in _fields(config)}
    for name in options:
        if name not in allowed:
            raise _Misfit(_unknown_option(str(name), list(allowed)))
    missing = [
        each.name for each in allowed.values() if each.default is attrs.NOTHING and each.name not in options
    ]
    if missing:
        raise _Misfit(f"needs the option{'s' if len(missing) > 1 else ''} {_listed(missing)}")
    _resolve_types(config)
    values: dict[str, Any] = {}
    for each in _fields(config):
        if each.name in options:
            values[each.alias or each.name] = _structure_value(each, options[each.name])
    try:
        return config(**values)
    except _Misfit:
        raise
    except (TypeError, ValueError) as error:
        raise _refused(config, error) from None


def _renamed(config: type[Any], options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options under their names of today: a field's ``metadata={"formerly": (name, ...)}`` has older ones."""
    for each in _fields(config):
        for old in each.metadata.get("formerly", ()):
            if old in options:
                if each.name in options:
                    raise _Misfit(f"the option {old!r} is called {each.name!r} now; give one of them")
                options = {each.name if name == old else name: value for name, value in options.items()}
    return options


def _resolve_types(config: type[Any]) -> None:
    try:
        attrs.resolve_types(cast(Any, config))
    except NameError as error:
        raise PluginError(
            f"the types of the configuration class {config.__qualname__} cannot be resolved: {error}; "
            "define it at the top of its module, and import what its annotations name at run time"
        ) from error


def _structure_value(attribute: attrs.Attribute[Any], value: Any) -> Any:
    if attribute.converter is not None:
        # The class converts by itself, and what its converter takes is not known here.
        return value
    expected_type = attribute.type if attribute.type is not None else Any
    try:
        return _structured(value, expected_type)
    except _Misfit as misfit:
        raise _Misfit(misfit.expected, (attribute.name, *misfit.path)) from None
    except _Unstructurable:
        raise
    except Exception:
        raise _Misfit(f"expected {_described(expected_type)}", (attribute.name,)) from None


def _refused(config: type[Any], error: TypeError | ValueError) -> _Misfit:
    """What an attrs validator or converter of the class said, with the field it was about."""
    if isinstance(error, StorageConfigError):
        return _Misfit(error.message)
    names = [each.name for each in error.args if isinstance(each, attrs.Attribute)]
    text = str(error.args[0]) if error.args else type(error).__name__
    mentioned = [name for name in option_names(config) if name in text]
    return _Misfit(text, tuple(names[:1] or (mentioned if len(mentioned) == 1 else ())))


def _told(config: type[Any], options: Mapping[str, Any], misfit: _Misfit) -> str:
    if not misfit.path:
        return misfit.expected
    text = f"option {'.'.join(misfit.path)!r}: {misfit.expected}"
    if not misfit.expected.startswith("expected"):
        return text
    value: Any = options
    current: Any = config
    for name in misfit.path:
        attribute = getattr(attrs.fields(current), name, None) if attrs.has(current) else None
        if attribute is None or not attribute.repr or _holds_class(attribute.type):
            return text
        value = value.get(name) if isinstance(value, Mapping) else None
        current = attribute.type if isinstance(attribute.type, type) else None
    return f"{text}, not {value!r}"


def _holds_class(kind: Any) -> bool:
    """Whether values of a type are, or may be, attrs classes: what users give for them is not shown."""
    return attrs.has(kind) or any(_holds_class(each) for each in get_args(kind))


def _unknown_option(name: str, allowed: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"there is no option {name!r}{hint}; the options are {_listed(allowed)}"


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def _described(expected: Any) -> str:
    if isinstance(expected, type) and issubclass(expected, enum.Enum):
        return "one of " + ", ".join(repr(each.value) for each in expected)
    if get_origin(expected) in (Union, UnionType):
        return " or ".join(_described(each) for each in get_args(expected) if each is not type(None))
    return str(getattr(expected, "__name__", expected))


# --- plain values ------------------------------------------------------------


def _bool(value: Any, _: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise _Misfit("expected true or false")


def _int(value: Any, _: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    raise _Misfit("expected a whole number")


def _float(value: Any, _: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    raise _Misfit("expected a number")


def _str(value: Any, _: Any) -> str:
    if isinstance(value, str):
        return value
    raise _Misfit("expected text")


def _path(value: Any, _: Any) -> Path:
    if isinstance(value, str | os.PathLike):
        return Path(cast("str | os.PathLike[str]", value))
    raise _Misfit("expected a path")


def _datetime(value: Any, _: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise _Misfit("expected a date and time such as 2026-01-31T12:00:00+00:00")


def _enum(value: Any, kind: type[enum.Enum]) -> enum.Enum:
    if isinstance(value, kind):
        return value
    for each in kind:
        if value in (each.value, each.name):
            return each
    raise _Misfit(f"expected {_described(kind)}")


def _is_wide_union(kind: Any) -> bool:
    """A union of two or more types besides ``None``."""
    if get_origin(kind) not in (Union, UnionType):
        return False
    return len([each for each in get_args(kind) if each is not type(None)]) > 1


def _union(value: Any, kind: Any) -> Any:
    members = get_args(kind)
    if value is None and type(None) in members:
        return None
    for each in members:
        if isinstance(each, type) and each is not type(None) and type(value) is each:
            return value
    expected: list[str] = []
    for each in members:
        if each is type(None):
            continue
        try:
            return _structured(value, each)
        except _Misfit as misfit:
            expected.append(misfit.expected.removeprefix("expected "))
        except (TypeError, ValueError):
            expected.append(_described(each))
    raise _Misfit("expected " + " or ".join(expected))


def _is_callable(kind: Any) -> bool:
    return kind is Callable or get_origin(kind) is Callable


def _callable(value: Any, _: Any) -> Any:
    if callable(value):
        return value
    raise _Misfit("expected a callable")


_PLAIN: Mapping[Any, Callable[[Any, Any], Any]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    Path: _path,
    datetime: _datetime,
}


def _structured(value: Any, kind: Any) -> Any:
    plain = _PLAIN.get(kind)
    if plain is not None:  # as the converter does it, and most storages need no more
        return plain(value, kind)
    converter = _converter()
    from cattrs.errors import StructureHandlerNotFoundError

    try:
        return converter.structure(value, kind)
    except StructureHandlerNotFoundError as error:
        raise _Unstructurable(str(error)) from error


@functools.cache
def _converter() -> cattrs.Converter:
    import cattrs

    converter = cattrs.Converter(detailed_validation=False)
    # The last hook that is registered is asked first.
    converter.register_structure_hook_func(attrs.has, lambda value, kind: _structure_class(kind, value))
    converter.register_structure_hook_func(_is_wide_union, _union)
    converter.register_structure_hook(enum.Enum, _enum)
    converter.register_structure_hook_func(_is_callable, _callable)
    for kind, hook in _PLAIN.items():
        converter.register_structure_hook(kind, hook)
    return converter
