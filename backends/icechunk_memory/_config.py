"""Configuration of memory storage."""

from __future__ import annotations

from collections.abc import Callable

from attrs import Factory, field, frozen

from icechunk_core.errors import StorageConfigError
from icechunk_memory._space import Space, find_space, named_space, private_space

__all__ = ["MemoryConfig"]


def _space_for(config: MemoryConfig) -> Space:
    return private_space() if config.name is None else named_space(config.name)


@frozen
class _Elsewhere:
    """A space of another process, or one that is gone."""

    process: str
    serial: int
    error: StorageConfigError = field(eq=False)


@frozen
class MemoryConfig:
    """Which memory storage to open.

    It refers to the space that holds the objects. Two configurations are equal when they
    open the same space. Pickled, it finds the space again in the process that made it; opening
    it in any other is a `StorageConfigError`.

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
    _space: Space | _Elsewhere = field(default=Factory(_space_for, takes_self=True), repr=False)

    @property
    def location(self) -> str:
        """Its URL."""
        return f"memory:{self.name or ''}"

    @property
    def space(self) -> Space:
        """Where the objects are; `StorageConfigError` if not in this process."""
        if isinstance(self._space, _Elsewhere):
            raise self._space.error
        return self._space

    def __reduce__(self) -> tuple[Callable[..., MemoryConfig], tuple[str, int, str | None, bool]]:
        return _restore, (self._space.process, self._space.serial, self.name, self.read_only)


def _restore(process: str, serial: int, name: str | None, read_only: bool) -> MemoryConfig:
    space: Space | _Elsewhere
    try:
        space = find_space(process, serial)
    except StorageConfigError as error:
        # Told by whoever opens it: an error of unpickling would break the executor that brought it.
        space = _Elsewhere(process, serial, error)
    return MemoryConfig(name, read_only, space)
