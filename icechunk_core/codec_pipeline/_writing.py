"""Writing a selection: values are copied into packs, and all references are recorded at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import define, field
from zarr.core.buffer import Buffer
from zarr.core.buffer.cpu import NDBuffer
from zarr.core.chunk_utils import (
    ChunkTransform,
    chunk_is_empty,
    fill_value_or_default,
    merge_and_encode_chunk,
)
from zarr.core.codec_pipeline import FusedCodecPipeline
from zarr.core.config import config

from icechunk_core.assets.packs import PackingSink
from icechunk_core.codec_pipeline._reading import LARGEST_SPAN
from icechunk_core.codec_pipeline._selection import Item, Layout, Selection, as_selection, zarr_buffer
from icechunk_core.codec_pipeline._threads import call_all, is_heavy, workers
from icechunk_core.drive import gather, run_direct
from icechunk_core.errors import Corrupt, IcechunkError
from icechunk_core.format.chunk_refs import ChunkRef, InlineRef
from icechunk_core.session.bulk import Coords, WrittenBlock
from icechunk_core.store.key_errors import naming_key

__all__ = ["write_together"]

_FEWEST = 2
_TOGETHER = 4 << 20
"""Bytes of decoded chunks that are under way at a time, in each thread."""


async def write_together(
    pipeline: FusedCodecPipeline, items: Sequence[Item], value: NDBuffer, drop_axes: tuple[int, ...]
) -> bool:
    """Write a selection; False, with nothing recorded, if zarr's pipeline has to."""
    selection = as_selection(pipeline, items, value, fewest=_FEWEST)
    if selection is None or selection.store.read_only or pipeline.supports_partial_encode:
        return False
    sink = selection.chunks.sink
    size = selection.decoded_size
    if sink is None or size > sink.largest_chunk or len(set(selection.coords)) < len(items):
        return False
    assert pipeline.sync_transform is not None
    writing = _Writing(
        selection, sink, value, drop_axes, pipeline.sync_transform, bool(pipeline.bytes_bytes_codecs)
    )
    try:
        if selection.chunks.may_suspend:
            await writing.on_loop()
        else:
            await asyncio.to_thread(writing.directly)
    except (Corrupt, _Vanished):
        return False  # one by one, so that the error names the chunk that is broken
    return True


class _Vanished(Exception):
    """The array is not there any more, or has other dimensions."""


@define(eq=False)
class _Piece:
    """What became of a part of the selection.

    Attributes
    ----------
    plain
        Chunks to be copied as they are, and where they belong.
    encoded
        Encoded chunks, and where they belong; ``None`` for those that are not to be stored.
    blocks, single
        References to what was written.
    """

    plain: list[tuple[Coords, npt.NDArray[Any]]] = field(factory=list)
    encoded: list[tuple[int, Buffer | None]] = field(factory=list)
    blocks: list[WrittenBlock] = field(factory=list)
    single: dict[Coords, ChunkRef | None] = field(factory=dict)


