"""Snapshot payloads to values (FORMAT.md, 6.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from icechunk_core.format import flexbuffers, messagepack
from icechunk_core.format._flat_columns import Extent, TableVector
from icechunk_core.format._flat_gather import TableColumns
from icechunk_core.format._flat_reader import FlatBuffer, FlatTable
from icechunk_core.format.manifest_files import ManifestFiles
from icechunk_core.format.node_table import ArrayData, ManifestRef, NodeSnapshot, NodeTable

__all__ = ["NodeBuffer", "decode_payload", "read_metadata"]

_ARRAY: Final = 1
_GROUP: Final = 2
_RANGE: Final = np.dtype([("from", "<u4"), ("to", "<u4")])
_DIMENSION: Final = np.dtype([("array_length", "<u8"), ("chunk_length", "<u8")])
_FILE_INFO: Final = np.dtype(
    {
        "names": ["id", "size_bytes", "num_chunk_refs"],
        "formats": ["V12", "<u8", "<u4"],
        "offsets": [0, 16, 24],
        "itemsize": 32,
    }
)
_NODE_DEPTH: Final = 2
_KIND_SLOT: Final = 3
_DATA_SLOT: Final = 4


def decode_payload(
    payload: bytes, *, spec_version: int, name: str
) -> tuple[bytes, bytes | None, int, str, dict[str, Any], ManifestFiles, NodeTable]:
    """The fields of `Snapshot`, in order.

    Raises
    ------
    Corrupt
        The payload is malformed.
    """
    root = FlatBuffer(payload, name=name).root()
    return (
        root.struct(0, 12),
        root.optional_struct(1, 12) if spec_version == 1 else None,
        root.timestamp(3),
        root.string(4),
        read_metadata(root.tables(5), messagepack if spec_version == 1 else flexbuffers),
        _read_manifest_files(root),
        _read_nodes(root, spec_version),
    )


def read_metadata(items: list[FlatTable], codec: Any = flexbuffers) -> dict[str, Any]:
    """Tables ``MetadataItem`` as a dict; `codec` is the module `flexbuffers` or `messagepack`."""
    return {item.string(0): codec.decode(item.byte_vector(1), name=item.buffer.name) for item in items}


def _read_manifest_files(root: FlatTable) -> ManifestFiles:
    """The list of spec 2 where present, else that of spec 1."""
    if not root.has(7):
        records = root.array(6, _FILE_INFO)
        ids = np.frombuffer(records["id"].tobytes(), "S12")
        return ManifestFiles.from_columns(ids, records["size_bytes"], records["num_chunk_refs"])
    tables = TableColumns(root.buffer, root.table_positions(7))
    ids = np.frombuffer(tables.structs(tables.require(0, 12), 12).tobytes(), "S12")
    return ManifestFiles.from_columns(ids, tables.numbers_or_zero(1, "<u8"), tables.numbers_or_zero(2, "<u4"))


class NodeBuffer:
    """A buffer with encoded nodes of one spec version.

    Attributes
    ----------
    data, name
        The bytes, and what errors call them.
    spec_version
        What the nodes were written for: they differ.
    extent
        The stretch of the buffer with the nodes, if it is known.
    """

    __slots__ = ("_buffer", "extent", "spec_version")

    def __init__(self, buffer: FlatBuffer, spec_version: int, extent: Extent | None = None) -> None:
        self._buffer = buffer
        self.spec_version = spec_version
        self.extent = extent

    @property
    def data(self) -> bytes:
        return bytes(self._buffer.data)  # the same object: a file that was read

    @property
    def name(self) -> str:
        return self._buffer.name

    def decode(self, position: int) -> NodeSnapshot:
        """The node at a position; raises `Corrupt`."""
        return _read_node(self._buffer.table_at(position, _NODE_DEPTH))

    def tables(self, positions: Sequence[int]) -> TableVector:
        """The tables of the nodes at some positions."""
        return TableVector(self.data, np.array(positions, dtype=np.int64), self.name)

    def manifest_ids(self, positions: Sequence[int]) -> set[bytes]:
        """The manifests that the nodes at some positions refer to; raises `Corrupt`."""
        nodes = self.tables(positions)
        arrays = nodes.positions[nodes.scalars(_KIND_SLOT, "<u1") == _ARRAY]
        if not len(arrays):
            return set()
        refs, _ = TableVector(self.data, arrays, self.name).tables(_DATA_SLOT).subtables(2)
        packed = refs.structs(0, 12).tobytes()
        return {packed[at : at + 12] for at in range(0, len(packed), 12)}


def _read_nodes(root: FlatTable, spec_version: int) -> NodeTable:
    """Paths and ids of all nodes; the rest of a node is decoded when it is asked for."""
    buffer = root.buffer
    positions = root.table_positions(2)
    tables = TableColumns(buffer, positions)
    ids = tables.structs(tables.require(0, 8), 8).tobytes()
    starts, counts = tables.vectors(tables.require(1, 4), 1)
    data = bytes(buffer.data)
    paths = [data[start : start + size] for start, size in zip(starts.tolist(), counts.tolist(), strict=True)]
    try:
        b"\n".join(paths).decode()
    except UnicodeDecodeError:
        buffer.fail("a node path is not UTF-8")
    at = positions.tolist()
    node_ids = [ids[start : start + 8] for start in range(0, len(ids), 8)]
    if not all(map(bytes.__lt__, paths, paths[1:])):
        # Old writers of spec 1 sorted the paths segment by segment.
        rows = sorted(range(len(paths)), key=paths.__getitem__)
        paths, node_ids, at = ([column[row] for row in rows] for column in (paths, node_ids, at))
        if not all(map(bytes.__lt__, paths, paths[1:])):
            buffer.fail("two nodes with one path")
    return NodeTable(paths, node_ids, [None] * len(at), (NodeBuffer(buffer, spec_version), at))


def _read_node(table: FlatTable) -> NodeSnapshot:
    code = table.u8(_KIND_SLOT)
    data = table.table(_DATA_SLOT)
    if code == _ARRAY:
        array = _read_array(data)
    elif code == _GROUP:
        array = None
    else:
        table.buffer.fail(f"unknown kind of node {code}")
    return NodeSnapshot(table.struct(0, 8), table.string(1), table.byte_vector(2), array)


def _read_array(table: FlatTable) -> ArrayData:
    names = table.optional_tables(1)
    manifests = [
        ManifestRef(ref.struct(0, 12), tuple(ref.array(1, _RANGE).tolist())) for ref in table.tables(2)
    ]
    dimensions = table.optional_tables(3)
    if dimensions is None:
        shape, num_chunks = _read_shape_v1(table)
    else:
        shape = tuple([dimension.u64(0) for dimension in dimensions])
        num_chunks = tuple([dimension.u32(1) for dimension in dimensions])
    return ArrayData(
        shape,
        num_chunks,
        None if names is None else tuple([name.optional_string(0) for name in names]),
        tuple(manifests),
    )


def _read_shape_v1(table: FlatTable) -> tuple[tuple[int, ...], tuple[int, ...]]:
    dimensions = table.array(0, _DIMENSION).tolist()
    if any(length and not chunk for length, chunk in dimensions):
        table.buffer.fail("a dimension with elements but chunks of length 0")
    num_chunks = tuple([-(-length // chunk) if chunk else 0 for length, chunk in dimensions])
    return tuple([length for length, _ in dimensions]), num_chunks
