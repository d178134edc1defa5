"""Schemes of the backends that icechunk-core itself offers: what to install where one is missing."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FIRST_PARTY_EXTRAS", "install_command"]

FIRST_PARTY_EXTRAS: Mapping[str, str] = {
    "s3": "s3",
    "r2": "s3",
    "tigris": "s3",
    "hf": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "azure": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "http": "http",
    "https": "http",
    "redirect": "http",
}
"""Scheme to the extra of the distribution that brings its backend's packages."""


def install_command(scheme: str) -> str | None:
    """The command that installs what a first-party scheme needs.

    >>> install_command("gs")
    "pip install 'icechunk-core[gcs]'"
    """
    extra = FIRST_PARTY_EXTRAS.get(scheme)
    return None if extra is None else f"pip install 'icechunk-core[{extra}]'"
