"""What both ways to the service, `_sdk` and `_lean`, offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from attrs import frozen

from icechunk_core.contract import Buffer

__all__ = ["NO_CONDITION", "Entry", "Facts", "Got", "PutConditions", "PutOptions", "Wire"]


@frozen
class Facts:
    """What the service tells of a blob. The ETag is without quotes, ``size`` that of the whole."""

    size: int
    etag: str
    last_modified: datetime
    metadata: Mapping[str, str]


@frozen
class Got:
    """Bytes, and what is known of the blob they are from."""

    data: Buffer
    facts: Facts


@frozen
class Entry:
    """A blob in a listing."""

    name: str
    size: int
    etag: str
    last_modified: datetime
    folder: bool = False


@frozen
class PutConditions:
    """``If-None-Match: *`` or ``If-Match`` with an ETag, or neither."""

    absent: bool = False
    etag: str | None = None

    @property
    def any(self) -> bool:
        """Whether there is a condition."""
        return self.absent or self.etag is not None


NO_CONDITION = PutConditions()


@frozen
class PutOptions:
    """What a write carries besides the bytes; metadata under the service's names."""

    conditions: PutConditions = NO_CONDITION
    metadata: Mapping[str, str] | None = None
    content_type: str | None = None
    tier: str | None = None


class Wire(Protocol):
    """Single requests, one attempt each, with one identity. They raise `Failed`, and nothing else."""

    async def get(self, name: str, key: str, span: tuple[int, int | None] | None, etag: str | None) -> Got:
        """A blob, or its bytes from the first to the second of ``span`` (excluded; ``None``: the end)."""
        ...

    async def head(self, name: str, key: str) -> Facts:
        """What is known of a blob."""
        ...

    async def put(self, name: str, key: str, data: Buffer, options: PutOptions) -> str:
        """Write a blob in one request; its ETag."""
        ...

    async def stage(self, name: str, key: str, block: str, data: bytes) -> None:
        """Send one block of a blob."""
        ...

    async def commit(self, name: str, key: str, blocks: Sequence[str], options: PutOptions) -> str:
        """Make the staged blocks the blob; its ETag."""
        ...

    async def page(self, prefix: str, after: str | None) -> tuple[list[Entry], str | None]:
        """Blobs whose name starts with a text, in the service's order, and where the next page begins."""
        ...

    async def delete(self, name: str, key: str) -> None:
        """Delete a blob; a missing one is fine."""
        ...

    async def copy(self, source: str, target: str, key: str, tier: str | None) -> str:
        """Copy inside the container; the target's ETag."""
        ...
