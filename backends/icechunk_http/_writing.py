"""What a web server does not do: every write is refused."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from icechunk_core.contract import Buffer, Condition, DeleteResult, Version, hookimpl
from icechunk_core.contract.errors import StorageError

__all__ = ["RefusesWrites"]


class RefusesWrites(ABC):
    """The hooks that write, for storages that only read."""

    @abstractmethod
    def _read_only(self, key: str | None) -> StorageError:
        """Why it cannot be written, and what to do instead."""

    @hookimpl
    async def put(
        self,
        key: str,
        data: Sequence[Buffer],
        condition: Condition,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
        storage_class: str | None,
    ) -> Version:
        raise self._read_only(key)

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        raise self._read_only(None)
