"""What the listing of plugins tells about one plugin."""

from __future__ import annotations

import enum

from attrs import frozen

__all__ = ["PluginKind", "PluginRecord", "PluginState"]


class PluginKind(enum.StrEnum):
    """What a plugin offers."""

    BACKEND = "backend"
    """It opens the URLs of a scheme."""
    WRAPPER = "wrapper"
    """It is put around a storage whose URL names it: ``name+scheme://``."""


class PluginState(enum.StrEnum):
    """Where a plugin stands."""

    NOT_LOADED = "not loaded"
    """Installed; it is imported when its scheme is opened."""
    LOADED = "loaded"
    """Imported, or registered in code, and usable."""
    DISABLED = "disabled"
    """Switched off by the environment."""
    CONFLICT = "conflict"
    """Another plugin has the same scheme, so that neither is used."""
    BROKEN = "broken"
    """It could not be loaded; see ``error`` and ``traceback``."""


@frozen
class PluginRecord:
    """One plugin in the listing of `icechunk_core.plugins.list_plugins`.

    Attributes
    ----------
    name
        The URL scheme that the plugin opens, or the wrapper's name.
    distribution, version
        The installed distribution; empty for backends registered in code.
    target
        What the entry point refers to, or the backend's factory.
    state
        See `PluginState`.
    error
        Why it cannot be used, and what to do about it.
    traceback
        Of a broken plugin, where loading it raised.
    kind
        Backend or wrapper.
    """

    name: str
    distribution: str
    version: str
    target: str
    state: PluginState
    error: str | None = None
    traceback: str | None = None
    kind: PluginKind = PluginKind.BACKEND
