"""The chunks that a session sees: their refs and bytes, uncommitted ones first."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icechunk_core.assets.later import LATER, Later
from icechunk_core.assets.sink import ChunkSink
from icechunk_core.assets.streams import Bytes
from icechunk_core.contract import Buffer, ByteRange, resolve_range
from icechunk_core.errors import ErrorKind, InvalidInputError, NodeNotFoundError, SessionStateError
from icechunk_core.format.chunk_refs import ChunkRef, ChunkRefs, InlineRef, NativeRef, VirtualRef
from icechunk_core.format.snapshot import Snapshot
from icechunk_core.session.chunk_reader import ArrayRefs, read_ref, valid_coords
from icechunk_core.session.modes import SessionMode
from icechunk_core.transaction.change_set import MISSING, ChangeSet
from icechunk_core.transaction.column_changes import ColumnChanges, RefMapping

if TYPE_CHECKING:
    from icechunk_core.session.context import RepositoryContext

__all__ = ["SessionChunks"]

_WRITABLE = SessionMode.WRITABLE


class SessionChunks:
    """Part of `SessionState`."""

    context: RepositoryContext
    base: Snapshot
    changes: ChangeSet
    sink: ChunkSink
    lock: threading.RLock
    prepared: dict[bytes, Any]
    in_doubt: list[Snapshot]
    fork_base: Snapshot | None
    mode: SessionMode
    _busy: bool
    _arrays: dict[str, ArrayRefs]

    @abstractmethod
    def check_writable(self) -> None:
        """Raise unless chunks may be written now."""

    @abstractmethod
    def forget_tries(self) -> None:
        """The changes are others now: what earlier commits have prepared is of no use."""

    def array(self, path: str) -> ArrayRefs | None:
        """The array at ``path`` with its refs in the base snapshot; ``None`` if there is no array."""
        found = self._arrays.get(path)
        if found is None:
            with self.lock:
                node = self.changes.node(path, self.base.nodes)
                if node is None or node.array is None:
                    return None
                found = ArrayRefs(node, self.base, self.context.assets)
                self._arrays[path] = found
        return found

    async def chunk_ref(self, path: str, coords: tuple[int, ...]) -> ChunkRef | None:
        """The ref of a chunk, uncommitted ones included; ``None`` if there is no chunk."""
        array = self._arrays.get(path) or self.array(path)
        if array is None or not valid_coords(array.num_chunks, coords):
            return None
        own = self.changes.chunk(array.node.id, coords)
        if own is not MISSING:
            return own
        return await array.get(coords)

    async def read_chunk(
        self, path: str, coords: tuple[int, ...], byte_range: ByteRange = None
    ) -> Buffer | None:
        """The bytes of a chunk or a part of it; ``None`` if there is none.

        Raises
        ------
        InvalidRange
            If the range does not fit the chunk.
        """
        ref = await self.chunk_ref(path, coords)
        if ref is None:
            return None
        if self.sink.waiting and isinstance(ref, NativeRef):
            data = self.sink.peek(ref)
            if data is not None:
                if byte_range is None:
                    return data
                start, end = resolve_range(byte_range, len(data))
                return data[start:end]
        return await read_ref(ref, byte_range, self.context.assets, self.context.virtual)

    def read_chunk_at_once(self, path: str, coords: tuple[int, ...]) -> Buffer | Bytes | Later | None:
        """What `read_chunk` gives for the whole chunk, if nothing has to be waited for.

        No coordinate is negative.
        """
        array = self._arrays.get(path)
        if array is None:
            return LATER
        changes = self.changes
        own = changes.chunk(array.node_id, coords) if changes.chunks else MISSING
        if own is MISSING:
            ref = array.at_hand(coords)
        elif array.holds(coords):
            ref = own
        else:
            return None
        if type(ref) is NativeRef:
            sink = self.sink
            if sink.waiting:
                data = sink.peek(ref)
                if data is not None:
                    return data
            return self.context.assets.chunk_at_once(ref)
        if ref is None:
            return None
        return ref.data if type(ref) is InlineRef else LATER

    async def chunk_size(self, path: str, coords: tuple[int, ...]) -> int | None:
        """Bytes of a chunk; ``None`` if there is none."""
        ref = await self.chunk_ref(path, coords)
        if ref is None:
            return None
        return len(ref.data) if isinstance(ref, InlineRef) else ref.length

    async def chunk_exists(self, path: str, coords: tuple[int, ...]) -> bool:
        """Whether there is a chunk."""
        return await self.chunk_ref(path, coords) is not None

    async def write_chunk(self, path: str, coords: tuple[int, ...], data: Buffer) -> None:
        """Store a chunk's bytes: in the manifest up to the inline threshold, else in the storage.

        Raises
        ------
        NodeNotFoundError, InvalidInputError
            If there is no array at ``path``, the coordinates are outside its grid, or ``data`` is empty.
        """
        array = self._writable_array(path, coords)
        self.check_writable()
        size = len(data)
        if size == 0:
            raise InvalidInputError(
                f"chunk {coords} of {path!r} is empty; the format has no empty chunks, delete it instead",
                kind=ErrorKind.ZERO_LENGTH_CHUNK,
            )
        ref: ChunkRef
        if size <= self.context.settings.inline_threshold:
            ref = InlineRef(bytes(data))
        else:
            ref = await self.sink.put(data)
        self._set_ref(array, path, coords, ref)

    def write_chunk_at_once(self, path: str, coords: tuple[int, ...], data: Buffer | Bytes) -> bool:
        """Do what `write_chunk` does, if nothing has to be waited for; whether it was done.

        No coordinate is negative.
        """
        array = self._arrays.get(path)
        if array is None or not array.holds(coords):
            return False
        if self._busy or self.mode is not _WRITABLE:
            self.check_writable()
        size = len(data)
        ref: ChunkRef | None
        if size > self.context.settings.inline_threshold:
            ref = self.sink.put_at_once(data, size)
            if ref is None:
                return False
        elif size:
            ref = InlineRef(bytes(data))
        else:
            return False
        self._set_ref(array, path, coords, ref)
        return True

    async def write_virtual_ref(
        self, path: str, coords: tuple[int, ...], ref: VirtualRef, *, validate_container: bool
    ) -> None:
        """Record that a chunk is a part of another object; its target is not looked at.

        Raises
        ------
        InvalidInputError
            If ``validate_container`` and no container covers the location, or as `write_chunk`.
        """
        if validate_container:
            self.context.virtual.require_container(ref.location)
        array = self._writable_array(path, coords)
        self.check_writable()
        if ref.length == 0:
            raise InvalidInputError(
                f"chunk {coords} of {path!r}: a virtual chunk cannot be empty",
                kind=ErrorKind.ZERO_LENGTH_CHUNK,
            )
        self._set_ref(array, path, coords, ref)

    async def write_virtual_refs(
        self, path: str, refs: Mapping[tuple[int, ...], VirtualRef], *, validate_container: bool
    ) -> list[tuple[int, ...]]:
        """Record many virtual refs; gives the coordinates of those that no container covers, left out.

        Raises
        ------
        InvalidInputError, NodeNotFoundError
            As `write_virtual_ref`; nothing is recorded then.
        """
        if not refs:
            return []
        array = self._writable_array(path, next(iter(refs)))
        self.check_writable()
        uncovered: list[tuple[int, ...]] = []
        if isinstance(refs, RefMapping):
            table = refs.refs.coords
            wrong = table[~_inside(table, array.num_chunks, ())] if table.size else table[:0]
            for coords in wrong[:1].tolist():
                self._writable_array(path, tuple(coords))  # says what is wrong
            if validate_container:
                bad = self.context.virtual.uncovered(refs.locations)
                if bad:
                    refs, uncovered = refs.partitioned(bad)
            self.set_refs(array, path, refs)
            return uncovered
        for coords in refs:
            if not valid_coords(array.num_chunks, coords):
                self._writable_array(path, coords)  # says what is wrong
        if validate_container:
            bad = self.context.virtual.uncovered({ref.location for ref in refs.values()})
            if bad:
                uncovered = [coords for coords, ref in refs.items() if ref.location in bad]
                refs = {coords: ref for coords, ref in refs.items() if ref.location not in bad}
        self.set_refs(array, path, refs)
        return uncovered

    async def delete_chunk(self, path: str, coords: tuple[int, ...]) -> None:
        """Remove a chunk; nothing happens if there is no array, or the chunk is outside of its grid.

        Where there is no chunk that is a change, too: somebody wants fill values there, and who wrote
        the chunk meanwhile has to know.
        """
        array = self.array(path)
        if array is not None and valid_coords(array.num_chunks, coords):
            self._set_ref(array, path, coords, None)

    def _set_ref(self, array: ArrayRefs, path: str, coords: tuple[int, ...], ref: ChunkRef | None) -> None:
        with self.lock:
            # The session may have been committed, or the array deleted, while the bytes were written.
            if self._busy or self.mode is not _WRITABLE:
                self.check_writable()
            if self._arrays.get(path) is not array:
                array = self._writable_array(path, coords)
            self.changes.set_chunk(array.node_id, coords, ref)
            if self.prepared or self.in_doubt or self.fork_base is not None:
                self.prepared.pop(array.node.id, None)
                self.in_doubt.clear()
                self.fork_base = None

    def _writable_array(self, path: str, coords: tuple[int, ...]) -> ArrayRefs:
        array = self._arrays.get(path) or self.array(path)
        if array is None:
            if self.changes.node(path, self.base.nodes) is None:
                raise NodeNotFoundError(f"there is no array at {path!r}; write its zarr.json first")
            raise InvalidInputError(f"{path!r} is a group and has no chunks", kind=ErrorKind.NOT_AN_ARRAY)
        if not valid_coords(array.num_chunks, coords):
            raise InvalidInputError(
                f"chunk {coords} is outside the grid of {path!r}, which has {array.num_chunks} chunks",
                kind=ErrorKind.INVALID_CHUNK_INDEX,
            )
        return array

    async def chunk_coords(
        self, path: str, prefix: tuple[int, ...] = ()
    ) -> AsyncIterator[npt.NDArray[np.uint32]]:
        """Coordinates of the array's chunks that begin with ``prefix``, in batches of ``uint32[n, ndim]``.

        Only those inside its grid, in no set order.
        """
        array = self.array(path)
        if array is None:
            return
        together, own = _as_columns(self.changes.chunk_changes(array.node.id))
        num_chunks = array.num_chunks
        written = [
            c
            for c, ref in own.items()
            if ref is not None and c[: len(prefix)] == prefix and valid_coords(num_chunks, c)
        ]
        if written:
            yield np.array(written, dtype=np.uint32).reshape(len(written), len(num_chunks))
        if together is not None:
            rows = _without(together.coords[_inside(together.coords, num_chunks, prefix)], own)
            if len(rows):
                yield rows
        for manifest in array.manifests:
            refs = await array.load(manifest)
            if refs is not None and len(refs):
                if together is not None:
                    refs = refs.replaced(ChunkRefs.empty(refs.ndim), together.coords)
                rows = refs.coords[_inside(refs.coords, num_chunks, prefix)]
                rows = _without(rows, own)
                if len(rows):
                    yield rows

    async def chunk_refs(self, path: str) -> AsyncIterator[ChunkRefs]:
        """The refs of all chunks in the array's grid, in blocks: uncommitted ones, then each manifest's."""
        array = self.array(path)
        if array is None:
            return
        together, own = _as_columns(self.changes.chunk_changes(array.node.id))
        num_chunks = array.num_chunks
        grid = [(0, count or 1) for count in num_chunks]
        written = {c: ref for c, ref in own.items() if ref is not None and valid_coords(num_chunks, c)}
        if written:
            yield ChunkRefs.from_items(len(num_chunks), written)
        if together is not None:
            refs = _minus(together.restricted(grid), own)
            if len(refs):
                yield refs
        for manifest in array.manifests:
            stored = await array.load(manifest)
            if stored is not None and len(stored):
                if together is not None:
                    stored = stored.replaced(ChunkRefs.empty(stored.ndim), together.coords)
                refs = _minus(stored.restricted(grid), own)
                if len(refs):
                    yield refs

    def set_refs(
        self, array: ArrayRefs, path: str, changes: Mapping[tuple[int, ...], ChunkRef | None]
    ) -> None:
        """Record many chunk changes at once, computed from the array as it was.

        Raises
        ------
        SessionStateError
            If another thread has changed the array's metadata or removed it meanwhile.
        """
        with self.lock:
            self.check_writable()
            if self.array(path) is not array:
                raise SessionStateError(
                    f"the array {path!r} was changed meanwhile; nothing was done, try again"
                )
            if changes:
                self.changes.set_chunks(array.node.id, changes)
                self.forget_tries()

    def absolute_location(self, location: str) -> str:
        """The URL of a virtual location, which may be relative to a container (``vcc://name/key``)."""
        return self.context.virtual.absolute(location) if location.startswith("vcc://") else location

    def uncovered_locations(self, locations: Iterable[str]) -> list[str]:
        """Those virtual locations that no container covers; `InvalidInputError` if one is no URL."""
        return [location for location in locations if not self.context.virtual.covers(location)]

    async def virtual_object_size(self, location: str) -> int:
        """Size in bytes of the object at a virtual location.

        Raises
        ------
        InvalidInputError, StorageError
            As reading a virtual chunk.
        """
        return await self.context.virtual.object_size(location)


def _as_columns(
    changes: Mapping[tuple[int, ...], ChunkRef | None],
) -> tuple[ChunkRefs | None, dict[tuple[int, ...], ChunkRef | None]]:
    """The refs that were set together, if any, and the changes on top of them; both stay as they are."""
    if isinstance(changes, ColumnChanges):
        columns = changes.columns
        return (columns if len(columns) else None), dict(changes.single)
    return None, dict(changes)


def _minus(refs: ChunkRefs, hidden: Mapping[tuple[int, ...], ChunkRef | None]) -> ChunkRefs:
    return refs.updated({coords: None for coords in hidden if refs.find(coords) >= 0})


def _inside(
    coords: npt.NDArray[np.uint32], num_chunks: tuple[int, ...], prefix: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    mask = np.ones(len(coords), dtype=np.bool_)
    for axis, count in enumerate(num_chunks):
        mask &= coords[:, axis] < (count or 1)
    for axis, index in enumerate(prefix):
        mask &= coords[:, axis] == index
    return mask


def _without(
    rows: npt.NDArray[np.uint32], hidden: Mapping[tuple[int, ...], ChunkRef | None]
) -> npt.NDArray[np.uint32]:
    if not hidden or not len(rows):
        return rows
    keep = np.fromiter((tuple(row) not in hidden for row in rows.tolist()), np.bool_, len(rows))
    return rows[keep]
