"""Reading a selection: one look-up for all chunks, few reads, and all values copied to their places."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import define, field
from zarr.abc.codec import GetResult
from zarr.core.buffer.cpu import NDBuffer
from zarr.core.chunk_utils import ChunkTransform, decode_and_scatter_chunk, fill_value_or_default
from zarr.core.codec_pipeline import FusedCodecPipeline
from zarr.core.config import config

from icechunk_core.codec_pipeline._selection import Item, Layout, Selection, as_selection, zarr_buffer
from icechunk_core.codec_pipeline._threads import call_all, is_heavy, pool
from icechunk_core.contract import Buffer
from icechunk_core.drive import gather, run_direct
from icechunk_core.errors import Corrupt, IcechunkError
from icechunk_core.session.bulk import Located
from icechunk_core.store.key_errors import naming_key

__all__ = ["LARGEST_SPAN", "read_together"]

LARGEST_SPAN = {False: 512 << 10, True: 4 << 20}
"""Bytes of one read, by whether the storage suspends: what stays in a cache, or keeps a server busy."""
_AT_HAND_TOGETHER = 256
_FEWEST = 6
_PRESENT = GetResult(status="present")
_MISSING = GetResult(status="missing")
_BYTE = np.dtype("B")


async def read_together(
    pipeline: FusedCodecPipeline, items: Sequence[Item], out: NDBuffer, drop_axes: tuple[int, ...]
) -> tuple[GetResult, ...] | None:
    """Read a selection; ``None``, with nothing that counts done, if zarr's pipeline has to."""
    selection = as_selection(pipeline, items, out, fewest=_FEWEST)
    if selection is None or selection.chunks.caches_chunks:
        return None
    assert pipeline.sync_transform is not None
    reading = _Reading(selection, out, drop_axes, pipeline.sync_transform, pipeline.bytes_bytes_codecs[::-1])
    try:
        if selection.chunks.may_suspend:
            return await reading.on_loop()
        return await asyncio.to_thread(reading.directly)
    except Corrupt:
        return None  # one by one, so that the error names the chunk that is broken
    except IcechunkError as error:
        raise naming_key(error, items[0][0].path) from error


