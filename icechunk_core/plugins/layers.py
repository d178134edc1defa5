"""Wrappers that a storage's URL names: ``encrypted+s3://bucket?encrypted.key_file=...``.

A scheme is first looked for as it is (``obstore+s3`` may be a backend). Only where no backend
has it, what stands before its first ``+`` is taken for a wrapper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from icechunk_core.contract import Storage, WrapperSpec
from icechunk_core.errors import IcechunkError, PluginError, StorageConfigError
from icechunk_core.plugins.loading import missing_package_error
from icechunk_core.plugins.registry import find_wrapper, has_backend, has_wrapper
from icechunk_core.plugins.secrets import scrubbed, secret_texts
from icechunk_core.plugins.structuring import structure_config

__all__ = ["Layer", "layer_names", "put_around", "separated_options", "structured_layers"]


@frozen
class Layer:
    """A wrapper with its configuration; what a wrapped storage pickles to, besides the storage's own."""

    name: str
    config: Any


def layer_names(scheme: str) -> tuple[tuple[str, ...], str]:
    """The wrappers that a scheme names, the outermost first, and the scheme of the storage inside.

    Raises
    ------
    StorageConfigError
        If a wrapper is named twice.
    """
    names: list[str] = []
    rest = scheme.lower()
    while "+" in rest and not has_backend(rest):
        name, _, inner = rest.partition("+")
        if not has_wrapper(name):
            break
        names.append(name)
        rest = inner
    if len(set(names)) != len(names):
        raise StorageConfigError(f"the scheme {scheme!r} names a wrapper twice")
    return tuple(names), rest


def separated_options(
    names: Sequence[str], options: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Options of each wrapper, and those of the storage.

    A wrapper's option is ``name.option``, or is in a mapping that is given under the wrapper's name.

    >>> separated_options(["cached"], {"cached.size": "1G", "region": "eu-west-1"})
    ({'cached': {'size': '1G'}}, {'region': 'eu-west-1'})

    Raises
    ------
    StorageConfigError
        If the options of a wrapper, given under its name, are no mapping.
    """
    theirs: dict[str, dict[str, Any]] = {name: {} for name in names}
    rest: dict[str, Any] = {}
    for key, value in options.items():
        name, dot, option = key.partition(".")
        if name not in theirs:
            rest[key] = value
        elif dot:
            theirs[name][option] = value
        elif isinstance(value, Mapping):
            theirs[name].update(value)
        else:
            raise StorageConfigError(
                f"the option {name!r} is a mapping of that wrapper's options; or write {name}.option=value"
            )
    return theirs, rest


def structured_layers(names: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> tuple[Layer, ...]:
    """The wrappers with their configurations, the innermost first.

    Raises
    ------
    PluginError, StorageConfigError
        As opening a backend does.
    """
    layers = []
    for name in reversed(names):
        spec = find_wrapper(name).spec
        layers.append(Layer(name, structure_config(spec.config, options[name], backend=name)))
    return tuple(layers)


def put_around(layer: Layer, storage: Storage) -> Storage:
    """The storage, wrapped.

    Raises
    ------
    PluginError
        If the wrapper is not installed here, is another one than where the storage was pickled, needs a
        package, fails, or returns something else than a storage.
    """
    wrapper = find_wrapper(layer.name)
    spec: WrapperSpec = wrapper.spec
    if not isinstance(layer.config, spec.config):
        raise PluginError(
            f"a pickled storage with the wrapper {layer.name!r} has a configuration of another plugin "
            f"({type(layer.config).__module__}) than the one installed here, {wrapper.origin}"
        )
    try:
        wrapped: object = spec.wrap(storage, layer.config)
    except IcechunkError:
        raise
    except ImportError as error:
        missing = missing_package_error(
            error, layer.name, wrapper.origin, wrapper.packages, spec.install_hint
        )
        raise missing or _failed(layer, wrapper.origin, error) from error
    except Exception as error:
        failure = _failed(layer, wrapper.origin, error)
        # The plugin's own message, in a chained traceback, could show what ours leaves out.
        raise failure from (error if str(error) in failure.message else None)
    if not isinstance(wrapped, Storage):
        raise PluginError(
            f"the storage wrapper {wrapper.origin} returned a {type(wrapped).__name__}, not a Storage",
            kind="plugin-broken",
        )
    return wrapped


def _failed(layer: Layer, origin: str, error: Exception) -> PluginError:
    return PluginError(
        f"the storage wrapper {origin} failed to open: {type(error).__name__}: "
        f"{scrubbed(str(error), secret_texts(layer.config))}",
        kind="plugin-broken",
    )
