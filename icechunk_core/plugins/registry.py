"""Which backend opens a scheme: registered in code, or found as an installed plugin and loaded now."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import frozen

from icechunk_core.contract import BackendSpec, WrapperSpec
from icechunk_core.errors import PluginError
from icechunk_core.plugins.discovery import (
    DISABLE_VARIABLE,
    GROUP,
    WRAPPER_GROUP,
    Candidate,
    candidates,
    candidates_for,
    is_disabled,
)
from icechunk_core.plugins.firstparty import install_command
from icechunk_core.plugins.loading import (
    LoadedPlugin,
    LoadedWrapper,
    WrapStorage,
    check_spec,
    check_wrapper_spec,
    load,
    load_wrapper,
)
from icechunk_core.plugins.records import PluginKind, PluginRecord, PluginState

_log = logging.getLogger(__name__)
P = TypeVar("P")

__all__ = [
    "Backend",
    "Wrapper",
    "find_backend",
    "find_wrapper",
    "has_backend",
    "has_wrapper",
    "known_schemes",
    "known_wrappers",
    "list_plugins",
    "register_backend",
    "register_wrapper_spec",
    "unregister_backend",
    "unregister_wrapper_spec",
]


@frozen
class Backend:
    """What opens a scheme.

    Attributes
    ----------
    spec
        The backend.
    origin
        For messages: which distribution it comes from.
    packages
        Top-level import packages of the plugin.
    wrap
        The plugin's own wrapper of the storages that it opens.
    """

    spec: BackendSpec
    origin: str
    packages: frozenset[str] = frozenset()
    wrap: WrapStorage | None = None


@frozen
class Wrapper:
    """What a URL's scheme names before a ``+``; attributes as those of `Backend`."""

    spec: WrapperSpec
    origin: str
    packages: frozenset[str] = frozenset()


# Plain dictionaries: each change is one atomic operation. Importing under a lock of ours
# could deadlock with Python's own import locks.
_registered: dict[str, BackendSpec] = {}
_registering = threading.Lock()
_registered_wrappers: dict[str, WrapperSpec] = {}
_loaded: dict[Candidate, LoadedPlugin] = {}
_loaded_wrappers: dict[Candidate, LoadedWrapper] = {}
_failed: dict[Candidate, tuple[str, str | None]] = {}


# --- in code -----------------------------------------------------------------


def register_backend(spec: BackendSpec, *, replace: bool = False) -> None:
    """Let URLs with the backend's schemes open it, in this process.

    Parameters
    ----------
    spec
        The backend.
    replace
        Take its schemes over from another backend that has them.

    Raises
    ------
    PluginError
        If another backend, registered in code or installed, has one of its schemes.
    """
    check_spec(
        spec, f"the registered backend {getattr(spec, 'name', spec)!r}", "the package that registers it"
    )
    with _registering:
        for scheme in () if replace else spec.schemes:
            other = _registered.get(scheme.lower())
            if other is not None and other != spec:
                raise PluginError(
                    f"the scheme {scheme!r} is registered already, for the backend {other.name!r}; "
                    "unregister that one, or pass replace=True",
                    kind="plugin-conflict",
                )
            installed = candidates_for(scheme.lower())
            if installed:
                raise PluginError(
                    f"the scheme {scheme!r} is opened by the installed plugin {installed[0]}; "
                    "choose another scheme, or pass replace=True",
                    kind="plugin-conflict",
                )
        _registered.update({scheme.lower(): spec for scheme in spec.schemes})


def unregister_backend(scheme: str) -> None:
    """Forget the backend that was registered in code for a scheme, with all its schemes.

    Raises
    ------
    PluginError
        If none was registered for it.
    """
    with _registering:
        spec = _registered.get(scheme.lower())
        if spec is None:
            raise PluginError(f"no backend was registered in code for the scheme {scheme!r}")
        for each in [name for name, other in _registered.items() if other is spec]:
            del _registered[each]


