"""Many chunks of one array at a time: found in columns, fetched in few requests, recorded together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import define, field

from icechunk_core.assets.packs import PackingSink
from icechunk_core.assets.spans import ChunkSpan, chunk_spans
from icechunk_core.contract import Buffer
from icechunk_core.format.chunk_refs import ChunkRef, ChunkRefs, InlineRef, NativeRef, RefKind, VirtualRef
from icechunk_core.format.refs import new_native_ref
from icechunk_core.session.chunk_reader import ArrayRefs, read_ref
from icechunk_core.session.chunks import SessionChunks
from icechunk_core.transaction.change_set import MISSING
from icechunk_core.transaction.column_changes import MIN_COLUMN, ColumnChanges

__all__ = ["BulkChunks", "Located", "WrittenBlock"]

Coords = tuple[int, ...]
Table = npt.NDArray[np.int64]
WrittenBlock = tuple[bytes, int, int, list[Coords]]
"""Chunks that lie side by side: their object's id, offset of the first, size of each, and coordinates."""

_DIRECT_OVER_READ = 32 << 10
"""Where there is no server to wait for, a further request costs less than reading much in vain."""


@define(eq=False)
class Located:
    """Where chunks are; the rows are those of the question, and those that are nowhere are missing.

    Attributes
    ----------
    at_hand
        Bytes that are in memory: of inline chunks, and of those that are not in the storage yet.
    virtual
        References to other objects.
    spans
        Parts of objects in the storage.
    """

    at_hand: dict[int, Buffer] = field(factory=dict)
    virtual: dict[int, VirtualRef] = field(factory=dict)
    spans: list[ChunkSpan] = field(factory=list)


class BulkChunks:
    """The chunks of a session, many at a time.

    Parameters
    ----------
    session
        Whose chunks.
    """

    def __init__(self, session: SessionChunks) -> None:
        self._session = session
        self.may_suspend = session.context.storage.may_suspend

    @property
    def caches_chunks(self) -> bool:
        """Whether chunks are kept in a cache, which is asked for them one by one."""
        return self._session.context.assets.caches_chunks

    @property
    def sink(self) -> PackingSink | None:
        """Where small chunks are packed, if they are."""
        sink = self._session.sink
        return sink if isinstance(sink, PackingSink) else None

    @property
    def inline_threshold(self) -> int:
        """Chunks of up to so many bytes are kept in the manifest."""
        return self._session.context.settings.inline_threshold

    # --- reading

    async def locate(self, path: str, coords: Sequence[Coords], *, largest_span: int) -> Located | None:
        """Find chunks, uncommitted ones included; ``None`` if there is no array of so many dimensions.

        Parameters
        ----------
        coords
            No number in it is negative.
        largest_span
            Bytes that a span has at most.
        """
        session = self._session
        array = session.array(path)
        ndim = 0 if array is None else len(array.num_chunks)
        if array is None or any(len(coord) != ndim for coord in coords):
            return None
        table = np.array(coords, dtype=np.int64).reshape(len(coords), ndim)
        found = _Found()
        limits = np.maximum(np.array(array.num_chunks, dtype=np.int64), 1)
        left = np.flatnonzero((table < limits).all(axis=1))
        left = _find_own(session, array, coords, table, left, found)
        await _find_stored(array, table, left, found)
        over_read = session.context.packs.over_read_bytes
        if not self.may_suspend:
            over_read = min(over_read, _DIRECT_OVER_READ)
        return self._settled(found, over_read, largest_span)

    def _settled(self, found: _Found, over_read: int, largest_span: int) -> Located:
        located = Located()
        for row, ref in found.single.items():
            self._add_single(located, found, row, ref)
        waiting = self._session.sink.waiting
        parts: list[tuple[npt.NDArray[np.intp], ChunkRefs, npt.NDArray[np.intp]]] = []
        for rows, refs, taken in found.blocks:
            native = refs.kind[taken] == RefKind.NATIVE
            if waiting and any(bytes(name) in waiting for name in refs.rows(np.sort(taken)).native_ids()):
                native[:] = False  # looked at one by one, since a pack may be written meanwhile
            for row, at in zip(rows[~native].tolist(), taken[~native].tolist(), strict=True):
                self._add_single(located, found, row, refs.ref(at))
            parts.append((rows[native], refs, taken[native]))
        later = found.later
        ids = [refs.chunk_ids[taken] for _, refs, taken in parts]
        ids.append(np.frombuffer(b"".join(ref.chunk_id for ref in later.values()), np.uint8).reshape(-1, 12))
        offsets = [refs.offset[taken].astype(np.int64) for _, refs, taken in parts]
        offsets.append(np.array([ref.offset for ref in later.values()], dtype=np.int64))
        lengths = [refs.length[taken].astype(np.int64) for _, refs, taken in parts]
        lengths.append(np.array([ref.length for ref in later.values()], dtype=np.int64))
        located.spans = chunk_spans(
            [row for rows, _, _ in parts for row in rows.tolist()] + list(later),
            np.concatenate(ids),
            np.concatenate(offsets),
            np.concatenate(lengths),
            over_read=over_read,
            largest=largest_span,
        )
        return located

    def _add_single(self, located: Located, found: _Found, row: int, ref: ChunkRef) -> None:
        if isinstance(ref, NativeRef):
            data = self._session.sink.peek(ref)
            if data is None:
                found.later[row] = ref
            else:
                located.at_hand[row] = data
        elif isinstance(ref, InlineRef):
            located.at_hand[row] = ref.data
        else:
            located.virtual[row] = ref

    async def read_span(self, span: ChunkSpan) -> Buffer:
        """The bytes of a span.

        Raises
        ------
        Corrupt
            If they are not all there: some chunk in it cannot be read.
        """
        return await self._session.context.assets.part(span.chunk_id, span.start, span.end)

    async def read_virtual(self, ref: VirtualRef) -> Buffer:
        """The bytes of a virtual chunk."""
        context = self._session.context
        return await read_ref(ref, None, context.assets, context.virtual)

    # --- writing

    def record(
        self,
        path: str,
        blocks: Sequence[WrittenBlock],
        single: Mapping[Coords, ChunkRef | None],
    ) -> None:
        """Make written chunks, and those that are deleted (``None``), part of the session's changes.

        Raises
        ------
        InvalidInputError, NodeNotFoundError, ReadOnlyError, SessionStateError
            As for a single chunk; nothing is recorded then.
        """
        session = self._session
        with session.lock:
            session.check_writable()
            array = session._writable_array(path, _outermost(blocks, single))
            node_id = array.node_id
            changes = session.changes
            count = sum(len(many) for _, _, _, many in blocks)
            mine = changes.chunk_changes(node_id)
            if count >= MIN_COLUMN or (count and isinstance(mine, ColumnChanges)):
                changes.set_chunk_columns(node_id, _columns(blocks, len(array.num_chunks)))
            elif count:
                changes.set_chunks(node_id, _items(blocks))
            for coords, ref in single.items():
                changes.set_chunk(node_id, coords, ref)
            session.prepared.pop(node_id, None)
            session.in_doubt.clear()
            session.fork_base = None


