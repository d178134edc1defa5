"""Randomness, injected: fresh ids, write ids and jitter come from an `IdSource`."""

from __future__ import annotations

import os
import random
import uuid
from typing import Protocol

__all__ = ["IdSource", "SeededIds", "SystemIds"]


class IdSource(Protocol):
    """Where the engine's random values come from."""

    def object_id(self) -> bytes:
        """12 fresh bytes: a snapshot, manifest, chunk or backup id (FORMAT.md, section 3)."""
        ...

    def node_id(self) -> bytes:
        """8 fresh bytes: a node id."""
        ...

    def write_id(self) -> str:
        """A fresh UUID4 text that marks one logical conditional write (FORMAT.md, 11.5)."""
        ...

    def uniform(self) -> float:
        """A number in [0, 1), for jitter."""
        ...


class SystemIds:
    """The operating system's randomness; safe after fork."""

    def object_id(self) -> bytes:
        return os.urandom(12)

    def node_id(self) -> bytes:
        return os.urandom(8)

    def write_id(self) -> str:
        return str(uuid.uuid4())

    def uniform(self) -> float:
        return int.from_bytes(os.urandom(7), "big") / 2**56


class SeededIds:
    """Repeatable values for tests and simulations.

    >>> SeededIds(1).object_id() == SeededIds(1).object_id()
    True
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def object_id(self) -> bytes:
        return self._random.randbytes(12)

    def node_id(self) -> bytes:
        return self._random.randbytes(8)

    def write_id(self) -> str:
        return str(uuid.UUID(bytes=self._random.randbytes(16), version=4))

    def uniform(self) -> float:
        return self._random.random()