def register_wrapper_spec(spec: WrapperSpec, *, replace: bool = False) -> None:
    """Let URLs name a wrapper (``name+scheme://...``), in this process.

    Parameters
    ----------
    spec
        The wrapper.
    replace
        Take its name over from another wrapper that has it.

    Raises
    ------
    PluginError
        If another wrapper, registered in code or installed, has its name.
    """
    check_wrapper_spec(
        spec, f"the registered wrapper {getattr(spec, 'name', spec)!r}", "the package that registers it"
    )
    with _registering:
        other = _registered_wrappers.get(spec.name)
        installed = candidates_for(spec.name, WRAPPER_GROUP)
        if not replace and ((other is not None and other != spec) or installed):
            raise PluginError(
                f"there is a wrapper {spec.name!r} already, "
                f"{installed[0] if installed else 'registered in code'}; "
                "choose another name, or pass replace=True",
                kind="plugin-conflict",
            )
        _registered_wrappers[spec.name] = spec


def unregister_wrapper_spec(name: str) -> None:
    """Forget a wrapper that was registered in code for URLs.

    Raises
    ------
    PluginError
        If there is none of that name.
    """
    with _registering:
        if _registered_wrappers.pop(name, None) is None:
            raise PluginError(f"no wrapper {name!r} was registered in code for URLs")


# --- lookup ------------------------------------------------------------------


def find_backend(scheme: str) -> Backend:
    """The backend for a scheme; loads its plugin, and only that one, if need be.

    Raises
    ------
    PluginError
        If there is none, or it is disabled, broken, outdated or in conflict with another.
    """
    scheme = scheme.lower()
    spec = _registered.get(scheme)
    if spec is not None:
        return Backend(spec, f"{spec.name!r} (registered in code)")
    found = candidates_for(scheme)
    if not found:
        raise _unknown(scheme)
    if len(found) > 1:
        raise PluginError(_conflict(scheme, found), kind="plugin-conflict")
    plugin = _load(found[0])
    return Backend(plugin.spec, str(plugin.candidate), plugin.packages, plugin.wrap)


def has_backend(scheme: str) -> bool:
    """Whether a backend is registered or installed for a scheme, usable or not. Imports nothing."""
    return scheme in _registered or any(each.scheme == scheme for each in candidates_for(scheme))


def has_wrapper(name: str) -> bool:
    """Whether a wrapper of that name is registered or installed, and not disabled. Imports nothing."""
    return name in _registered_wrappers or bool(candidates_for(name, WRAPPER_GROUP))


def find_wrapper(name: str) -> Wrapper:
    """A wrapper by name; loads its plugin, and only that one, if need be.

    Raises
    ------
    PluginError
        If there is none, or it is broken, outdated or in conflict with another.
    """
    spec = _registered_wrappers.get(name)
    if spec is not None:
        return Wrapper(spec, f"{name!r} (registered in code)")
    found = candidates_for(name, WRAPPER_GROUP)
    if not found:
        raise PluginError(
            f"no storage wrapper {name!r} is installed here (installed are: "
            f"{', '.join(known_wrappers()) or 'none'}); install the package that provides it",
            kind="plugin-missing",
        )
    if len(found) > 1:
        raise PluginError(_conflict(name, found), kind="plugin-conflict")
    plugin = _load_wrapper(found[0])
    return Wrapper(plugin.spec, str(plugin.candidate), plugin.packages)


def known_wrappers() -> Sequence[str]:
    """Names of the wrappers that URLs can name: registered, or installed and not disabled."""
    installed = {each.scheme for each in candidates(WRAPPER_GROUP) if not is_disabled(each)}
    return sorted(installed | set(_registered_wrappers))


def known_schemes() -> Sequence[str]:
    """Schemes that can be opened, or at least tried: registered, or installed and not disabled."""
    installed = {each.scheme for each in candidates() if not is_disabled(each)}
    return sorted(installed | set(_registered))


def _load(candidate: Candidate) -> LoadedPlugin:
    plugin = _loaded.get(candidate)
    if plugin is None:
        plugin = _loaded[candidate] = _noted(load, candidate)
    return plugin


def _load_wrapper(candidate: Candidate) -> LoadedWrapper:
    plugin = _loaded_wrappers.get(candidate)
    if plugin is None:
        plugin = _loaded_wrappers[candidate] = _noted(load_wrapper, candidate)
    return plugin


def _noted(load_it: Callable[[Candidate], P], candidate: Candidate) -> P:
    """Load, and keep what went wrong for the listing."""
    try:
        plugin = load_it(candidate)
    except PluginError as error:
        cause = error.__cause__
        trace = "".join(traceback.format_exception(cause)) if cause is not None else None
        _failed[candidate] = (error.message, trace)
        _log.warning("%s", error.message)
        raise
    _failed.pop(candidate, None)
    _log.debug("loaded the storage plugin %s for %r", candidate, candidate.scheme)
    return plugin


