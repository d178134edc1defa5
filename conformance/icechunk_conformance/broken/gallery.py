"""How an entry of the gallery is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Protocol, TypeVar

from attrs import frozen

from icechunk_core.contract import Storage

__all__ = ["GALLERY", "SECRET", "Broken", "Openable", "broken"]

SECRET = "tr0ub4dor-and-3"


class Openable(Protocol):
    """A storage with places of its own."""

    @classmethod
    def opener(cls, secret: str = "") -> Callable[[], Storage]:
        """A function that opens clients of a new place."""


S = TypeVar("S", bound=type[Openable])


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
        Ids of the checks that fail on it, always.
    sometimes
        Ids of those that fail when a schedule has it so. All others pass.
    backend
        Its class; ``backend.opener(secret)`` opens clients of a new place.
    """

    name: str
    mistake: str
    caught_by: frozenset[str]
    sometimes: frozenset[str]
    backend: type[Openable]


GALLERY: dict[str, Broken] = {}


def broken(name: str, caught_by: str, *, sometimes: str = "") -> Callable[[S], S]:
    """Enter a storage into the gallery, with the ids of the checks that catch it."""

    def enter(backend: S) -> S:
        if name in GALLERY:
            raise ValueError(f"two broken storages are named {name!r}")
        GALLERY[name] = Broken(
            name,
            inspect.getdoc(backend) or "",
            frozenset(caught_by.split()),
            frozenset(sometimes.split()),
            backend,
        )
        return backend

    return enter