@define(eq=False)
class _Found:
    """Refs by row: one by one, and as rows of columns."""

    single: dict[int, ChunkRef] = field(factory=dict)
    blocks: list[tuple[npt.NDArray[np.intp], ChunkRefs, npt.NDArray[np.intp]]] = field(factory=list)
    later: dict[int, NativeRef] = field(factory=dict)

    def take(self, refs: ChunkRefs, table: Table, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Take what these refs have of the rows; gives the rows that they have not."""
        taken = refs.find_many(table[rows])
        there = taken >= 0
        if there.any():
            self.blocks.append((rows[there], refs, taken[there]))
        return rows[~there]


def _find_own(
    session: SessionChunks,
    array: ArrayRefs,
    coords: Sequence[Coords],
    table: Table,
    left: npt.NDArray[np.intp],
    found: _Found,
) -> npt.NDArray[np.intp]:
    """What the session itself has changed; gives the rows that it did not touch."""
    changes = session.changes.chunk_changes(array.node_id)
    single: Mapping[Coords, ChunkRef | None] = changes
    blocks: Sequence[ChunkRefs] = ()
    if isinstance(changes, ColumnChanges):
        # In this order: what ceases to be single is in a block already.
        single = changes.single
        blocks = changes.blocks
    if single:
        untouched: list[int] = []
        for row in left.tolist():
            ref = single.get(coords[row], MISSING)
            if ref is MISSING:
                untouched.append(row)
            elif ref is not None:
                found.single[row] = ref
        left = np.array(untouched, dtype=np.intp)
    for block in reversed(blocks):
        left = found.take(block, table, left)
    return left


async def _find_stored(array: ArrayRefs, table: Table, left: npt.NDArray[np.intp], found: _Found) -> None:
    """What the base snapshot has: of each chunk in the first manifest whose extents contain it."""
    for manifest in array.manifests:
        if not len(left):
            return
        inside = np.ones(len(left), dtype=np.bool_)
        for axis, (start, end) in enumerate(manifest.extents[: table.shape[1]]):
            inside &= (table[left, axis] >= start) & (table[left, axis] < end)
        if inside.any():
            refs = await array.load(manifest)
            if refs is not None:
                found.take(refs, table, left[inside])
            left = left[~inside]


def _outermost(blocks: Sequence[WrittenBlock], single: Mapping[Coords, object]) -> Coords:
    """Coordinates that are in the grid if all are."""
    written = [coords for _, _, _, many in blocks for coords in many]
    return tuple(map(max, zip(*written, *single, strict=True)))


def _columns(blocks: Sequence[WrittenBlock], ndim: int) -> ChunkRefs:
    counts = [len(many) for _, _, _, many in blocks]
    ids = np.frombuffer(b"".join(chunk_id for chunk_id, _, _, _ in blocks), dtype=np.uint8).reshape(-1, 12)
    sizes = np.repeat(np.array([size for _, _, size, _ in blocks], dtype=np.int64), counts)
    firsts = np.repeat(np.array([start for _, start, _, _ in blocks], dtype=np.int64), counts)
    numbers = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
    coords = np.array([coord for _, _, _, many in blocks for coord in many], dtype=np.uint32)
    return ChunkRefs.native(
        coords.reshape(len(numbers), ndim), np.repeat(ids, counts, axis=0), firsts + numbers * sizes, sizes
    )


def _items(blocks: Sequence[WrittenBlock]) -> dict[Coords, Any]:
    return {
        coords: new_native_ref((chunk_id, start + number * size, size))
        for chunk_id, start, size, many in blocks
        for number, coords in enumerate(many)
    }