def _conflict(scheme: str, found: Sequence[Candidate]) -> str:
    return (
        f"several installed plugins open {scheme!r}: {' and '.join(map(str, found))}; uninstall all but one, "
        f"or name the distributions that are not to be used in the environment variable {DISABLE_VARIABLE}"
    )


def _unknown(scheme: str) -> PluginError:
    disabled = [each for each in candidates() if each.scheme == scheme]
    if disabled:
        return PluginError(
            f"the storage plugin {disabled[0]} for {scheme!r} is disabled by the environment variable "
            f"{DISABLE_VARIABLE}",
            kind="plugin-disabled",
        )
    names = known_schemes()
    installed = f"installed are: {', '.join(names)}" if names else "none is installed"
    command = install_command(scheme)
    if command is not None:
        mend = f"the plugin for it is missing; {command}"
    elif "+" in scheme:
        mend = (
            f"there is no wrapper {scheme.partition('+')[0]!r} either (installed are: "
            f"{', '.join(known_wrappers()) or 'none'}); install the package that provides it"
        )
    else:
        mend = _declared_elsewhere(scheme) or "check the spelling, or install the package that provides it"
    return PluginError(
        f"no storage plugin opens URLs with the scheme {scheme!r} ({installed}); {mend}",
        kind="plugin-missing",
    )


def _declared_elsewhere(scheme: str) -> str | None:
    for plugin in _loaded.values():
        if scheme in plugin.spec.schemes:
            return (
                f"the plugin {plugin.candidate} declares that scheme but has no entry point of that name, "
                "so that it cannot be found by it"
            )
    return None


# --- listing -----------------------------------------------------------------


def list_plugins(*, check: bool = False) -> list[PluginRecord]:
    """Every storage plugin: backends by scheme, installed ones first, then wrappers by name.

    Parameters
    ----------
    check
        Load each plugin that is not disabled, to find out whether it works. Otherwise
        nothing is imported.

    Examples
    --------
    >>> "memory" in [record.name for record in list_plugins()]
    True
    """
    backends, wrappers = candidates(GROUP), candidates(WRAPPER_GROUP)
    return [
        *(_record(each, backends, PluginKind.BACKEND, check) for each in backends),
        *(_in_code(scheme, spec.factory, PluginKind.BACKEND) for scheme, spec in sorted(_registered.items())),
        *(_record(each, wrappers, PluginKind.WRAPPER, check) for each in wrappers),
        *(
            _in_code(name, spec.wrap, PluginKind.WRAPPER)
            for name, spec in sorted(_registered_wrappers.items())
        ),
    ]


def _in_code(name: str, target: object, kind: PluginKind) -> PluginRecord:
    shown = getattr(target, "__qualname__", repr(target))
    return PluginRecord(name, "", "", shown, PluginState.LOADED, kind=kind)


def _record(
    candidate: Candidate, installed: Sequence[Candidate], kind: PluginKind, check: bool
) -> PluginRecord:
    def record(state: PluginState, error: str | None = None, trace: str | None = None) -> PluginRecord:
        return PluginRecord(
            candidate.scheme,
            candidate.distribution,
            candidate.version,
            candidate.target,
            state,
            error,
            trace,
            kind,
        )

    if is_disabled(candidate):
        return record(PluginState.DISABLED, f"disabled by the environment variable {DISABLE_VARIABLE}")
    rivals = [each for each in installed if each.scheme == candidate.scheme and not is_disabled(each)]
    if len(rivals) > 1:
        return record(PluginState.CONFLICT, _conflict(candidate.scheme, rivals))
    loaded = candidate in (_loaded if kind is PluginKind.BACKEND else _loaded_wrappers)
    if check and not loaded:
        try:
            if kind is PluginKind.BACKEND:
                _load(candidate)
            else:
                _load_wrapper(candidate)
        except PluginError as error:
            # A second look at what was noted: the traceback belongs to the record, not to us.
            return record(PluginState.BROKEN, *_failed.get(candidate, (error.message, None)))
        loaded = True
    if loaded:
        return record(PluginState.LOADED)
    if candidate in _failed:
        return record(PluginState.BROKEN, *_failed[candidate])
    return record(PluginState.NOT_LOADED)
