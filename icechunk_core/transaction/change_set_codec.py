"""Change sets as bytes: one msgpack map, chunk refs in columns.

The bytes travel between processes (pickled sessions, forks, distributed writers), never
to storage. They are not trusted on the way back: whatever does not have exactly the
shape written here is `Corrupt`.

Layout of the map: ``magic``, ``version``; ``created`` and ``updated`` as lists of
``[node id, path, zarr.json, null | [shape, num_chunks, dimension_names]]``; ``deleted`` as lists of
``[node id, path, is_array]``; ``moved`` like ``created`` with the path in the base in front; ``chunks``
as a list of columns, one entry per array (see `_encode_chunks`).
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from itertools import chain
from typing import Any

import msgpack
import numpy as np

from icechunk_core.errors import Corrupt
from icechunk_core.format.manifest import ChunkRef, InlineRef, NativeRef, VirtualRef
from icechunk_core.format.ref_columns_codec import decode_columns, encode_columns
from icechunk_core.format.snapshot import ArrayData, NodeSnapshot
from icechunk_core.format.transaction_log import Move
from icechunk_core.transaction.change_set import ChangeSet, Coords, DeletedNode
from icechunk_core.transaction.column_changes import ColumnChanges, in_columns
from icechunk_core.transaction.paths import is_valid_path

__all__ = ["decode_change_set", "encode_change_set"]

MAGIC = "icechunk-core change set"
VERSION = 2

_INLINE, _NATIVE, _VIRTUAL, _DELETED = range(4)
_U32 = np.dtype("<u4")
_U64 = np.dtype("<u8")


# --- writing -----------------------------------------------------------------------


def encode_change_set(changes: ChangeSet) -> bytes:
    """The bytes of a change set, the same for equal change sets built in the same order."""
    tree = {
        "magic": MAGIC,
        "version": VERSION,
        "created": [_encode_node(changes, path) for path in changes.created.values()],
        "updated": [_encode_node(changes, path) for path in changes.updated.values()],
        "deleted": [[node.id, node.path, node.is_array] for node in changes.deleted.values()],
        "moved": [[m.source, *_encode_node(changes, m.target)] for m in changes.moved.values()],
        "chunks": [_encode_chunks(node_id, refs) for node_id, refs in changes.chunks.items()],
    }
    packed: bytes = msgpack.packb(tree, use_bin_type=True, unicode_errors="surrogatepass")
    return packed


def _encode_node(changes: ChangeSet, path: str) -> list[Any]:
    node = changes.own_node(path)
    assert node is not None
    array = node.array
    shape = array and [array.shape, array.num_chunks, array.dimension_names]
    return [node.id, node.path, node.user_data, shape]


def _encode_chunks(node_id: bytes, refs: Mapping[Coords, ChunkRef | None]) -> list[Any]:
    """``[node id, columns, ndim, count, coords, kinds, offsets, lengths, ids, inline bytes, targets]``.

    The columns are those of `encode_columns`, or nil; what follows are the changes on top of them.
    Offsets are of native and virtual refs, lengths of all but deletions, in the order of the coordinates.
    """
    columns, refs = in_columns(refs)
    kinds = bytearray()
    offsets: list[int] = []
    lengths: list[int] = []
    ids: list[bytes] = []
    inline: list[bytes] = []
    virtual: list[list[Any]] = []
    for ref in refs.values():
        if ref is None:
            kinds.append(_DELETED)
        elif isinstance(ref, InlineRef):
            kinds.append(_INLINE)
            lengths.append(len(ref.data))
            inline.append(bytes(ref.data))
        elif isinstance(ref, NativeRef):
            kinds.append(_NATIVE)
            offsets.append(ref.offset)
            lengths.append(ref.length)
            ids.append(ref.chunk_id)
        else:
            kinds.append(_VIRTUAL)
            offsets.append(ref.offset)
            lengths.append(ref.length)
            virtual.append([ref.location, ref.etag, ref.last_modified])
    ndim = len(next(iter(refs), ()))
    coords = np.fromiter(chain.from_iterable(refs), dtype=_U32, count=ndim * len(refs))
    return [
        node_id, None if columns is None else encode_columns(columns),
        ndim, len(refs), coords.tobytes(), bytes(kinds),
        np.array(offsets, dtype=_U64).tobytes(), np.array(lengths, dtype=_U64).tobytes(),
        b"".join(ids), b"".join(inline), virtual,
    ]  # fmt: skip


# --- reading -----------------------------------------------------------------------


def decode_change_set(data: bytes, *, name: str = "change set") -> ChangeSet:
    """The change set in ``data``.

    Raises
    ------
    Corrupt
        If the bytes are not those of a change set, or of one written by a newer version.
    """
    try:
        tree = msgpack.unpackb(bytes(data), raw=False, unicode_errors="surrogatepass", use_list=True)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise Corrupt(f"not a change set: {error}", object_name=name) from None
    if not isinstance(tree, dict) or tree.get("magic") != MAGIC:
        raise Corrupt("not a change set", object_name=name)
    if tree.get("version") != VERSION:
        raise Corrupt(
            f"version {tree.get('version')!r} of a change set, this release reads {VERSION}; "
            "use the same version of icechunk-core everywhere",
            object_name=name,
        )
    try:
        return _decode(tree)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise Corrupt(f"malformed change set: {error}", object_name=name) from None


def _require(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _decode(tree: dict[str, Any]) -> ChangeSet:
    changes = ChangeSet()
    for part in ("created", "updated", "deleted", "moved", "chunks"):
        _require(isinstance(tree[part], list), f"{part} is not a list")
    for node_id, path, is_array in tree["deleted"]:
        _check_id_path(node_id, path)
        _require(isinstance(is_array, bool), "node type")
        _require(node_id not in changes.deleted, "node deleted twice")
        changes.deleted[node_id] = DeletedNode(node_id, path, is_array)
        changes._place(path, None)
    moved = [(source, _decode_node(*entry)) for source, *entry in tree["moved"]]
    for source, node in moved:
        _check_id_path(node.id, source)
        changes._place(source, None)
    for source, node in moved:
        _place_new(changes, node)
        changes.moved[node.id] = Move(
            source=source, target=node.path, node_id=node.id, is_array=node.is_array
        )
    for part, target in (("created", changes.created), ("updated", changes.updated)):
        for entry in tree[part]:
            node = _decode_node(*entry)
            _place_new(changes, node)
            target[node.id] = node.path
    for entry in tree["chunks"]:
        node_id, refs = _decode_chunks(*entry)
        _require(node_id not in changes.chunks, "array listed twice")
        _require(node_id not in changes.deleted, "chunks of a deleted array")
        changes.chunks[node_id] = refs
    return changes


def _place_new(changes: ChangeSet, node: NodeSnapshot) -> None:
    known = (changes.created, changes.updated, changes.deleted, changes.moved)
    _require(not any(node.id in part for part in known), "node listed twice")
    _require(changes.own_node(node.path) is None, "two nodes at one path")
    changes._place(node.path, node)


def _check_id_path(node_id: object, path: object) -> None:
    _require(isinstance(node_id, bytes) and len(node_id) == 8, "node id")
    _require(isinstance(path, str) and is_valid_path(path), f"node path {path!r}")


def _is_count(value: object, limit: int) -> bool:
    return type(value) is int and 0 <= value < limit


def _decode_node(node_id: Any, path: Any, user_data: Any, shape: Any) -> NodeSnapshot:
    _check_id_path(node_id, path)
    _require(isinstance(user_data, bytes), "zarr.json")
    if shape is None:
        return NodeSnapshot(node_id, path, user_data, None)
    lengths, counts, names = shape
    _require(len(lengths) == len(counts), "dimensions")
    _require(all(_is_count(value, 2**64) for value in lengths), "array shape")
    _require(all(_is_count(value, 2**32) for value in counts), "number of chunks")
    if names is not None:
        _require(len(names) == len(lengths), "dimension names")
        _require(all(value is None or isinstance(value, str) for value in names), "dimension name")
        names = tuple(names)
    return NodeSnapshot(node_id, path, user_data, ArrayData(tuple(lengths), tuple(counts), names, ()))


def _decode_chunks(
    node_id: Any, columns: Any, ndim: Any, count: Any, coords: Any, kinds: Any, offsets: Any, lengths: Any,
    ids: Any, inline: Any, virtual: Any,
) -> tuple[bytes, MutableMapping[Coords, ChunkRef | None]]:  # fmt: skip
    _require(isinstance(node_id, bytes) and len(node_id) == 8, "node id")
    _require(_is_count(ndim, 2**16) and _is_count(count, 2**40), "number of chunks")
    texts = (coords, kinds, offsets, lengths, ids, inline)
    _require(all(isinstance(text, bytes) for text in texts), "chunk columns")
    _require(len(kinds) == count and len(coords) == 4 * ndim * count, "chunk columns")
    sizes = [kinds.count(kind) for kind in (_INLINE, _NATIVE, _VIRTUAL, _DELETED)]
    _require(sum(sizes) == count, "kind of a chunk ref")
    _require(len(offsets) == 8 * (sizes[_NATIVE] + sizes[_VIRTUAL]), "offsets")
    _require(len(lengths) == 8 * (count - sizes[_DELETED]), "lengths")
    _require(len(ids) == 12 * sizes[_NATIVE] and len(virtual) == sizes[_VIRTUAL], "chunk columns")
    table = np.frombuffer(coords, dtype=_U32).reshape(count, ndim)
    refs = _decode_refs(kinds, offsets, lengths, ids, inline, virtual)
    keys = map(tuple, table.tolist())
    found: dict[Coords, ChunkRef | None] = dict(zip(keys, refs, strict=True))
    _require(len(found) == count, "a chunk is listed twice")
    if columns is None:
        return node_id, found
    together = decode_columns(*columns)
    _require(not count or ndim == together.ndim, "dimensions")
    changes = ColumnChanges({})
    changes.add(together)
    changes.update(found)
    return node_id, changes


def _decode_refs(
    kinds: bytes, offsets: bytes, lengths: bytes, ids: bytes, inline: bytes, virtual: list[Any]
) -> list[ChunkRef | None]:
    next_offset = iter(np.frombuffer(offsets, dtype=_U64).tolist())
    next_length = iter(np.frombuffer(lengths, dtype=_U64).tolist())
    next_virtual = iter(virtual)
    id_at = inline_at = 0
    refs: list[ChunkRef | None] = []
    if kinds.count(_NATIVE) == len(kinds):
        # By far the most common case, and the one with many refs.
        chunk_ids = (ids[at : at + 12] for at in range(0, len(ids), 12))
        refs.extend(map(NativeRef, chunk_ids, next_offset, next_length))
        _require(not inline, "inline chunk data")
        return refs
    for kind in kinds:
        if kind == _NATIVE:
            refs.append(NativeRef(ids[id_at : id_at + 12], next(next_offset), next(next_length)))
            id_at += 12
        elif kind == _INLINE:
            end = inline_at + next(next_length)
            _require(end <= len(inline), "inline chunk data")
            refs.append(InlineRef(inline[inline_at:end]))
            inline_at = end
        elif kind == _VIRTUAL:
            location, etag, modified = next(next_virtual)
            _require(isinstance(location, str), "virtual location")
            _require(etag is None or isinstance(etag, str), "checksum")
            _require(modified is None or _is_count(modified, 2**32), "checksum")
            refs.append(VirtualRef(location, next(next_offset), next(next_length), etag, modified))
        else:
            refs.append(None)
    _require(inline_at == len(inline), "inline chunk data")
    return refs
