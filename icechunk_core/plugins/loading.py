"""Load one plugin, of a backend or a wrapper: import it, ask what it declares, check that."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import attrs
import pluggy
from attrs import frozen

from icechunk_core.contract import (
    API_VERSION,
    PROJECT,
    BackendSpec,
    DeclarationHooks,
    Storage,
    WrapperSpec,
)
from icechunk_core.errors import PluginError
from icechunk_core.plugins.discovery import Candidate
from icechunk_core.plugins.firstparty import install_command

__all__ = [
    "LoadedPlugin",
    "LoadedWrapper",
    "WrapStorage",
    "check_spec",
    "check_wrapper_spec",
    "load",
    "load_wrapper",
    "missing_package_error",
]

WrapStorage: TypeAlias = Callable[[Storage, Mapping[str, Any]], Storage | None]

_WRAPPER_NAME = re.compile(r"[a-z][a-z0-9.-]*")
_HOOKS = ("icechunk_backends", "icechunk_wrappers", "icechunk_wrap_storage")


@frozen
class LoadedPlugin:
    """A plugin that was imported and checked.

    Attributes
    ----------
    spec
        The backend that opens the candidate's scheme.
    wrap
        The plugin's own ``icechunk_wrap_storage``, for storages that it opens.
    """

    candidate: Candidate
    spec: BackendSpec
    wrap: WrapStorage | None

    @property
    def packages(self) -> frozenset[str]:
        """The plugin's own top-level import package."""
        return _packages_of(self.candidate)


@frozen
class LoadedWrapper:
    """A plugin of a wrapper that was imported and checked."""

    candidate: Candidate
    spec: WrapperSpec

    @property
    def packages(self) -> frozenset[str]:
        """The plugin's own top-level import package."""
        return _packages_of(self.candidate)


def load(candidate: Candidate) -> LoadedPlugin:
    """Import a plugin of a backend and check its declarations.

    Raises
    ------
    PluginError
        Naming the distribution and what to do; its ``__cause__`` is the plugin's own error.
    """
    hooks = _imported(candidate)
    wrap = _implementation(hooks, "icechunk_wrap_storage")
    return LoadedPlugin(
        candidate, _spec_for(candidate, _declared(hooks, candidate, "icechunk_backends")), wrap
    )


def load_wrapper(candidate: Candidate) -> LoadedWrapper:
    """Import a plugin of a wrapper and check its declarations; raises what `load` does."""
    specs = _declared(_imported(candidate), candidate, "icechunk_wrappers")
    for spec in specs:
        check_wrapper_spec(spec, f"storage plugin {candidate}", candidate.distribution)
    for spec in specs:
        if spec.name == candidate.scheme:
            return LoadedWrapper(candidate, spec)
    names = ", ".join(sorted(spec.name for spec in specs)) or "none"
    raise _misfit(
        candidate,
        f"its entry point is named {candidate.scheme!r}, but its wrappers are {names}; "
        "name the entry point like the wrapper",
    )


