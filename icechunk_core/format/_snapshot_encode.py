"""Values to snapshot payloads (FORMAT.md, 6.3)."""

from __future__ import annotations

import struct as _struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from icechunk_core.errors import ErrorKind, FormatError
from icechunk_core.format import flexbuffers, messagepack
from icechunk_core.format._flat_builder import Table, Vector, build, struct, u8, u32, u64
from icechunk_core.format.manifest_files import ManifestFileInfo
from icechunk_core.format.node_table import ArrayData, ManifestRef, NodeSnapshot, NodeTable

__all__ = ["encode_payload", "metadata_tables"]

_ARRAY: Final = 1
_GROUP: Final = 2
_NO_ITEMS: Final = Vector(b"", 0, 8)
_PACK_DIMENSION: Final = _struct.Struct("<QQ").pack
_PACK_FILE_INFO: Final = _struct.Struct("<12s4xQI4x").pack


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
) -> bytes:
    """The FlatBuffers buffer of a snapshot; the arguments are the fields of `Snapshot`.

    Raises
    ------
    FormatError
        It would exceed 2 GiB, or a number or metadata value cannot be written.
    """
    first_spec = spec_version == 1
    shape = _shape_v1 if first_spec else _shape_v2
    try:
        root = Table(
            struct(id),
            struct(parent_id) if first_spec and parent_id is not None else None,
            [_node_table(node, shape(node.array)) for node in nodes],
            u64(flushed_at),
            message,
            metadata_tables(metadata, messagepack if first_spec else flexbuffers),
            _file_infos(manifest_files) if first_spec else _NO_ITEMS,
            None if first_spec else [_file_table(info) for info in manifest_files],
        )
        return build(root)
    except _struct.error as error:
        raise FormatError(f"a number is out of range: {error}", kind=ErrorKind.SERIALIZATION) from error


def metadata_tables(metadata: Mapping[str, Any], codec: Any = flexbuffers) -> list[Table]:
    """Tables ``MetadataItem``; `codec` is the module `flexbuffers` or `messagepack`."""
    return [Table(name, codec.encode(metadata[name])) for name in sorted(metadata)]


def _file_infos(infos: Sequence[ManifestFileInfo]) -> Vector:
    packed = b"".join([_PACK_FILE_INFO(info.id, info.size_bytes, info.num_chunk_refs) for info in infos])
    return Vector(packed, len(infos), 8)


def _file_table(info: ManifestFileInfo) -> Table:
    return Table(struct(info.id), u64(info.size_bytes), u32(info.num_chunk_refs))


def _node_table(node: NodeSnapshot, shape: tuple[Vector, list[Table] | None]) -> Table:
    if node.array is None:
        code, data = _GROUP, Table()
    else:
        names = node.array.dimension_names
        data = Table(
            shape[0],
            None if names is None else [Table(name or None) for name in names],
            [_manifest_ref(ref) for ref in node.array.manifests],
            shape[1],
        )
        code = _ARRAY
    return Table(struct(node.id), node.path, node.user_data, u8(code), data)


def _manifest_ref(ref: ManifestRef) -> Table:
    bounds = [bound for pair in ref.extents for bound in pair]
    return Table(struct(ref.id), Vector(_struct.pack(f"<{len(bounds)}I", *bounds), len(ref.extents)))


def _shape_v1(array: ArrayData | None) -> tuple[Vector, list[Table] | None]:
    """Lengths and chunk lengths; the latter computed backwards, as the true ones are not known here."""
    if array is None:
        return _NO_ITEMS, None
    packed = [
        _PACK_DIMENSION(length, -(-length // count) if count else 0)
        for length, count in zip(array.shape, array.num_chunks, strict=True)
    ]
    return Vector(b"".join(packed), len(packed), 8), None


def _shape_v2(array: ArrayData | None) -> tuple[Vector, list[Table] | None]:
    if array is None:
        return _NO_ITEMS, None
    dimensions = zip(array.shape, array.num_chunks, strict=True)
    return _NO_ITEMS, [Table(u64(length), u32(count)) for length, count in dimensions]
