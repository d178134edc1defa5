"""Read objects to see whether they are sound; what is wrong is a result, not the end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias, TypeVar

from attrs import frozen

from icechunk_core.contract import Storage
from icechunk_core.drive import gather, run
from icechunk_core.errors import IcechunkError
from icechunk_core.format import layout
from icechunk_core.format.manifest import decode_manifest
from icechunk_core.format.snapshot import ManifestFileInfo
from icechunk_core.maintenance.fanning import LentStorage
from icechunk_core.transaction.soundness import ManifestFacts, manifest_facts

__all__ = [
    "CHUNKS_AT_ONCE",
    "Failed",
    "ProbedChunk",
    "ProbedManifest",
    "attempt",
    "chunks_in_worker",
    "manifests_in_worker",
    "probe_chunks",
    "probe_manifests",
]

T = TypeVar("T")
Item = TypeVar("Item")

CHUNKS_AT_ONCE = 32


@frozen
class Failed:
    """In place of a result."""

    error: IcechunkError


ProbedManifest: TypeAlias = tuple[ManifestFileInfo, int, ManifestFacts | IcechunkError]
"""What a snapshot says, the size of the object and its facts, or why there are none."""

ProbedChunk: TypeAlias = tuple[int, int] | Failed
"""The size of the object, and how many bytes of it were read."""


async def attempt(
    read: Callable[[Item], Coroutine[Any, Any, T]], items: Sequence[Item], at_once: int, *, may_suspend: bool
) -> list[T | Failed]:
    """Results, or why there are none."""

    async def one(item: Item) -> T | Failed:
        try:
            return await read(item)
        except IcechunkError as error:
            return Failed(error)

    return await gather(
        [lambda item=item: one(item) for item in items],  # type: ignore[misc]
        may_suspend=may_suspend,
        limit=at_once,
    )


async def probe_manifests(storage: Storage, entries: list[ManifestFileInfo]) -> list[ProbedManifest]:
    """Read and decode manifests."""

    async def one(entry: ManifestFileInfo) -> ProbedManifest:
        key = layout.manifest_key(entry.id)
        try:
            content, _ = await storage.get_range_hook(key, None, None)
            return entry, len(content), manifest_facts(decode_manifest(content, name=key))
        except IcechunkError as error:
            return entry, 0, error

    return await gather(
        [lambda entry=entry: one(entry) for entry in entries],  # type: ignore[misc]
        may_suspend=storage.may_suspend,
        limit=len(entries) or 1,
    )


async def probe_chunks(storage: Storage, ids: Sequence[bytes], *, data: bool) -> list[ProbedChunk]:
    """Read chunk objects to their ends, or only ask for their sizes."""

    async def one(chunk_id: bytes) -> tuple[int, int]:
        key = layout.chunk_key(chunk_id)
        if not data:
            return (await storage.head(key)).size, 0
        content, about = await storage.get_range_hook(key, None, None)
        return min(about.size, len(content)), len(content)

    return await attempt(one, ids, CHUNKS_AT_ONCE, may_suspend=storage.may_suspend)


# --- what workers run ------------------------------------------------------------------


def manifests_in_worker(job: tuple[LentStorage, list[ManifestFileInfo]]) -> list[ProbedManifest]:
    """`probe_manifests`, blocking."""
    lent, entries = job
    return run(probe_manifests(lent.storage, entries), may_suspend=lent.storage.may_suspend)


def chunks_in_worker(job: tuple[LentStorage, list[bytes], bool]) -> list[ProbedChunk]:
    """`probe_chunks`, blocking."""
    lent, ids, data = job
    return run(probe_chunks(lent.storage, ids, data=data), may_suspend=lent.storage.may_suspend)
