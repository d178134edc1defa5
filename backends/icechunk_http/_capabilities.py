"""What the storages of this plugin can do; without their SDK, since a plugin declares before it opens."""

from __future__ import annotations

from icechunk_core.contract import Capabilities

__all__ = ["HTTP", "REDIRECT"]

HTTP = Capabilities(
    list=False, ordered_list=False, may_suspend=True, fork_safe=True, read_only=True, unique_versions=False
)

REDIRECT = Capabilities(may_suspend=True, fork_safe=True, read_only=True, unique_versions=False)
"""As far as it can be said before the server was asked: a redirect to a web server cannot list."""
