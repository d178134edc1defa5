"""Configuration of memory storage."""

from __future__ import annotations

from collections.abc import Callable

from attrs import Factory, field, frozen

from icechunk_memory._space import Space, find_space, named_space, private_space

__all__ = ["MemoryConfig"]


def _space_for(config: MemoryConfig) -> Space:
    return private_space() if config.name is None else named_space(config.name)


@frozen
class MemoryConfig:
    """Which memory storage to open.

    It refers to the space that holds the objects. Two configurations are equal when they
    open the same space. Pickled, it finds the space again in the process that made it and
    is a `StorageConfigError` in any other.

    Attributes
    ----------
    name
        Storages of one name share their objects within the process. Without a name, each
        configuration has a space of its own, which is freed with it.
    read_only
        Refuse all writes.
    """

    name: str | None = None
    read_only: bool = False
    _space: Space = field(default=Factory(_space_for, takes_self=True), repr=False)

    @property
    def space(self) -> Space:
        """Where the objects are."""
        return self._space

    def __reduce__(self) -> tuple[Callable[..., MemoryConfig], tuple[str, int, str | None, bool]]:
        return _restore, (self._space.process, self._space.serial, self.name, self.read_only)


def _restore(process: str, serial: int, name: str | None, read_only: bool) -> MemoryConfig:
    return MemoryConfig(name, read_only, find_space(process, serial))
