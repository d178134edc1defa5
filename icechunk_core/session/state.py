"""`SessionState`: what a session sees and has changed; the store reads and writes through it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from attrs import define, field

from icechunk_core.assets.sink import ChunkSink, make_sink
from icechunk_core.contract import Buffer, ByteRange
from icechunk_core.errors import (
    ErrorKind,
    InvalidInputError,
    NodeNotFoundError,
    ReadOnlyError,
    SessionStateError,
)
from icechunk_core.format import base32
from icechunk_core.format.chunk_refs import ChunkRef, ChunkRefs, InlineRef, NativeRef, VirtualRef
from icechunk_core.format.snapshot import NodeSnapshot, NodeTable, Snapshot
from icechunk_core.format.zarr_metadata import parse_node_metadata
from icechunk_core.session.chunk_reader import ArrayRefs, read_ref, valid_coords
from icechunk_core.session.modes import SessionMode
from icechunk_core.transaction.change_set import MISSING, ChangeSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icechunk_core.session.context import RepositoryContext

__all__ = ["SessionState"]


@define(eq=False, repr=False)
class SessionState:
    """One reader's or writer's view of a repository.

    Attributes
    ----------
    context
        The repository's storage, caches, history and configuration, shared by its sessions.
    base
        Snapshot that the session starts from.
    mode, branch
        What the session may do, and where it commits to.
    changes
        Uncommitted changes.
    prepared
        Manifests that a commit has written, for the next try (see `icechunk_core.session.commit`).
    is_fork
        Whether this is a fork made for workers: writable, on no branch, never committed itself.
    fork_base
        Snapshot of these very changes that forks start from, once one was made.
    in_doubt
        Snapshots of these very changes whose publication had an unknown outcome.
    rewrite_manifests
        Whether the commit writes the manifests of all arrays anew.
    """

    context: RepositoryContext
    base: Snapshot
    mode: SessionMode
    branch: str | None = None
    changes: ChangeSet = field(factory=ChangeSet)
    commit_metadata: Mapping[str, Any] = field(factory=dict)
    is_fork: bool = False
    sink: ChunkSink = field(init=False)
    lock: threading.RLock = field(factory=threading.RLock, init=False)
    prepared: dict[bytes, Any] = field(factory=dict, init=False)
    in_doubt: list[Snapshot] = field(factory=list, init=False)
    rewrite_manifests: bool = field(default=False, init=False)
    fork_base: Snapshot | None = field(default=None, init=False)
    facade: Callable[[], Any] | None = field(default=None, init=False)
    _busy: bool = field(default=False, init=False)
    _arrays: dict[str, ArrayRefs] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        context = self.context
        self.sink = make_sink(
            context.storage, context.ids, storage_class=context.settings.chunks_storage_class
        )

    # --- state

    @property
    def may_suspend(self) -> bool:
        """Whether coroutines of this session may suspend."""
        return self.context.storage.may_suspend

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""
        return self.mode is SessionMode.READONLY

    @property
    def read_concurrency(self) -> int:
        """How many values one call of the store reads at once."""
        return self.context.config.effective_get_partial_values_concurrency()

    def public_session(self) -> Any:
        """The object that users know as the session of this state's store."""
        if self.facade is None:  # it came from a pickle, with its store
            from icechunk_core.session.forks import ForkSession
            from icechunk_core.session.session import Session

            return ForkSession(self) if self.is_fork else Session(self)
        return self.facade()

    @property
    def spec_version(self) -> int:
        """Spec version of the repository."""
        return self.context.spec_version

    def check_writable(self) -> None:
        """Raise unless nodes and chunks may be written now."""
        if self.mode is SessionMode.READONLY:
            raise ReadOnlyError(
                "this session is read-only (made so, or committed); "
                "open another with Repository.writable_session(branch)"
            )
        if self.mode is SessionMode.REARRANGE:
            raise SessionStateError(
                "a rearrange session only moves nodes; open a writable session to change them",
                kind=ErrorKind.REARRANGE_SESSION_ONLY,
            )
        self._check_not_busy()

    def _check_not_busy(self) -> None:
        if self._busy:
            raise SessionStateError("this session is being committed; write to it before or to another one")

    @contextmanager
    def committing(self) -> Iterator[None]:
        """While open, nothing else may change the session."""
        with self.lock:
            if self._busy:
                raise SessionStateError("this session is being committed already; wait for the result")
            self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def rebased(self, base: Snapshot, changes: ChangeSet) -> None:
        """Continue on another base snapshot."""
        with self.lock:
            self.base = base
            self.changes = changes
            self._arrays = {}

    def completed(self, base: Snapshot) -> None:
        """The changes are committed as ``base``: the session is read-only now."""
        with self.lock:
            self.mode = SessionMode.READONLY
            self.branch = None
            self.rebased(base, ChangeSet())
            self._forget_tries()

    def continued(self, base: Snapshot) -> None:
        """The changes are committed as ``base``, and the session goes on writing on top of it."""
        with self.lock:
            self.rebased(base, ChangeSet())
            self._forget_tries()

    def switched(self, base: Snapshot, branch: str | None) -> None:
        """Show another version; there are no uncommitted changes."""
        with self.lock:
            self.branch = branch
            self.continued(base)

    def merge(
        self, other: ChangeSet, *, unify_created: bool = True, other_base: NodeTable | None = None
    ) -> None:
        """Add the changes that another writer made over the same base."""
        with self.lock:
            self.check_writable()
            self.changes.merge(other, unify_created=unify_created, other_base=other_base)
            # Prepared manifests stay: a commit takes those whose plan is still the same.
            self._arrays = {}
            self.in_doubt.clear()
            self.fork_base = None

    def move_node(self, source: str, target: str) -> None:
        """Move or rename a node (see `icechunk_core.transaction.moves`)."""
        with self.lock:
            self._check_not_busy()
            self.changes.move(source, target, self.base.nodes)
            self._changed()

    def discard_changes(self) -> None:
        """Forget all uncommitted changes."""
        with self.lock:
            if self.read_only:
                return
            self.changes.discard()
            self._changed()

    def _changed(self) -> None:
        self._arrays = {}
        self._forget_tries()

    def _forget_tries(self) -> None:
        self.prepared.clear()
        self.in_doubt.clear()
        self.fork_base = None

    # --- nodes

    async def get_node(self, path: str) -> NodeSnapshot | None:
        """The node at ``path``, uncommitted changes included."""
        return self.changes.node(path, self.base.nodes)

    async def nodes(self, prefix_path: str) -> AsyncIterator[NodeSnapshot]:
        """The node at a path and all below it, in order of the paths' bytes."""
        for node in self.changes.nodes(prefix_path, self.base.nodes):
            yield node

    async def children(self, path: str) -> AsyncIterator[NodeSnapshot]:
        """The nodes right below a path."""
        for node in self.changes.children(path, self.base.nodes):
            yield node

    async def read_metadata(self, path: str) -> bytes | None:
        """The ``zarr.json`` of a node, byte for byte; ``None`` if there is no node."""
        node = self.changes.node(path, self.base.nodes)
        return None if node is None else node.user_data

    async def write_metadata(self, path: str, data: bytes) -> None:
        """Create a node, or replace its ``zarr.json``.

        Raises
        ------
        InvalidInputError
            If the document is not the metadata of a Zarr v3 array or group.
        ReadOnlyError, SessionStateError
            If the session cannot be written.
        """
        meta = parse_node_metadata(data, spec_version=self.spec_version, path=path)
        with self.lock:
            self.check_writable()
            self.changes.put_metadata(path, data, meta, self.base.nodes, self.context.ids.node_id)
            self._changed()

    async def delete_node(self, path: str) -> None:
        """Delete an array, or a group with all below it; nothing happens if there is no node."""
        with self.lock:
            self.check_writable()
            self.changes.delete_node(path, self.base.nodes)
            self._changed()

    async def clear(self) -> None:
        """Delete every node."""
        with self.lock:
            self.check_writable()
            self.changes.clear(self.base.nodes)
            self._changed()

    # --- chunks

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
            data = self.sink.waiting.get(ref.chunk_id)
            if data is not None:
                ref = InlineRef(data)
        return await read_ref(ref, byte_range, self.context.assets, self.context.virtual)

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
        self.check_writable()
        array = self._writable_array(path, coords)
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

    async def write_virtual_ref(
        self, path: str, coords: tuple[int, ...], ref: VirtualRef, *, validate_container: bool
    ) -> None:
        """Record that a chunk is a part of another object; its target is not looked at.

        Raises
        ------
        InvalidInputError
            If ``validate_container`` and no container covers the location, or as `write_chunk`.
        """
        self.check_writable()
        array = self._writable_array(path, coords)
        if ref.length == 0:
            raise InvalidInputError(
                f"chunk {coords} of {path!r}: a virtual chunk cannot be empty",
                kind=ErrorKind.ZERO_LENGTH_CHUNK,
            )
        if validate_container:
            self.context.virtual.require_container(ref.location)
        self._set_ref(array, path, coords, ref)

    async def delete_chunk(self, path: str, coords: tuple[int, ...]) -> None:
        """Remove a chunk; nothing happens if there is none."""
        self.check_writable()
        array = self.array(path)
        if array is None or not valid_coords(array.num_chunks, coords):
            return
        if await self.chunk_ref(path, coords) is not None:
            self._set_ref(array, path, coords, None)

    def _set_ref(self, array: ArrayRefs, path: str, coords: tuple[int, ...], ref: ChunkRef | None) -> None:
        with self.lock:
            # The session may have been committed, or the array deleted, while the bytes were written.
            self.check_writable()
            if self._arrays.get(path) is not array:
                array = self._writable_array(path, coords)
            self.changes.set_chunk(array.node.id, coords, ref)
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
        own = dict(self.changes.chunk_changes(array.node.id))
        num_chunks = array.num_chunks
        written = [
            c
            for c, ref in own.items()
            if ref is not None and c[: len(prefix)] == prefix and valid_coords(num_chunks, c)
        ]
        if written:
            yield np.array(written, dtype=np.uint32).reshape(len(written), len(num_chunks))
        for manifest in array.manifests:
            refs = await array.load(manifest)
            if refs is not None and len(refs):
                rows = refs.coords[_inside(refs.coords, num_chunks, prefix)]
                rows = _without(rows, own)
                if len(rows):
                    yield rows

    async def chunk_refs(self, path: str) -> AsyncIterator[ChunkRefs]:
        """The refs of all chunks in the array's grid, in blocks: uncommitted ones, then each manifest's."""
        array = self.array(path)
        if array is None:
            return
        own = dict(self.changes.chunk_changes(array.node.id))
        num_chunks = array.num_chunks
        written = {c: ref for c, ref in own.items() if ref is not None and valid_coords(num_chunks, c)}
        if written:
            yield ChunkRefs.from_items(len(num_chunks), written)
        for manifest in array.manifests:
            refs = await array.load(manifest)
            if refs is not None and len(refs):
                refs = refs.restricted([(0, count or 1) for count in num_chunks])
                refs = refs.updated({c: None for c in own if refs.find(c) >= 0})
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
            for coords, ref in changes.items():
                self.changes.set_chunk(array.node.id, coords, ref)
            if changes:
                self._forget_tries()

    def absolute_location(self, location: str) -> str:
        """The URL of a virtual location, which may be relative to a container (``vcc://name/key``)."""
        return self.context.virtual.absolute(location) if location.startswith("vcc://") else location

    def same_view(self, other: SessionState) -> bool:
        """Whether both show the same state of the same storage."""
        return self is other or (
            self.context.storage == other.context.storage
            and self.base.id == other.base.id
            and self.branch == other.branch
            and self.changes.to_bytes() == other.changes.to_bytes()
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SessionState):
            return NotImplemented
        return self.same_view(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        where = f"branch {self.branch!r}" if self.branch is not None else self.mode.value
        return f"session on {base32.encode(self.base.id)}, {where}, {self.context.storage!r}"

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], SessionState], tuple[dict[str, Any]]]:
        from icechunk_core.session.pickling import restore_state, save_state

        return restore_state, (save_state(self),)


def _inside(
    coords: npt.NDArray[np.uint32], num_chunks: tuple[int, ...], prefix: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    limits = np.maximum(np.array(num_chunks, dtype=np.int64), 1)
    mask: npt.NDArray[np.bool_] = (coords < limits).all(axis=1)
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
