"""Copy chunks out of sparse objects into new packs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor

from attrs import frozen

from icechunk_core.contract import ALWAYS, Buffer, Range, Storage
from icechunk_core.drive import gather, run
from icechunk_core.errors import Corrupt, InvalidRange, NotFound
from icechunk_core.format.layout import chunk_key
from icechunk_core.format.refs import NativeRef
from icechunk_core.ids import IdSource
from icechunk_core.maintenance.fanning import LentStorage, fan_out
from icechunk_core.maintenance.progress import Reporter

__all__ = ["NewPack", "copy_chunks", "plan_packs"]

_AT_ONCE = 4
_GAP = 64 << 10
"""Unwanted bytes that are read along rather than making another request."""


@frozen
class NewPack:
    """An object to be written: these chunks, one after the other."""

    id: bytes
    chunks: tuple[NativeRef, ...]

    def refs(self) -> Iterator[NativeRef]:
        """Where its chunks are in it."""
        offset = 0
        for chunk in self.chunks:
            yield NativeRef(self.id, offset, chunk.length)
            offset += chunk.length


def plan_packs(chunks: Iterable[NativeRef], target_bytes: int, ids: IdSource) -> list[NewPack]:
    """New packs for chunks, in their order, of at most ``target_bytes`` unless one chunk has more."""
    packs: list[NewPack] = []
    group: list[NativeRef] = []
    size = 0
    for chunk in chunks:
        if group and size + chunk.length > target_bytes:
            packs.append(NewPack(ids.object_id(), tuple(group)))
            group, size = [], 0
        group.append(chunk)
        size += chunk.length
    if group:
        packs.append(NewPack(ids.object_id(), tuple(group)))
    return packs


async def copy_chunks(
    storage: Storage,
    packs: list[NewPack],
    storage_class: str | None,
    executor: Executor | None,
    reporter: Reporter,
) -> None:
    """Write the packs, a few at a time: here, or by an executor's workers.

    Raises
    ------
    Corrupt
        If a chunk is not where its ref says.
    """
    if executor is not None:
        lent = LentStorage(storage)
        await fan_out(
            executor,
            _copy_in_worker,
            ((lent, pack, storage_class) for pack in packs),
            lambda _: reporter.advance(),
            may_suspend=storage.may_suspend,
        )
        return

    async def copy(pack: NewPack) -> None:
        await _copy(storage, pack, storage_class)
        reporter.advance()

    await gather(
        [lambda pack=pack: copy(pack) for pack in packs],  # type: ignore[misc]
        may_suspend=storage.may_suspend,
        limit=_AT_ONCE,
    )


def _copy_in_worker(job: tuple[LentStorage, NewPack, str | None]) -> None:
    lent, pack, storage_class = job
    run(_copy(lent.storage, pack, storage_class), may_suspend=lent.storage.may_suspend)


async def _copy(storage: Storage, pack: NewPack, storage_class: str | None) -> None:
    found: dict[NativeRef, Buffer] = {}
    for part in _parts(pack.chunks):
        key = chunk_key(part[0].chunk_id)
        start, end = part[0].offset, max(chunk.offset + chunk.length for chunk in part)
        try:
            data, _ = await storage.get_range_hook(key, Range(start, end), None)
        except (NotFound, InvalidRange) as error:
            raise Corrupt(
                f"missing or too short, although refs name it: {error.message}", object_name=key
            ) from error
        if len(data) != end - start:
            raise Corrupt(f"it ends before {end}, although refs name bytes up to there", object_name=key)
        view = memoryview(data)
        found.update((chunk, view[chunk.offset - start :][: chunk.length]) for chunk in part)
    content = [found[chunk] for chunk in pack.chunks]
    await storage.put_hook(chunk_key(pack.id), content, ALWAYS, None, None, storage_class)


def _parts(chunks: Iterable[NativeRef]) -> Iterator[list[NativeRef]]:
    """Chunks that lie close together in one object."""
    part: list[NativeRef] = []
    end = 0
    for chunk in sorted(chunks, key=lambda chunk: (chunk.chunk_id, chunk.offset)):
        if part and (chunk.chunk_id != part[0].chunk_id or chunk.offset > end + _GAP):
            yield part
            part = []
        end = max(end, chunk.offset + chunk.length) if part else chunk.offset + chunk.length
        part.append(chunk)
    if part:
        yield part
