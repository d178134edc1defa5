"""What this library is: versions, for people and for servers."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING

from icechunk_core.version import __version__

if TYPE_CHECKING:
    from icechunk_core.repository import SpecVersion

__all__ = ["__version__", "print_debug_info", "spec_version", "supported_spec_versions", "user_agent"]

_SHOWN = ("zarr", "numcodecs", "numpy", "xarray", "dask", "virtualizarr")


def spec_version() -> SpecVersion:
    """Version of the on-disk format that new repositories have."""
    from icechunk_core.repository import SpecVersion

    return SpecVersion.current()


def supported_spec_versions() -> list[SpecVersion]:
    """Versions of the on-disk format that can be read and written, newest first."""
    from icechunk_core.repository import SpecVersion

    return sorted(SpecVersion, reverse=True)


def user_agent() -> str:
    """What backends call this library in their requests to servers.

    >>> user_agent().startswith("icechunk-core-")
    True
    """
    return f"icechunk-core-{__version__}"


def print_debug_info() -> None:
    """Print the versions that matter when something does not work: system, Python, packages, backends."""
    from icechunk_core.plugins import list_plugins

    print(f"platform:  {platform.platform()}")
    print(f"python:  {platform.python_version()}")
    print(f"icechunk_core:  {__version__}")
    for package in _SHOWN:
        try:
            print(f"{package}:  {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    print(f"backends:  {', '.join(sorted(record.name for record in list_plugins()))}")
