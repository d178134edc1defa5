"""Wrappers: what decorates every storage that is opened (metrics, latency, encryption, ...).

Order, from the storage outwards: the hook ``icechunk_wrap_storage`` of the plugin that
opens the storage; then the wrappers that the URL names (`icechunk_core.plugins.layers`), from
right to left; then the wrappers registered in code, by ``order``, then by the order of
registration.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from icechunk_core.contract import Storage
from icechunk_core.errors import IcechunkError, PluginError
from icechunk_core.plugins.loading import WrapStorage

__all__ = ["apply_wrapper", "register_wrapper", "unregister_wrapper", "wrapper_named", "wrapper_names"]


@frozen
class _Registered:
    order: int
    serial: int
    name: str
    wrap: WrapStorage


_lock = threading.Lock()
_serials = itertools.count()
_wrappers: dict[str, _Registered] = {}


def register_wrapper(wrap: WrapStorage, *, name: str, order: int = 0) -> None:
    """Decorate every storage that this process opens from now on.

    Parameters
    ----------
    wrap
        Called with the storage and the options it was opened with (without secrets);
        returns a decorated storage, or ``None`` to leave it as it is.
    name
        Names the wrapper in messages and for `unregister_wrapper`. A storage that was
        pickled is wrapped again, by the same names, where it is unpickled.
    order
        Wrappers of lower order are nearer to the storage.

    Raises
    ------
    PluginError
        If the name is taken.
    """
    with _lock:
        if name in _wrappers:
            raise PluginError(f"a storage wrapper {name!r} is registered already; unregister it first")
        _wrappers[name] = _Registered(order, next(_serials), name, wrap)


def unregister_wrapper(name: str) -> None:
    """Stop decorating storages that are opened from now on; those that are open keep the wrapper.

    Raises
    ------
    PluginError
        If there is none of that name.
    """
    with _lock:
        if _wrappers.pop(name, None) is None:
            raise PluginError(f"no storage wrapper {name!r} is registered")


def wrapper_names() -> Sequence[str]:
    """Names of the registered wrappers, innermost first."""
    # Without the lock, which a forked child may have inherited locked: one copy is atomic.
    wrappers = list(_wrappers.values())
    return [each.name for each in sorted(wrappers, key=lambda each: (each.order, each.serial))]


def wrapper_named(name: str) -> WrapStorage:
    """A registered wrapper.

    Raises
    ------
    PluginError
        If there is none of that name, as in a process where a pickled storage arrives that
        was wrapped where it came from. To open it without would change what it does.
    """
    try:
        return _wrappers[name].wrap
    except KeyError:
        raise PluginError(
            f"this storage was opened with the wrapper {name!r}, which is not registered in this process; "
            "register it (icechunk_core.plugins.register_wrapper) before unpickling"
        ) from None


def apply_wrapper(
    name: str, wrap: WrapStorage, storage: Storage, options: Mapping[str, Any]
) -> Storage | None:
    """The storage as a wrapper returns it; ``None`` if it leaves it as it is."""
    try:
        wrapped = wrap(storage, options)
    except IcechunkError:
        raise
    except Exception as error:
        raise PluginError(f"the storage wrapper {name} failed: {type(error).__name__}: {error}") from error
    if wrapped is not None and not isinstance(wrapped, Storage):
        raise PluginError(f"the storage wrapper {name} returned a {type(wrapped).__name__}, not a Storage")
    return wrapped
