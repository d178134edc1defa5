"""Values to snapshot payloads (FORMAT.md, 6.3)."""

from __future__ import annotations

import struct as _struct
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from icechunk_core.errors import ErrorKind, FormatError
from icechunk_core.format import flexbuffers, messagepack
from icechunk_core.format._flat_builder import (
    Field,
    Prebuilt,
    Shared,
    Table,
    Vector,
    build_front,
    struct,
    u8,
    u32,
    u64,
)
from icechunk_core.format._flat_columns import (
    BYTES,
    MIN_COPIED,
    STRING,
    InlineField,
    Shape,
    SubTables,
    UnionField,
    VectorField,
    join_tables,
)
from icechunk_core.format._flat_reader import FlatBuffer
from icechunk_core.format._snapshot_decode import NodeBuffer
from icechunk_core.format.manifest_files import ManifestFileInfo
from icechunk_core.format.node_table import ArrayData, ManifestRef, NodeSnapshot, NodeTable

__all__ = ["encode_payload", "metadata_tables"]

_ARRAY_CODE: Final = u8(1)
_GROUP_CODE: Final = u8(2)
_NO_ITEMS: Final = Vector(b"", 0, 8)
# Many nodes have the same shape and dimension names, which are then written once. Not for large ones:
# readers limit the sum of what they visit to a multiple of the file.
_GROUP_DATA: Final = Shared("group", Table)
_NO_SHAPE: Final = Shared("no shape", lambda: _NO_ITEMS)
_MAX_SHARED_DIMENSIONS: Final = 8
_MAX_SHARED_TEXT: Final = 256
_PACK_DIMENSION: Final = _struct.Struct("<QQ").pack
_FILE_RECORD: Final = np.dtype(
    {
        "names": ["vtable", "num_chunk_refs", "size_bytes", "id"],
        "formats": ["<i4", "<u4", "<u8", "V12"],
        "offsets": [0, 4, 8, 16],
        "itemsize": 32,
    }
)
_FILE_VTABLE: Final = _struct.pack("<5H", 10, 28, 16, 8, 4)
_PACK_FILE_INFO: Final = _struct.Struct("<12s4xQI4x").pack

_REFS_SHAPE: Final[Shape] = {0: InlineField(12), 1: VectorField(8)}
_NAMES_SHAPE: Final[Shape] = {0: STRING}
_DIMENSIONS_SHAPE: Final[Shape] = {0: InlineField(8), 1: InlineField(4)}


def _node_shape(array: Shape) -> Shape:
    union = UnionField(3, {1: array, 2: {}})
    return {0: InlineField(8), 1: STRING, 2: BYTES, 3: InlineField(1), 4: union}


_FIRST_ARRAY: Final[Shape] = {0: VectorField(16), 1: SubTables(_NAMES_SHAPE), 2: SubTables(_REFS_SHAPE)}
NODE_SHAPES: Final = {
    1: _node_shape(_FIRST_ARRAY),
    2: _node_shape({**_FIRST_ARRAY, 3: SubTables(_DIMENSIONS_SHAPE)}),
}


def encode_payload(
    *,
    id: bytes,
    parent_id: bytes | None,
    flushed_at: int,
    message: str,
    metadata: Mapping[str, Any],
    manifest_files: Sequence[ManifestFileInfo],
    nodes: NodeTable,
    spec_version: int,
) -> bytearray:
    """The FlatBuffers buffer of a snapshot; the arguments are the fields of `Snapshot`.

    Raises
    ------
    FormatError
        It would exceed 2 GiB, or a number or metadata value cannot be written.
    """
    first_spec = spec_version == 1
    try:
        root = Table(
            struct(id),
            struct(parent_id) if first_spec and parent_id is not None else None,
            _node_vector(nodes, spec_version),
            u64(flushed_at),
            message,
            metadata_tables(metadata, messagepack if first_spec else flexbuffers),
            _file_infos(manifest_files) if first_spec else _NO_ITEMS,
            None if first_spec else _file_tables(manifest_files),
        )
        return build_front(root)
    except (_struct.error, OverflowError) as error:
        raise FormatError(f"a number is out of range: {error}", kind=ErrorKind.SERIALIZATION) from error


def metadata_tables(metadata: Mapping[str, Any], codec: Any = flexbuffers) -> list[Table]:
    """Tables ``MetadataItem``; `codec` is the module `flexbuffers` or `messagepack`."""
    return [Table(name, codec.encode(metadata[name])) for name in sorted(metadata)]


def _file_infos(infos: Sequence[ManifestFileInfo]) -> Vector:
    packed = b"".join([_PACK_FILE_INFO(info.id, info.size_bytes, info.num_chunk_refs) for info in infos])
    return Vector(packed, len(infos), 8)


