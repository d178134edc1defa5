"""Snapshots, manifests and transaction logs of genuine repositories decode to what their writers report."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from icechunk_core.errors import Corrupt
from icechunk_core.format.base32 import decode, encode
from icechunk_core.format.layout import manifest_key, snapshot_key, transaction_key
from icechunk_core.format.manifest import (
    ChunkRef,
    InlineRef,
    LocationCompression,
    Manifest,
    NativeRef,
    VirtualRef,
    decode_manifest,
    encode_manifest,
)
from icechunk_core.format.snapshot import NodeSnapshot, Snapshot, decode_snapshot, encode_snapshot
from icechunk_core.format.transaction_log import (
    TransactionLog,
    decode_transaction_log,
    encode_transaction_log,
)
from tests.vectors_support import VECTOR_NAMES, Vector, load_vector

CONTAINER = "vcc://ext/"


@pytest.fixture(params=VECTOR_NAMES)
def vector(request: pytest.FixtureRequest) -> Vector:
    return load_vector(request.param)


def snapshots(vector: Vector) -> dict[str, Snapshot]:
    """All snapshots that the vector describes, by text id."""
    names = vector.expected["snapshots"]
    return {name: decode_snapshot(vector.read(f"snapshots/{name}"), name=name) for name in names}


def manifest_of(vector: Vector, manifest_id: bytes) -> Manifest:
    key = manifest_key(manifest_id)
    return decode_manifest(vector.read(key), name=key)


def described_node(node: NodeSnapshot, vector: Vector) -> dict[str, Any]:
    """A node in the words of ``expected.json``."""
    described: dict[str, Any] = {
        "path": node.path,
        "id": encode(node.id),
        "type": "array" if node.is_array else "group",
        "zarr_json": node.user_data.decode(),
    }
    if node.array is None:
        return described
    names = node.array.dimension_names or (None,) * len(node.array.shape)
    described["dimensions"] = [
        ({} if name is None else {"name": name}) | {"array_length": length, "num_chunks": count}
        for name, length, count in zip(names, node.array.shape, node.array.num_chunks, strict=True)
    ]
    described["manifests"] = [
        {"id": encode(ref.id), "extents": [list(pair) for pair in ref.extents]}
        for ref in node.array.manifests
    ]
    chunks = {}
    for ref in node.array.manifests:
        for coord, chunk in manifest_of(vector, ref.id).arrays[node.id].items():
            chunks[coord] = described_chunk(coord, chunk, vector)
    described["chunks"] = [chunks[coord] for coord in sorted(chunks)]
    return described


def described_chunk(coord: tuple[int, ...], ref: ChunkRef, vector: Vector) -> dict[str, Any]:
    """A chunk in the words of ``expected.json``, its payload read from the vector's files."""
    described: dict[str, Any] = {"coords": list(coord)}
    payload: bytes | None
    if isinstance(ref, InlineRef):
        payload = ref.data
        described |= {"kind": "inline", "length": len(ref.data)}
    elif isinstance(ref, NativeRef):
        name = encode(ref.chunk_id)
        payload = vector.read(f"chunks/{name}")[ref.offset : ref.offset + ref.length]
        described |= {"kind": "native", "chunk_id": name, "offset": ref.offset, "length": ref.length}
    else:
        payload = None
        described |= {"kind": "virtual", "offset": ref.offset, "length": ref.length}
        if ref.location.startswith(CONTAINER):
            target = "data/" + ref.location.removeprefix(CONTAINER)
            payload = (vector.directory / target).read_bytes()[ref.offset : ref.offset + ref.length]
            described["resolved"] = target
        else:
            described |= {"location": ref.location, "unreadable": True}
    if payload is not None:
        described |= {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    return described


def test_snapshots_decode_as_reported(vector: Vector) -> None:
    """Ids, messages, times, metadata, parents (spec 1) and manifest lists are what the library reports."""
    for name, snapshot in snapshots(vector).items():
        expected = vector.expected["snapshots"][name]
        assert encode(snapshot.id) == name
        assert snapshot.message == expected["message"]
        assert snapshot.flushed_at == expected["flushed_at_us"]
        assert snapshot.metadata == expected["metadata"]
        assert [
            {"id": encode(info.id), "size_bytes": info.size_bytes, "num_chunk_refs": info.num_chunk_refs}
            for info in snapshot.manifest_files
        ] == expected["manifest_files"]
        if expected["header"]["spec_version"] == "1.0" and "migrated" not in vector.name:
            parent = snapshot.parent_id
            assert (None if parent is None else encode(parent)) == expected["parent"]


def test_nodes_and_every_chunk_ref_decode_as_reported(vector: Vector) -> None:
    """Nodes, dimensions, manifests, and each chunk with its payload are what the library reports."""
    for name, snapshot in snapshots(vector).items():
        described = [described_node(node, vector) for node in snapshot.nodes]
        assert described == vector.expected["snapshots"][name]["nodes"]


def test_nodes_are_found_by_path_and_id(vector: Vector) -> None:
    """Every node is found by its path and by its id; a path next to it is not."""
    for snapshot in snapshots(vector).values():
        for node in snapshot.nodes:
            assert snapshot.nodes.get(node.path) == node
            assert snapshot.nodes.by_id(node.id) == node
            assert node.path in snapshot.nodes
            assert snapshot.nodes.get(node.path + "!") is None


def test_manifest_lists_match_the_manifests(vector: Vector) -> None:
    """Sizes and counts that snapshots record are those of the manifest files."""
    for snapshot in snapshots(vector).values():
        for info in snapshot.manifest_files:
            data = vector.read(manifest_key(info.id))
            assert len(data) == info.size_bytes
            assert decode_manifest(data, name="m").num_chunk_refs == info.num_chunk_refs
            assert snapshot.manifest_file(info.id) == info


def described_log(log: TransactionLog) -> dict[str, Any]:
    """A log in the words of ``expected.json``."""
    names = (
        "new_groups",
        "new_arrays",
        "deleted_groups",
        "deleted_arrays",
        "updated_groups",
        "updated_arrays",
    )
    described: dict[str, Any] = {name: sorted(map(encode, getattr(log, name))) for name in names}
    described["updated_chunks"] = [
        {"node_id": encode(node_id), "chunks": coords.tolist()}
        for node_id, coords in log.updated_chunks.items()
    ]
    described["moved_nodes"] = [{"from": move.source, "to": move.target} for move in log.moves or ()]
    return described


def test_transaction_logs_decode_as_reported(vector: Vector) -> None:
    """Each log's lists, chunk coordinates and moves are what the library reports."""
    for name, expected in vector.expected["transactions"].items():
        key = transaction_key(decode(name))
        log = decode_transaction_log(vector.read(key), name=key)
        assert encode(log.id) == name
        # 1.1.21 wrote the coordinates of split manifests one split after the other.
        chunks = [entry | {"chunks": sorted(entry["chunks"])} for entry in expected["updated_chunks"]]
        assert described_log(log) == expected | {"updated_chunks": chunks}


def test_every_file_survives_a_round_trip(vector: Vector) -> None:
    """Decoding, encoding and decoding again gives an equal value, for each file of each kind."""
    for key in vector.keys("snapshots"):
        data = vector.read(key)
        snapshot = decode_snapshot(data, name=key)
        assert decode_snapshot(encode_snapshot(snapshot, spec_version=data[36]), name=key) == snapshot
    for key in vector.keys("manifests"):
        data = vector.read(key)
        manifest = decode_manifest(data, name=key)
        for compression in (None, LocationCompression(min_num_chunks=1)):
            again = encode_manifest(manifest, spec_version=data[36], location_compression=compression)
            assert decode_manifest(again, name=key) == manifest
    for key in vector.keys("transactions"):
        data = vector.read(key)
        log = decode_transaction_log(data, name=key)
        assert decode_transaction_log(encode_transaction_log(log, spec_version=data[36]), name=key) == log


def test_spec_1_logs_without_a_list_of_moves() -> None:
    """Logs of Icechunk 1.x have no list of moves (None); those of 2.x in spec 1 have an empty one."""
    for name, moves in (("v1-plain", None), ("v1-by-2.3", ())):
        vector = load_vector(name)
        for key in vector.keys("transactions"):
            assert decode_transaction_log(vector.read(key), name=key).moves == moves


def test_checksums_of_virtual_refs() -> None:
    """Recorded ETags and modification times are read; a ref without has neither."""
    vector = load_vector("v21-chunk-kinds")
    found = set()
    for key in vector.keys("manifests"):
        for refs in decode_manifest(vector.read(key), name=key).arrays.values():
            for ref in map(refs.ref, range(len(refs))):
                if isinstance(ref, VirtualRef):
                    found.add((ref.etag is not None, ref.last_modified is not None))
    assert found == {(False, False), (True, False), (False, True)}


def test_a_file_of_another_kind_is_refused() -> None:
    """A snapshot where a manifest belongs is Corrupt, with the object's name."""
    vector = load_vector("v21-basic")
    key = snapshot_key(decode(vector.expected["branches"]["main"]))
    with pytest.raises(Corrupt, match=key) as caught:
        decode_manifest(vector.read(key), name=key)
    assert caught.value.object_name == key