@define(eq=False)
class _Reading:
    selection: Selection
    out: NDBuffer
    drop_axes: tuple[int, ...]
    transform: ChunkTransform
    decompress: Sequence[Any]
    layout: Layout | None = field(init=False)
    target: npt.NDArray[Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.layout = None if self.drop_axes else self.selection.layout
        self.target = self.out.as_numpy_array()

    def _locate(self) -> Coroutine[Any, Any, Located | None]:
        selection = self.selection
        largest = LARGEST_SPAN[selection.chunks.may_suspend]
        return selection.chunks.locate(selection.path, selection.coords, largest_span=largest)

    def directly(self) -> tuple[GetResult, ...] | None:
        """On a storage that never suspends; in a thread."""
        located = run_direct(self._locate())
        if located is None:
            return None
        chunks = self.selection.chunks

        def read(span: Any) -> None:
            data = run_direct(chunks.read_span(span))
            self.scatter(data, span.rows, span.starts, span.lengths)

        def read_virtual(row: int, ref: Any) -> None:
            self.scatter_one(row, run_direct(chunks.read_virtual(ref)))

        jobs: list[Callable[[], None]] = [partial(read, span) for span in located.spans]
        jobs += [partial(read_virtual, row, ref) for row, ref in located.virtual.items()]
        jobs += self._of_at_hand(located)
        call_all(jobs, in_threads=bool(located.virtual) or is_heavy(self.layout, self.decompress))
        return self.finish(located)

    async def on_loop(self) -> tuple[GetResult, ...] | None:
        """On a storage that suspends: what has come is decoded while the rest is on its way."""
        located = await self._locate()
        if located is None:
            return None
        chunks = self.selection.chunks
        loop = asyncio.get_running_loop()
        threads = pool()

        async def read(span: Any) -> None:
            data = await chunks.read_span(span)
            await loop.run_in_executor(threads, self.scatter, data, span.rows, span.starts, span.lengths)

        async def read_virtual(row: int, ref: Any) -> None:
            data = await chunks.read_virtual(ref)
            await loop.run_in_executor(threads, self.scatter_one, row, data)

        jobs: list[Callable[[], Coroutine[Any, Any, None]]] = [partial(read, span) for span in located.spans]
        jobs += [partial(read_virtual, row, ref) for row, ref in located.virtual.items()]
        await gather(jobs, may_suspend=True, limit=config.get("async.concurrency"))
        return await loop.run_in_executor(threads, self._rest, located)

    def _rest(self, located: Located) -> tuple[GetResult, ...]:
        for job in self._of_at_hand(located):
            job()
        return self.finish(located)

    def _of_at_hand(self, located: Located) -> list[Callable[[], None]]:
        def take(rows: Sequence[int]) -> None:
            for row in rows:
                self.scatter_one(row, located.at_hand[row])

        rows = list(located.at_hand)
        starts = range(0, len(rows), _AT_HAND_TOGETHER)
        return [partial(take, rows[start : start + _AT_HAND_TOGETHER]) for start in starts]

    def finish(self, located: Located) -> tuple[GetResult, ...]:
        """Fill values where there is no chunk, and which these are."""
        items = self.selection.items
        statuses = [_MISSING] * len(items)
        for span in located.spans:
            for row in span.rows:
                statuses[row] = _PRESENT
        for row in (*located.at_hand, *located.virtual):
            statuses[row] = _PRESENT
        if _MISSING in statuses:
            fill_value = fill_value_or_default(self.selection.spec)
            for row, status in enumerate(statuses):
                if status is _MISSING:
                    self.out[items[row][3]] = fill_value
        return tuple(statuses)

    # --- from bytes to values

    def scatter_one(self, row: int, data: Buffer) -> None:
        """Decode one chunk, and copy what is selected of it."""
        self.scatter(data, [row], [0], [len(data)])

    def scatter(
        self, data: Buffer, rows: Sequence[int], starts: Sequence[int], lengths: Sequence[int]
    ) -> None:
        """Decode chunks that are in ``data``, and copy what is selected of each."""
        content = np.frombuffer(data, _BYTE)
        layout = self.layout
        if layout is not None and not self.decompress:
            size, count = layout.size, len(rows)
            if len(content) == size * count and starts == list(range(0, size * count, size)):
                self._scatter_blocks(content.view(layout.dtype).reshape(count, *layout.shape), rows)
                return
        for row, start, length in zip(rows, starts, lengths, strict=True):
            self._scatter_chunk(row, content[start : start + length])

    def _scatter_blocks(self, blocks: npt.NDArray[Any], rows: Sequence[int]) -> None:
        items, target = self.selection.items, self.target
        for row, block in zip(rows, blocks, strict=True):
            _, _, chunk_selection, out_selection, _ = items[row]
            target[out_selection] = block[chunk_selection]

    def _scatter_chunk(self, row: int, content: npt.NDArray[np.uint8]) -> None:
        _, spec, chunk_selection, out_selection, _ = self.selection.items[row]
        layout = self.layout
        if layout is not None:
            decoded = zarr_buffer(content)
            for codec in self.decompress:
                decoded = codec._decode_sync(decoded, spec)
            values = decoded.as_numpy_array()
            if values.nbytes == layout.size:
                values = values.view(layout.dtype).reshape(layout.shape)
                self.target[out_selection] = values[chunk_selection]
                return
        # All else, chunks of a wrong size included, whose error is zarr's.
        decode_and_scatter_chunk(
            zarr_buffer(content),
            self.out,
            chunk_spec=spec,
            chunk_selection=chunk_selection,
            out_selection=out_selection,
            drop_axes=self.drop_axes,
            decode=self.transform.decode_chunk,
        )