def _imported(candidate: Candidate) -> pluggy.HookRelay:
    try:
        plugin = candidate.entry_point.load()
    except ImportError as error:
        missing = missing_package_error(error, candidate.scheme, str(candidate), _packages_of(candidate))
        raise missing or _broken(candidate, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(candidate, error) from error
    if inspect.isclass(plugin):
        raise _misfit(candidate, f"{candidate.target} is a class; point the entry point to a module")
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(DeclarationHooks)
    try:
        manager.register(plugin, name=candidate.target)
    except pluggy.PluginValidationError as error:
        raise _misfit(candidate, str(error)) from error
    for caller in manager.get_hookcallers(plugin) or []:
        if not caller.has_spec():
            raise _misfit(
                candidate,
                f"it implements an unknown declaration hook {caller.name!r}; there are {', '.join(_HOOKS)} "
                "(operation hooks belong to the object that the factory makes)",
            )
    return manager.hook


def _implementation(hooks: pluggy.HookRelay, name: str) -> Callable[..., Any] | None:
    implementations = getattr(hooks, name).get_hookimpls()
    return cast("Callable[..., Any]", implementations[-1].function) if implementations else None


def _declared(hooks: pluggy.HookRelay, candidate: Candidate, name: str) -> Sequence[Any]:
    declare = _implementation(hooks, name)
    if declare is None:
        raise _misfit(candidate, f"{candidate.target} lacks the hook {name} (marked @hookimpl)")
    try:
        return list(declare())
    except ImportError as error:
        missing = missing_package_error(error, candidate.scheme, str(candidate), _packages_of(candidate))
        raise missing or _broken(candidate, error) from error
    except Exception as error:
        raise _broken(candidate, error) from error


def _spec_for(candidate: Candidate, specs: Sequence[BackendSpec]) -> BackendSpec:
    for spec in specs:
        check_spec(spec, f"storage plugin {candidate}", candidate.distribution)
    matching = [spec for spec in specs if candidate.scheme in spec.schemes]
    if len(matching) > 1:
        raise _misfit(candidate, f"it declares two backends with the scheme {candidate.scheme!r}")
    if not matching:
        declared = sorted({scheme for spec in specs for scheme in spec.schemes}) or ["none"]
        raise _misfit(
            candidate,
            f"its entry point is named {candidate.scheme!r}, but its backends open {', '.join(declared)}; "
            "name the entry point like the scheme",
        )
    return matching[0]


def check_spec(spec: object, who: str, distribution: str) -> None:
    """Raise `PluginError` unless this is a declaration that can be used."""
    if not isinstance(spec, BackendSpec):
        raise PluginError(
            f"{who} declares a {type(spec).__name__} instead of a BackendSpec", kind="plugin-broken"
        )
    _check_versions_and_config(spec, who, distribution)


def check_wrapper_spec(spec: object, who: str, distribution: str) -> None:
    """Raise `PluginError` unless this is a declaration of a wrapper that can be used."""
    if not isinstance(spec, WrapperSpec):
        raise PluginError(
            f"{who} declares a {type(spec).__name__} instead of a WrapperSpec", kind="plugin-broken"
        )
    if not _WRAPPER_NAME.fullmatch(spec.name):
        raise PluginError(
            f"{who} names a wrapper {spec.name!r}; names begin with a lower-case letter and go on with such, "
            "digits, '.' and '-'",
            kind="plugin-broken",
        )
    _check_versions_and_config(spec, who, distribution)


def _check_versions_and_config(spec: BackendSpec | WrapperSpec, who: str, distribution: str) -> None:
    if spec.api_version < API_VERSION:
        raise PluginError(
            f"{who} was written for version {spec.api_version} of the storage contract, but this "
            f"icechunk-core has version {API_VERSION}; upgrade the plugin: "
            f"pip install --upgrade {distribution}",
            kind="plugin-outdated",
        )
    if spec.api_version > API_VERSION:
        raise PluginError(
            f"{who} needs version {spec.api_version} of the storage contract, but this icechunk-core "
            f"has version {API_VERSION}; upgrade it: pip install --upgrade icechunk-core",
            kind="plugin-outdated",
        )
    if not (isinstance(spec.config, type) and attrs.has(spec.config)):
        raise PluginError(
            f"{who} declares a configuration that is no attrs class; decorate it with @attrs.frozen",
            kind="plugin-broken",
        )


def missing_package_error(
    error: ImportError, scheme: str, who: str, own_packages: frozenset[str], hint: str = ""
) -> PluginError | None:
    """The error for a package that a plugin needs and that is not installed, or ``None``.

    An import that fails inside the plugin's own packages, or inside the core, is not a
    missing package: the plugin is broken.
    """
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    if package in own_packages or package == "icechunk_core":
        return None
    mend = hint or install_command(scheme) or f"pip install {package}"
    return PluginError(
        f"the storage plugin {who} needs the package {error.name!r}, which is not installed; {mend}",
        kind="plugin-needs-package",
    )


def _packages_of(candidate: Candidate) -> frozenset[str]:
    return frozenset({candidate.target.partition(":")[0].partition(".")[0].strip()})


def _broken(candidate: Candidate, error: BaseException) -> PluginError:
    last = traceback.format_exception_only(error)[-1].strip()
    return PluginError(
        f"the storage plugin {candidate} for {candidate.scheme!r} could not be loaded: {last}; "
        f"upgrade or uninstall {candidate.distribution}",
        kind="plugin-broken",
    )


def _misfit(candidate: Candidate, what: str) -> PluginError:
    return PluginError(f"the storage plugin {candidate} does not fit: {what}", kind="plugin-broken")
