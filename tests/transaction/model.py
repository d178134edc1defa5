"""Values for the tests of this directory: ids, zarr.json texts, a naive model of a change set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from icechunk_core.format.manifest import ChunkRef, ChunkRefs, InlineRef
from icechunk_core.format.snapshot import ArrayData, ManifestRef, NodeSnapshot, NodeTable
from icechunk_core.format.zarr_metadata import NodeMetadata
from icechunk_core.ids import SeededIds
from icechunk_core.transaction.change_set import ChangeSet


def node_id(number: int) -> bytes:
    """A recognisable node id."""
    return number.to_bytes(8, "big")


def object_id(number: int) -> bytes:
    """A recognisable snapshot, manifest or chunk id."""
    return number.to_bytes(12, "big")


def group_json(**attributes: Any) -> bytes:
    """The zarr.json of a group."""
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}).encode()


def array_json(shape: tuple[int, ...] = (4,), **attributes: Any) -> bytes:
    """The zarr.json of an array with one chunk per element."""
    return json.dumps(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": shape,
            "data_type": "int8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1] * len(shape)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [{"name": "bytes"}],
            "attributes": attributes,
        }
    ).encode()


def meta_of(data: bytes) -> NodeMetadata:
    """What the format layer makes of texts of the two functions above."""
    parsed = json.loads(data)
    if parsed["node_type"] == "group":
        return NodeMetadata(is_array=False, shape=(), num_chunks=(), dimension_names=None)
    shape = tuple(parsed["shape"])
    return NodeMetadata(is_array=True, shape=shape, num_chunks=shape, dimension_names=None)


def group(number: int, path: str, **attributes: Any) -> NodeSnapshot:
    """A stored group."""
    return NodeSnapshot(node_id(number), path, group_json(**attributes), None)


def array(
    number: int,
    path: str,
    shape: tuple[int, ...] = (4,),
    manifests: tuple[ManifestRef, ...] = (),
    names: tuple[str | None, ...] | None = None,
) -> NodeSnapshot:
    """A stored array with one chunk per element."""
    return NodeSnapshot(node_id(number), path, array_json(shape), ArrayData(shape, shape, names, manifests))


def put(changes: ChangeSet, base: NodeTable, path: str, data: bytes, ids: SeededIds | None = None) -> bytes:
    """Write a node's zarr.json; returns the node's id."""
    changes.put_metadata(path, data, meta_of(data), base, (ids or _IDS).node_id)
    node = changes.node(path, base)
    assert node is not None
    return node.id


_IDS = SeededIds(7)


def seen(changes: ChangeSet, base: NodeTable) -> dict[str, bytes]:
    """All nodes as the session sees them: path to zarr.json, in the order of the listing."""
    return {node.path: node.user_data for node in changes.nodes("/", base)}


def inline(text: str) -> InlineRef:
    """A small chunk."""
    return InlineRef(text.encode())


def by_coord(refs: ChunkRefs) -> dict[tuple[int, ...], ChunkRef]:
    """Refs as a plain dict."""
    return dict(refs.items())


def applied(
    old: Mapping[tuple[int, ...], ChunkRef], changes: Mapping[tuple[int, ...], ChunkRef | None]
) -> dict[tuple[int, ...], ChunkRef]:
    """The obvious way to apply chunk changes."""
    merged: dict[tuple[int, ...], ChunkRef | None] = {**old, **changes}
    return {coord: ref for coord, ref in merged.items() if ref is not None}


def below(paths: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """The paths of the subtree at ``prefix``."""
    for path in paths:
        if prefix in (path, "/") or path.startswith(prefix + "/"):
            yield path
