"""Load one plugin: import it, ask what it declares, check that."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import attrs
import pluggy
from attrs import frozen

from icechunk_core.contract import API_VERSION, PROJECT, BackendSpec, DeclarationHooks, Storage
from icechunk_core.errors import PluginError
from icechunk_core.plugins.discovery import Candidate
from icechunk_core.plugins.firstparty import install_command

__all__ = ["LoadedPlugin", "WrapStorage", "check_spec", "load", "missing_package_error"]

WrapStorage: TypeAlias = Callable[[Storage, Mapping[str, Any]], Storage | None]
_Declare: TypeAlias = Callable[[], Iterable[BackendSpec]]


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


def load(candidate: Candidate) -> LoadedPlugin:
    """Import a plugin and check its declarations.

    Raises
    ------
    PluginError
        Naming the distribution and what to do; its ``__cause__`` is the plugin's own error.
    """
    try:
        plugin = candidate.entry_point.load()
    except ImportError as error:
        missing = missing_package_error(error, candidate.scheme, str(candidate), _packages_of(candidate))
        raise missing or _broken(candidate, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(candidate, error) from error
    declare, wrap = _declaration_hooks(plugin, candidate)
    try:
        specs = list(declare())
    except ImportError as error:
        missing = missing_package_error(error, candidate.scheme, str(candidate), _packages_of(candidate))
        raise missing or _broken(candidate, error) from error
    except Exception as error:
        raise _broken(candidate, error) from error
    return LoadedPlugin(candidate, _spec_for(candidate, specs), wrap)


def _declaration_hooks(plugin: object, candidate: Candidate) -> tuple[_Declare, WrapStorage | None]:
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
                f"it implements an unknown declaration hook {caller.name!r}; "
                "there are icechunk_backends and icechunk_wrap_storage "
                "(operation hooks belong to the object that the factory makes)",
            )
    declared = manager.hook.icechunk_backends.get_hookimpls()
    if not declared:
        raise _misfit(candidate, f"{candidate.target} lacks the hook icechunk_backends (marked @hookimpl)")
    wraps = manager.hook.icechunk_wrap_storage.get_hookimpls()
    wrap = cast(WrapStorage, wraps[-1].function) if wraps else None
    return cast(_Declare, declared[-1].function), wrap


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
