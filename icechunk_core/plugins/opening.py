"""Open a storage: from a URL, a mapping, a backend object, or as it arrives pickled."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from icechunk_core.contract import Storage, open_backend
from icechunk_core.errors import IcechunkError, PluginError, StorageConfigError
from icechunk_core.plugins.layers import (
    Layer,
    layer_names,
    put_around,
    separated_options,
    structured_layers,
)
from icechunk_core.plugins.loading import missing_package_error
from icechunk_core.plugins.registry import Backend, find_backend
from icechunk_core.plugins.secrets import scrubbed, secret_texts
from icechunk_core.plugins.structuring import public_options, structure_config
from icechunk_core.plugins.urls import parse_url, query_options, redacted
from icechunk_core.plugins.wrapping import apply_wrapper, wrapper_named, wrapper_names

__all__ = ["open_storage"]

_log = logging.getLogger(__name__)


def open_storage(target: str | Mapping[str, Any] | Storage | object, /, **options: Any) -> Storage:
    """Open a storage with the backend that its scheme names. No network access happens here.

    Parameters
    ----------
    target
        A URL, whose query parameters are options; or a mapping of options with the key
        ``scheme`` (or ``url``); or an object that implements the operation hooks; or an
        open `Storage`, which is returned as it is. ``name+scheme`` puts the installed wrapper
        of that name around the storage; ``name.option`` are its options.
    options
        Options of the backend; they win over those in the URL or mapping. Those of a wrapper
        are a mapping under its name: ``encrypted={"key_file": path}``.

    Raises
    ------
    PluginError
        If the scheme's plugin is missing, disabled, broken, outdated or in conflict.
    StorageConfigError
        If an option is unknown, missing or wrong; names the option, never shows a secret.

    Examples
    --------
    >>> open_storage("memory:scratch") == open_storage({"scheme": "memory", "name": "scratch"})
    True
    """
    if isinstance(target, str):
        scheme, given = _from_url(target)
    elif isinstance(target, Mapping):
        scheme, given = _from_mapping(target)
    else:
        if options:
            raise StorageConfigError(
                f"options ({', '.join(sorted(options))}) go with a URL or a mapping, "
                "not with a storage that is open already"
            )
        return target if isinstance(target, Storage) else _open_object(target)
    names, scheme = layer_names(scheme)
    backend = find_backend(scheme)
    theirs, rest = separated_options(names, {**given(backend, scheme), **options})
    config = structure_config(backend.spec.config, rest, backend=backend.spec.name)
    return _open(scheme, (*structured_layers(names, theirs), *wrapper_names()), config, backend)


def _from_url(url: str) -> tuple[str, Any]:
    scheme, parts = parse_url(url)

    def given(backend: Backend, inner: str) -> dict[str, Any]:
        query = query_options(parts)
        try:
            located = dict(backend.spec.options_from_url(parts._replace(scheme=inner)))
        except IcechunkError:
            raise
        except Exception as error:
            raise PluginError(
                f"the storage plugin {backend.origin} failed to read the URL {redacted(url)!r}: "
                f"{type(error).__name__}",
                kind="plugin-broken",
            ) from None
        for name in query:
            if name in located:
                raise StorageConfigError(
                    f"{backend.spec.name} storage: the option {name!r} is in the URL's query, "
                    "but its address gives it too"
                )
        return {**located, **query}

    return scheme, given


def _from_mapping(options: Mapping[str, Any]) -> tuple[str, Any]:
    rest = dict(options)
    if "scheme" in rest:
        scheme = rest.pop("scheme")
        if not isinstance(scheme, str):
            raise StorageConfigError("the storage mapping's 'scheme' must be text, such as 'file'")
        return scheme.lower(), lambda *_: rest
    url = rest.pop("url", None)
    if not isinstance(url, str):
        raise StorageConfigError("a storage mapping needs the key 'scheme' or 'url', as text")
    scheme, given = _from_url(url)
    return scheme, lambda *where: {**given(*where), **rest}


def _open_object(backend: object) -> Storage:
    if isinstance(backend, type):
        raise PluginError(
            f"{backend.__name__} is a class; pass an instance of it as a storage (or a URL, or a Storage)"
        )
    return open_backend(backend)


# --- opening -----------------------------------------------------------------


def _open(scheme: str, wrappers: Sequence[Layer | str], config: Any, backend: Backend) -> Storage:
    try:
        made = backend.spec.factory(config)
    except IcechunkError:
        raise
    except ImportError as error:
        missing = missing_package_error(
            error, scheme, backend.origin, backend.packages, backend.spec.install_hint
        )
        raise missing or _failed(backend, config, error) from error
    except Exception as error:
        failure = _failed(backend, config, error)
        # The plugin's own message, in a chained traceback, could show what ours leaves out.
        cause = error if str(error) in failure.message else None
        raise failure from cause
    storage = open_backend(made, backend.spec, config=config)
    storage = _reopenable(storage, scheme, [])
    _log.debug("opened %r", storage)
    shown = public_options(config)
    if backend.wrap is not None:
        wrapped = apply_wrapper(f"of {backend.origin}", backend.wrap, storage, shown)
        storage = storage if wrapped is None else _reopenable(wrapped, scheme, [])
    applied: list[Layer | str] = []
    for each in wrappers:
        if isinstance(each, Layer):
            wrapped = put_around(each, storage)
        else:
            wrapped = apply_wrapper(repr(each), wrapper_named(each), storage, shown)
        if wrapped is not None:
            applied.append(each)
            storage = _reopenable(wrapped, scheme, applied)
    return storage


def _reopenable(storage: Storage, scheme: str, applied: Sequence[Layer | str]) -> Storage:
    """The storage knowing what is around it, also while the next wrapper looks at it."""
    return storage.reopened_by(
        functools.partial(_reopen, scheme, tuple(applied)),
        tuple((each.name, each.config) for each in applied if isinstance(each, Layer)),
    )


def _reopen(scheme: str, wrappers: tuple[Layer | str, ...], config: Any) -> Storage:
    """Open a pickled storage where it arrives: same plugin, configuration and wrappers."""
    backend = find_backend(scheme)
    if not isinstance(config, backend.spec.config):
        raise PluginError(
            f"a pickled storage with the scheme {scheme!r} has a configuration of another plugin "
            f"({type(config).__module__}) than the one installed here, {backend.origin}"
        )
    return _open(scheme, wrappers, config, backend)


def _failed(backend: Backend, config: Any, error: Exception) -> PluginError:
    return PluginError(
        f"the storage plugin {backend.origin} failed to open: {type(error).__name__}: "
        f"{scrubbed(str(error), secret_texts(config))}",
        kind="plugin-broken",
    )
