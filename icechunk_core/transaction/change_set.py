"""What a session has changed and not yet committed: an overlay on the nodes and chunks of its base snapshot.

A `ChangeSet` knows nothing about storage. It maps paths to nodes and coordinates to
chunk refs where the session differs from its base, and everything else is answered by
the base `NodeTable` that the caller passes in. Nodes are identified by their ids, so
the same change set can be laid over another base after a rebase.

Writers need a lock, which the session that owns it holds. Readers need none: they see the
state before or after a write, also when they read from another thread while one happens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from enum import Enum
from heapq import merge as merge_sorted
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from attrs import frozen

from icechunk_core.errors import AlreadyExistsError, ErrorKind
from icechunk_core.format.manifest import ChunkRef, ChunkRefs
from icechunk_core.format.snapshot import ArrayData, NodeSnapshot, NodeTable
from icechunk_core.format.transaction_log import Move
from icechunk_core.format.zarr_metadata import NodeMetadata
from icechunk_core.transaction.column_changes import MANY, MIN_COLUMN, ColumnChanges, RefMapping
from icechunk_core.transaction.paths import path_key, subtree_bounds

__all__ = ["MISSING", "ChangeSet", "Coords", "DeletedNode", "Missing"]

Coords: TypeAlias = tuple[int, ...]


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "look in the base snapshot"


MISSING: Final = Missing.MISSING
"""Answer of `ChangeSet.chunk`: the session did not touch that chunk, look in the base."""

_NO_CHUNKS: Final[Mapping[Coords, ChunkRef | None]] = MappingProxyType({})


@frozen
class DeletedNode:
    """A node of the base that the session deleted."""

    id: bytes
    path: str
    is_array: bool


class ChangeSet:
    """Uncommitted changes over a base snapshot.

    Attributes
    ----------
    created
        Node id to path of the nodes made in this session.
    updated
        Node id to path of base nodes whose ``zarr.json`` changed.
    deleted
        Node id to `DeletedNode` of base nodes that are gone. A node made and deleted in the session
        leaves no trace; one that was deleted and made again is in ``deleted`` with its old id and in
        ``created`` with the new one.
    moved
        Node id to `Move` of base nodes that were moved, from their path in the base to that of now.
    chunks
        Node id to coordinates to ref; ``None`` stands for a deleted chunk.
    """

    __slots__ = (
        "_generation", "_joined", "_overlay", "_sorted_paths",
        "chunks", "created", "deleted", "moved", "updated",
    )  # fmt: skip

    def __init__(self) -> None:
        self.created: dict[bytes, str] = {}
        self.updated: dict[bytes, str] = {}
        self.deleted: dict[bytes, DeletedNode] = {}
        self.moved: dict[bytes, Move] = {}
        # Dictionaries, or columns for very many refs that were set together.
        self.chunks: dict[bytes, MutableMapping[Coords, ChunkRef | None]] = {}
        # Path to the node that the session sees there; None hides what the base has.
        self._overlay: dict[str, NodeSnapshot | None] = {}
        # Counts changes of the overlay's paths; the sorted paths are those of one count.
        self._generation = 0
        self._sorted_paths: tuple[int, list[bytes]] = (0, [])
        # Path to an updated node, the base it was read over, and the node with its manifests in that base.
        self._joined: dict[str, tuple[NodeSnapshot, NodeTable, NodeSnapshot]] = {}

    def __repr__(self) -> str:
        chunks = sum(len(refs) for refs in self.chunks.values())
        return (
            f"<ChangeSet: {len(self.created)} nodes created, {len(self.updated)} updated, "
            f"{len(self.deleted)} deleted, {len(self.moved)} moved, {chunks} chunks>"
        )

    # --- nodes -----------------------------------------------------------------

    def node(self, path: str, base: NodeTable) -> NodeSnapshot | None:
        """The node at ``path`` as the session sees it, or None.

        Manifests of the result are those of the base: chunk refs of the session come from `chunk`.
        """
        own = self._overlay.get(path, MISSING)
        if own is MISSING:
            return base.get(path)
        if own is None or own.array is None or own.id in self.created:
            return own
        return self._join(own, base)

    def own_node(self, path: str) -> NodeSnapshot | None:
        """The node that the session itself put at ``path`` (made, updated or moved), without manifests."""
        return self._overlay.get(path)

    def nodes(self, prefix: str, base: NodeTable) -> Iterator[NodeSnapshot]:
        """The node at ``prefix`` and everything below it, in raw byte order of the paths."""
        own = [p for p in (prefix, *self._own_below(prefix)) if p in self._overlay]
        return self._merged(own, base.subtree(prefix), base)

    def children(self, path: str, base: NodeTable) -> Iterator[NodeSnapshot]:
        """The nodes directly below ``path``, in raw byte order."""
        return self._merged(list(self._own_children(path)), base.children(path), base)

    def overlay(self, base: NodeTable) -> dict[str, NodeSnapshot | None]:
        """What the session has put at paths, as `node` gives it; None where it hides what the base has."""
        return {path: self.node(path, base) for path in self._overlay}

    def put_metadata(
        self,
        path: str,
        data: bytes,
        meta: NodeMetadata,
        base: NodeTable,
        fresh_node_id: Callable[[], bytes],
    ) -> None:
        """Create the node at ``path``, or replace its ``zarr.json``.

        Writing the bytes that are there already is no change. Parents need not exist.

        Raises
        ------
        AlreadyExistsError
            If a node of the other type is there.
        """
        existing = self.node(path, base)
        if existing is None:
            node = NodeSnapshot(fresh_node_id(), path, data, _array_data(meta))
            self.created[node.id] = path
        else:
            if existing.is_array is not meta.is_array:
                raise _other_type(path, meta)
            if existing.user_data == data:
                return
            node = NodeSnapshot(existing.id, path, data, _array_data(meta))
            if node.id not in self.created:
                self.updated[node.id] = path
        self._place(path, node)

    def delete_node(self, path: str, base: NodeTable) -> bool:
        """Delete an array, or a group with everything below it. False if there is nothing at ``path``."""
        node = self.node(path, base)
        if node is None:
            return False
        if node.is_array:
            self._remove(node, base)
            return True
        for inner in list(self.nodes(path, base)):
            self._remove(inner, base)
        return True

    def clear(self, base: NodeTable) -> None:
        """Delete every node."""
        for node in list(self.nodes("/", base)):
            self._remove(node, base)

    # --- chunks ----------------------------------------------------------------

    def set_chunk(self, node_id: bytes, coords: Coords, ref: ChunkRef | None) -> None:
        """Record a chunk's new ref, or with None its deletion."""
        refs = self.chunks.get(node_id)
        if refs is None:
            self.chunks[node_id] = {coords: ref}
            return
        refs[coords] = ref
        if type(refs) is dict and len(refs) > MANY:
            self.chunks[node_id] = ColumnChanges(refs)

    def set_chunks(self, node_id: bytes, refs: Mapping[Coords, ChunkRef | None]) -> None:
        """Record many chunks' new refs at once."""
        mine = self.chunks.setdefault(node_id, {})
        if not isinstance(mine, ColumnChanges) and (
            isinstance(refs, ColumnChanges)
            or (isinstance(refs, RefMapping) and len(refs) >= MIN_COLUMN)
            # Many small mappings, such as those of the workers of one job, add up.
            or len(mine) + len(refs) >= MANY
        ):
            mine = self.chunks[node_id] = ColumnChanges(mine)
        mine.update(refs)

    def set_chunk_columns(self, node_id: bytes, refs: ChunkRefs) -> None:
        """Record many chunks' new refs at once, which stay columns."""
        mine = self.chunks.get(node_id)
        if not isinstance(mine, ColumnChanges):
            mine = self.chunks[node_id] = ColumnChanges(mine or {})
        mine.add(refs)

    def chunk(self, node_id: bytes, coords: Coords) -> ChunkRef | Literal[Missing.MISSING] | None:
        """The session's own ref, None if it deleted the chunk, `MISSING` if it did not touch it."""
        refs = self.chunks.get(node_id)
        if refs is None:
            return MISSING
        return refs.get(coords, MISSING)

    def chunk_changes(self, node_id: bytes) -> Mapping[Coords, ChunkRef | None]:
        """All chunk changes of one array; None stands for a deletion. Do not modify."""
        return self.chunks.get(node_id, _NO_CHUNKS)

    # --- whole -----------------------------------------------------------------

    def compact(self) -> None:
        """Need less memory. For writers, like what changes something."""
        for refs in self.chunks.values():
            if isinstance(refs, ColumnChanges):
                refs.compact()

    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.created or self.updated or self.deleted or self.moved or self.chunks)

    def discard(self) -> None:
        """Forget all changes."""
        for part in (self.created, self.updated, self.deleted, self.moved, self.chunks, self._overlay):
            part.clear()
        self._joined.clear()
        self._generation += 1

    def copy(self) -> ChangeSet:
        """An independent copy."""
        twin = ChangeSet()
        twin.created = dict(self.created)
        twin.updated = dict(self.updated)
        twin.deleted = dict(self.deleted)
        twin.moved = dict(self.moved)
        twin.chunks = {
            node_id: refs.copy() if isinstance(refs, ColumnChanges) else dict(refs)
            for node_id, refs in self.chunks.items()
        }
        twin._overlay = dict(self._overlay)
        twin._generation += 1
        return twin

    def move(self, source: str, target: str, base: NodeTable) -> None:
        """Move or rename a node with all below it. See `moves.move_node`."""
        from icechunk_core.transaction.moves import move_node

        move_node(self, base, source, target)

    def merge(
        self, other: ChangeSet, *, unify_created: bool = True, other_base: NodeTable | None = None
    ) -> None:
        """Add the changes of ``other``, which was made over the same base. See `merging.merge_into`."""
        from icechunk_core.transaction.merging import merge_into

        merge_into(self, other, unify_created=unify_created, other_base=other_base)

    def to_bytes(self) -> bytes:
        """All changes in a compact, versioned form (see `change_set_codec`)."""
        from icechunk_core.transaction.change_set_codec import encode_change_set

        return encode_change_set(self)

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str = "change set") -> ChangeSet:
        """Inverse of `to_bytes`; the bytes are not trusted.

        Raises
        ------
        Corrupt
            If these are not the bytes of a change set, or of one written by a newer version.
        """
        from icechunk_core.transaction.change_set_codec import decode_change_set

        return decode_change_set(data, name=name)

    # --- for merging, rebase, moves and the codec --------------------------------

    def _place(self, path: str, node: NodeSnapshot | None) -> None:
        """Make the session see ``node`` (without manifests) at ``path``, or with None nothing."""
        is_new = path not in self._overlay
        self._overlay[path] = node
        self._generation += is_new

    def _unplace(self, path: str) -> None:
        """Let the base's node show at ``path`` again."""
        if self._overlay.pop(path, MISSING) is not MISSING:
            self._generation += 1

    def _remove(self, node: NodeSnapshot, base: NodeTable) -> None:
        self.chunks.pop(node.id, None)
        self.updated.pop(node.id, None)
        if self.created.pop(node.id, None) is None:
            self.deleted[node.id] = DeletedNode(node.id, node.path, node.is_array)
        elif base.get(node.path) is None:
            self._unplace(node.path)
            return
        self._place(node.path, None)

    def _join(self, own: NodeSnapshot, base: NodeTable) -> NodeSnapshot:
        """An updated or moved array with the manifests that it has in the base."""
        known = self._joined.get(own.path)
        if known is not None and known[0] is own and known[1] is base:
            return known[2]
        move = self.moved.get(own.id)
        stored = base.get(own.path if move is None else move.source)
        joined = own
        if stored is not None and stored.id == own.id and stored.array and own.array:
            array = own.array
            joined = NodeSnapshot(
                own.id,
                own.path,
                own.user_data,
                ArrayData(array.shape, array.num_chunks, array.dimension_names, stored.array.manifests),
            )
        self._joined[own.path] = (own, base, joined)
        return joined

    def _paths(self) -> list[bytes]:
        generation, paths = self._sorted_paths
        if generation != self._generation:
            generation = self._generation
            paths = sorted(map(path_key, list(self._overlay)))
            self._sorted_paths = generation, paths
        return paths

    def _own_below(self, path: str) -> list[str]:
        paths = self._paths()
        low, high = (bisect_left(paths, bound) for bound in subtree_bounds(path))
        return [_text(key) for key in paths[low:high]]

    def _own_children(self, path: str) -> Iterator[str]:
        paths = self._paths()
        low, high = subtree_bounds(path)
        start = 1 if path == "/" else len(low)
        position, end = bisect_left(paths, low), bisect_left(paths, high)
        while position < end:
            key = paths[position]
            slash = key.find(b"/", start)
            if slash < 0:
                yield _text(key)
                position += 1
            else:
                # Everything below the same child is adjacent: jump over it.
                position = bisect_left(paths, key[:slash] + b"0", position + 1)

    def _merged(
        self, own: list[str], stored: Iterator[NodeSnapshot], base: NodeTable
    ) -> Iterator[NodeSnapshot]:
        if not own:
            return stored
        return self._merge(own, stored, base)

    def _merge(
        self, own: list[str], stored: Iterator[NodeSnapshot], base: NodeTable
    ) -> Iterator[NodeSnapshot]:
        # Judged by `own`, not by the overlay, which may change while the caller iterates.
        hidden = set(own)
        mine = ((path_key(path), path, None) for path in own)
        theirs = ((path_key(node.path), node.path, node) for node in stored if node.path not in hidden)
        for _, path, node in merge_sorted(mine, theirs, key=lambda entry: entry[0]):
            found = self.node(path, base) if node is None else node
            if found is not None:
                yield found


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogatepass")


def _array_data(meta: NodeMetadata) -> ArrayData | None:
    if not meta.is_array:
        return None
    return ArrayData(meta.shape, meta.num_chunks, meta.dimension_names, ())


def _other_type(path: str, meta: NodeMetadata) -> AlreadyExistsError:
    wanted, found = ("array", "group") if meta.is_array else ("group", "array")
    return AlreadyExistsError(
        f"cannot make an {wanted} at {path}: a {found} is there; delete it first"
        if meta.is_array
        else f"cannot make a {wanted} at {path}: an {found} is there; delete it first",
        kind=ErrorKind.NODE_ALREADY_EXISTS,
    )
