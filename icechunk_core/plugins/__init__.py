"""Storage plugins: found through the entry-point group ``icechunk_core.backends``, loaded when needed.

An entry point's name is the URL scheme that it opens; its value is a module with the hook
``icechunk_backends``. Nothing of a plugin is imported before a storage with its scheme is
opened, and never because the configuration stored in a repository names it.

A second group, ``icechunk_core.wrappers``, has what can be put around any storage by naming it
in the URL, ``name+scheme://...``; its modules have the hook ``icechunk_wrappers``.

The environment variable ``ICECHUNK_CORE_DISABLE_PLUGINS`` switches plugins off: schemes or
distributions, separated by commas, or ``all``.
"""

from icechunk_core.plugins.discovery import DISABLE_VARIABLE, GROUP, WRAPPER_GROUP
from icechunk_core.plugins.opening import open_storage
from icechunk_core.plugins.records import PluginKind, PluginRecord, PluginState
from icechunk_core.plugins.registry import (
    known_schemes,
    known_wrappers,
    list_plugins,
    register_backend,
    register_wrapper_spec,
    unregister_backend,
    unregister_wrapper_spec,
)
from icechunk_core.plugins.wrapping import register_wrapper, unregister_wrapper

__all__ = [
    "DISABLE_VARIABLE",
    "GROUP",
    "WRAPPER_GROUP",
    "PluginKind",
    "PluginRecord",
    "PluginState",
    "known_schemes",
    "known_wrappers",
    "list_plugins",
    "open_storage",
    "register_backend",
    "register_wrapper",
    "register_wrapper_spec",
    "unregister_backend",
    "unregister_wrapper",
    "unregister_wrapper_spec",
]
