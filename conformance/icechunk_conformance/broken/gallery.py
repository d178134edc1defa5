"""How an entry of the gallery is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

from attrs import frozen

from icechunk_conformance.reference import ReferenceStorage

__all__ = ["GALLERY", "SECRET", "Broken", "broken"]

S = TypeVar("S", bound=type[ReferenceStorage])

SECRET = "tr0ub4dor-and-3"


@frozen
class Broken:
    """A storage with one mistake.

    Attributes
    ----------
    name
        Short name.
    mistake
        What it does wrong.
    caught_by
        Ids of the checks that fail on it. All others pass.
    backend
        Its class; ``backend.opener(secret)`` opens clients of a new place.
    """

    name: str
    mistake: str
    caught_by: frozenset[str]
    backend: type[ReferenceStorage]


GALLERY: dict[str, Broken] = {}


def broken(name: str, caught_by: str) -> Callable[[S], S]:
    """Enter a storage into the gallery, with the ids of the checks that catch it."""

    def enter(backend: S) -> S:
        if name in GALLERY:
            raise ValueError(f"two broken storages are named {name!r}")
        GALLERY[name] = Broken(name, inspect.getdoc(backend) or "", frozenset(caught_by.split()), backend)
        return backend

    return enter