@define(eq=False)
class _Writing:
    selection: Selection
    sink: PackingSink
    value: NDBuffer
    drop_axes: tuple[int, ...]
    transform: ChunkTransform
    compresses: bool
    layout: Layout | None = field(init=False)
    source: npt.NDArray[Any] = field(init=False)
    fill_value: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.source = self.value.as_numpy_array()
        layout = self.selection.layout
        if layout is not None and layout.dtype.newbyteorder("=") != self.source.dtype.newbyteorder("="):
            layout = None
        self.layout = layout
        spec = self.selection.spec
        self.fill_value = None if spec.config.write_empty_chunks else fill_value_or_default(spec)

    def _parts(self) -> list[range]:
        count = len(self.selection.items)
        step = max(1, _TOGETHER // max(1, self.selection.decoded_size))
        if is_heavy(self.layout, [self.compresses] if self.compresses else []):
            step = min(step, -(-count // (4 * workers())))
        return [range(start, min(start + step, count)) for start in range(0, count, step)]

    def directly(self) -> None:
        """On a storage that never suspends; in a thread."""
        jobs = [partial(lambda rows: run_direct(self._write(rows)), rows) for rows in self._parts()]
        self._record(call_all(jobs, in_threads=self.layout is None or self.compresses))

    async def on_loop(self) -> None:
        """On a storage that suspends: copying and encoding are done in threads."""
        jobs = [partial(self._write, rows) for rows in self._parts()]
        limit = max(1, min(2 * workers(), config.get("async.concurrency")))
        self._record(await gather(jobs, may_suspend=True, limit=limit))

    def _record(self, pieces: Sequence[_Piece]) -> None:
        single: dict[Coords, ChunkRef | None] = {}
        for piece in pieces:
            single |= piece.single
        blocks = [block for piece in pieces for block in piece.blocks]
        self.selection.chunks.record(self.selection.path, blocks, single)

    async def _write(self, rows: range) -> _Piece:
        existing = await self._existing([row for row in rows if not self.selection.items[row][4]])
        piece = _Piece()
        await self._apart(self._encode, piece, rows, existing)
        done = 0
        while done < len(piece.plain):
            taken: int | None = await self._apart(self._put_block, piece, done)
            if taken is None:  # somebody has to wait until a pack is written
                coords, values = piece.plain[done]
                piece.single[coords] = await self.sink.put(memoryview(self._bytes_of(values)))
                taken = 1
            done += taken
        for row, buffer in piece.encoded:
            piece.single[self.selection.coords[row]] = await self._put(row, buffer)
        piece.plain, piece.encoded = [], []
        return piece

    async def _apart(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what takes a while: in another thread if this one has an event loop to serve."""
        if self.selection.chunks.may_suspend:
            return await asyncio.to_thread(function, *arguments)
        return function(*arguments)

    # --- what is there already

    async def _existing(self, rows: list[int]) -> dict[int, Buffer]:
        """The stored bytes of chunks of which only a part is written."""
        if not rows:
            return {}
        selection = self.selection
        chunks = selection.chunks
        try:
            located = await chunks.locate(
                selection.path,
                [selection.coords[row] for row in rows],
                largest_span=LARGEST_SPAN[chunks.may_suspend],
            )
            if located is None:
                raise _Vanished
            found: dict[int, Buffer] = {rows[at]: zarr_buffer(data) for at, data in located.at_hand.items()}
            for span in located.spans:
                content = zarr_buffer(await chunks.read_span(span))
                for at, start, length in zip(span.rows, span.starts, span.lengths, strict=True):
                    found[rows[at]] = content[start : start + length]
            for at, ref in located.virtual.items():
                found[rows[at]] = zarr_buffer(await chunks.read_virtual(ref))
        except Corrupt:
            raise
        except IcechunkError as error:
            raise naming_key(error, selection.items[rows[0]][0].path) from error
        return found

    # --- from values to bytes

    def _encode(self, piece: _Piece, rows: range, existing: dict[int, Buffer]) -> None:
        items, coords, layout = self.selection.items, self.selection.coords, self.layout
        source = self.source
        is_plain = not self.compresses and layout is not None and layout.size > self._inline_threshold
        for row in rows:
            _, spec, _, out_selection, is_complete = items[row]
            if layout is not None and is_complete and source.ndim:
                values = source[out_selection]
                if values.shape == layout.shape:
                    if self._is_empty(values):
                        piece.single[coords[row]] = None
                    elif is_plain:
                        piece.plain.append((coords[row], values))
                    else:
                        encoded = self.transform.encode_chunk(NDBuffer(values), spec)
                        piece.encoded.append((row, encoded))
                    continue
            piece.encoded.append((row, self._merged(row, existing.get(row))))

    @property
    def _inline_threshold(self) -> int:
        return self.selection.chunks.inline_threshold

    def _is_empty(self, values: npt.NDArray[Any]) -> bool:
        """zarr's rule; nearly always the first element tells that it does not hold."""
        fill = self.fill_value
        if fill is None:
            return False
        first = values[(0,) * values.ndim]
        if first == fill or (first != first and fill != fill):  # noqa: PLR0124 - not a number, or no time
            return chunk_is_empty(NDBuffer(values), self.selection.spec)
        return False

    def _merged(self, row: int, existing: Buffer | None) -> Buffer | None:
        _, spec, chunk_selection, out_selection, is_complete = self.selection.items[row]
        return merge_and_encode_chunk(
            existing,
            self.value,
            chunk_spec=spec,
            chunk_selection=chunk_selection,
            out_selection=out_selection,
            is_complete=is_complete,
            drop_axes=self.drop_axes,
            decode=self.transform.decode_chunk,
            encode=self.transform.encode_chunk,
        )

    # --- into packs

    def _put_block(self, piece: _Piece, first: int) -> int | None:
        """Copy as many of the plain chunks as fit side by side; ``None`` if there is no room now."""
        layout = self.layout
        assert layout is not None
        many = piece.plain

        def fill(view: memoryview) -> None:
            blocks = np.frombuffer(view, layout.dtype).reshape(-1, *layout.shape)
            for number, block in enumerate(blocks, first):
                block[...] = many[number][1]

        put = self.sink.put_block_at_once(layout.size, len(many) - first, fill)
        if put is None:
            return None
        chunk_id, start, count = put
        piece.blocks.append((chunk_id, start, layout.size, [at for at, _ in many[first : first + count]]))
        return count

    def _bytes_of(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        assert self.layout is not None
        return np.ascontiguousarray(values, self.layout.dtype).reshape(-1).view(np.uint8)

    async def _put(self, row: int, buffer: Buffer | None) -> ChunkRef | None:
        if buffer is None:
            return None
        data: Any = buffer.as_buffer_like()
        size = len(data)
        if not size:
            await self.selection.items[row][0].set(buffer)  # says why it is refused
        if size <= self._inline_threshold:
            return InlineRef(bytes(data))
        ref = self.sink.put_at_once(data, size)
        return await self.sink.put(data) if ref is None else ref
