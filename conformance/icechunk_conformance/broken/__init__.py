"""A gallery of storages that are broken on purpose: each names the checks that catch it, exactly.

They prove that the checks see what they are for. Most override one small method of the
reference storage with a mistake that real storages and clients have made.
"""

from importlib import import_module

from icechunk_conformance.broken.gallery import GALLERY, Broken, broken
from icechunk_conformance.registry import BY_CHANCE

__all__ = ["BY_CHANCE", "GALLERY", "UNCAUGHT", "Broken", "broken", "gallery"]

MODULES = (
    "basics",
    "ranges",
    "keys",
    "listing",
    "conditional",
    "races",
    "cancellation",
    "pickling",
    "ambiguity",
    "transport",
    "durability",
    "turns",
)

UNCAUGHT: dict[str, str] = {}
"""Checks that no entry of the gallery shows to catch anything, and why."""


def gallery() -> list[Broken]:
    """All entries."""
    for name in MODULES:
        import_module(f"{__name__}.{name}")
    return list(GALLERY.values())
