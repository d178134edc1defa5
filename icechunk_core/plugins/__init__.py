"""Storage plugins: found through the entry-point group ``icechunk_core.backends``, loaded when needed.

An entry point's name is the URL scheme that it opens; its value is a module with the hook
``icechunk_backends``. Nothing of a plugin is imported before a storage with its scheme is
opened, and never because the configuration stored in a repository names it.

The environment variable ``ICECHUNK_CORE_DISABLE_PLUGINS`` switches plugins off: schemes or
distributions, separated by commas, or ``all``.
"""

from icechunk_core.plugins.discovery import DISABLE_VARIABLE, GROUP
from icechunk_core.plugins.opening import open_storage
from icechunk_core.plugins.records import PluginRecord, PluginState
from icechunk_core.plugins.registry import known_schemes, list_plugins, register_backend, unregister_backend
from icechunk_core.plugins.wrapping import register_wrapper, unregister_wrapper

__all__ = [
    "DISABLE_VARIABLE",
    "GROUP",
    "PluginRecord",
    "PluginState",
    "known_schemes",
    "list_plugins",
    "open_storage",
    "register_backend",
    "register_wrapper",
    "unregister_backend",
    "unregister_wrapper",
]
