"""Which plugins are installed: reads the metadata of distributions, imports nothing of them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import cast

from attrs import field, frozen

__all__ = [
    "DISABLE_VARIABLE",
    "GROUP",
    "WRAPPER_GROUP",
    "Candidate",
    "candidates",
    "candidates_for",
    "is_disabled",
]

GROUP = "icechunk_core.backends"
"""Entry-point group of storage plugins. An entry's name is the URL scheme that it opens."""

WRAPPER_GROUP = "icechunk_core.wrappers"
"""Entry-point group of storage wrappers. An entry's name stands before the ``+`` of a URL's scheme."""

DISABLE_VARIABLE = "ICECHUNK_CORE_DISABLE_PLUGINS"
"""Environment variable: names of schemes or distributions, separated by commas, or ``all``."""


@frozen
class Candidate:
    """An installed plugin for one scheme, or for one wrapper, not yet imported.

    Attributes
    ----------
    scheme
        URL scheme, or name of the wrapper: the name of the entry point.
    distribution, version
        What was installed, e.g. by pip.
    target
        What the entry point refers to, e.g. ``package.plugin``.
    """

    scheme: str
    distribution: str
    version: str
    target: str
    entry_point: metadata.EntryPoint = field(repr=False, eq=False)

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} ({self.target})"


def _candidates(entry_points: Iterable[metadata.EntryPoint]) -> Iterator[Candidate]:
    told: dict[int, tuple[str, str]] = {}  # parsing what a distribution says takes longer than all the rest
    for entry_point in entry_points:
        known = told.get(id(entry_point.dist))
        if known is None:
            known = told[id(entry_point.dist)] = _name_and_version(entry_point.dist)
        yield Candidate(
            scheme=entry_point.name.lower(),
            distribution=known[0],
            version=known[1],
            target=entry_point.value,
            entry_point=entry_point,
        )


def _name_and_version(dist: metadata.Distribution | None) -> tuple[str, str]:
    said: Mapping[str, str] = {} if dist is None else cast("Mapping[str, str]", dist.metadata)
    return said.get("Name") or "unknown distribution", said.get("Version") or "unknown"


_last_scans: dict[str, tuple[tuple[str, ...], Sequence[Candidate]]] = {}
"""By group: ``sys.path`` and what was found on it. Replaced as a whole, so that it needs no lock."""


def candidates(group: str = GROUP) -> Sequence[Candidate]:
    """Every installed storage plugin, by scheme and distribution; disabled ones too. Looks anew."""
    path = tuple(sys.path)
    found = set(_candidates(metadata.entry_points(group=group)))
    ordered = sorted(found, key=lambda each: (each.scheme, each.distribution, each.target))
    _last_scans[group] = (path, ordered)
    return ordered


def candidates_for(scheme: str, group: str = GROUP) -> Sequence[Candidate]:
    """The installed plugins for a scheme that are not disabled; two or more are a conflict.

    Reading the metadata of all distributions takes milliseconds, and storages are unpickled
    often: it is done again only when `sys.path` changed or nothing was found for the scheme.
    """
    path, known = _last_scans.get(group, ((), ()))
    found = [each for each in known if each.scheme == scheme] if path == tuple(sys.path) else []
    if not found:
        found = [each for each in candidates(group) if each.scheme == scheme]
    return [each for each in found if not is_disabled(each)]


def is_disabled(candidate: Candidate) -> bool:
    """Whether the environment switches a plugin off."""
    names = {_normalized(name) for name in os.environ.get(DISABLE_VARIABLE, "").split(",")}
    return not names.isdisjoint({"all", _normalized(candidate.scheme), _normalized(candidate.distribution)})


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