def _file_tables(infos: Sequence[ManifestFileInfo]) -> Field:
    """The vector of ``ManifestFileInfoV2`` tables, made as one column of records."""
    count = len(infos)
    if not count:
        return []
    vtable_at = 4 + 4 * count
    records_at = vtable_at + len(_FILE_VTABLE) + -(vtable_at + len(_FILE_VTABLE)) % 8
    places = np.arange(records_at, records_at + count * _FILE_RECORD.itemsize, _FILE_RECORD.itemsize)
    records = np.zeros(count, dtype=_FILE_RECORD)
    records["vtable"] = places - vtable_at
    records["num_chunk_refs"] = np.array([info.num_chunk_refs for info in infos], dtype=np.uint32)
    records["size_bytes"] = np.array([info.size_bytes for info in infos], dtype=np.uint64)
    records["id"] = np.frombuffer(b"".join([info.id for info in infos]), dtype="V12")
    offsets = (places - np.arange(4, 4 + 4 * count, 4)).astype("<u4")
    front = _struct.pack("<I", count) + offsets.tobytes() + _FILE_VTABLE
    return Prebuilt(front.ljust(records_at, b"\0") + records.tobytes(), 0)


def _node_vector(nodes: NodeTable, spec_version: int) -> Field:
    """The vector of nodes: those that are encoded already are copied in one piece, the others written anew.

    The table is told where its nodes are now, so that the next snapshot can copy them all.
    """
    if len(nodes) < MIN_COPIED:
        return [_node_table(node, spec_version) for node in nodes]
    buffer, positions = _copyable(nodes, spec_version)
    block: bytes | memoryview = b""
    used = None
    inside = np.full(len(nodes), -1, dtype=np.int64)
    if buffer is not None:
        extent = buffer.extent
        assert extent is not None
        kept = positions >= 0
        inside[kept] = positions[kept] - extent.aligned_start
        block = memoryview(buffer.data)[extent.aligned_start : extent.stop]
        used = extent.used
    fresh = [_node_table(nodes.node_at(row), spec_version) for row in np.flatnonzero(inside < 0).tolist()]
    joined = join_tables(block, inside, fresh, used)
    vector = joined.vector()
    written = FlatBuffer(vector.data, name="snapshot")
    nodes.keep_encoded(NodeBuffer(written, spec_version, joined.extent), joined.positions.tolist())
    return vector


def _copyable(nodes: NodeTable, spec_version: int) -> tuple[NodeBuffer | None, npt.NDArray[np.int64]]:
    """The buffer that nodes can be copied from, if it is worth it, and where they are."""
    none = np.array([], dtype=np.int64)
    if nodes.encoded is None:
        return None, none
    buffer, places = nodes.encoded
    if not isinstance(buffer, NodeBuffer) or buffer.spec_version != spec_version:
        return None, none
    positions = np.array(places, dtype=np.int64)
    kept = int((positions >= 0).sum())
    if kept < MIN_COPIED:
        return None, none
    extent = buffer.extent
    if extent is None or not extent.is_up_to_date():
        extent = buffer.tables(positions[positions >= 0].tolist()).extent(NODE_SHAPES[spec_version])
    if not extent.worth_copying():
        return None, none
    return NodeBuffer(FlatBuffer(buffer.data, name=buffer.name), spec_version, extent), positions


def _node_table(node: NodeSnapshot, spec_version: int) -> Table:
    array = node.array
    if array is None:
        return Table(struct(node.id), node.path, node.user_data, _GROUP_CODE, _GROUP_DATA)
    shape_v1, shape_v2 = _shape_v1(array) if spec_version == 1 else _shape_v2(array)
    manifests = [_manifest_ref(ref) for ref in array.manifests]
    data = Table(shape_v1, _names(array.dimension_names), manifests, shape_v2)
    return Table(struct(node.id), node.path, node.user_data, _ARRAY_CODE, data)


def _manifest_ref(ref: ManifestRef) -> Table:
    bounds = [bound for pair in ref.extents for bound in pair]
    return Table(struct(ref.id), Vector(_struct.pack(f"<{len(bounds)}I", *bounds), len(ref.extents)))


def _names(names: tuple[str | None, ...] | None) -> Field:
    """Unnamed dimensions, and those with an empty name, have a table without name."""
    if names is None:
        return None
    make = partial(_name_tables, names)
    if len(names) > _MAX_SHARED_DIMENSIONS or sum(map(len, filter(None, names))) > _MAX_SHARED_TEXT:
        return make()
    return Shared(("names", names), make)


def _name_tables(names: tuple[str | None, ...]) -> list[Table]:
    return [Table(name or None) for name in names]


def _shape_v1(array: ArrayData) -> tuple[Field, Field]:
    """Lengths and chunk lengths; the latter computed backwards, as the true ones are not known here."""
    packed = [
        _PACK_DIMENSION(length, -(-length // count) if count else 0)
        for length, count in zip(array.shape, array.num_chunks, strict=True)
    ]
    return Vector(b"".join(packed), len(packed), 8), None


def _shape_v2(array: ArrayData) -> tuple[Field, Field]:
    make = partial(_dimension_tables, array)
    if len(array.shape) > _MAX_SHARED_DIMENSIONS:
        return _NO_SHAPE, make()
    return _NO_SHAPE, Shared(("shape", array.shape, array.num_chunks), make)


def _dimension_tables(array: ArrayData) -> list[Table]:
    dimensions = zip(array.shape, array.num_chunks, strict=True)
    return [Table(u64(length), u32(count)) for length, count in dimensions]
