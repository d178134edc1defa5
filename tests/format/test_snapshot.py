"""Snapshot files: round trips, the node table, and what other writers may do."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt, FormatError
from icechunk_core.format import flexbuffers
from icechunk_core.format._flat_builder import Table, Vector, build, struct, u8, u32, u64
from icechunk_core.format.envelope import FileType, seal
from icechunk_core.format.layout import INITIAL_SNAPSHOT_ID
from icechunk_core.format.snapshot import (
    ArrayData,
    ManifestFileInfo,
    ManifestRef,
    NodeSnapshot,
    NodeTable,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
    initial_snapshot,
)
from tests.format.strategies import nodes, snapshots

ID = bytes(range(12))
EMPTY = Vector(b"", 0, 8)


def group(path: str, id: bytes = b"groupgrp") -> NodeSnapshot:
    return NodeSnapshot(id, path, b"{}", None)


def groups(*paths: str) -> NodeTable:
    return NodeTable.from_nodes(group(path, path.encode()[-8:].ljust(8)) for path in paths)


@given(snapshots)
def test_round_trip_spec_2(snapshot: Snapshot) -> None:
    """Every snapshot decodes to what was encoded; spec 2 does not store the parent."""
    again = decode_snapshot(encode_snapshot(snapshot, spec_version=2), name="s")
    assert again == evolve(snapshot, parent_id=None)


@given(snapshots)
def test_round_trip_spec_1(snapshot: Snapshot) -> None:
    """Spec 1 stores the parent, and chunk lengths from which the number of chunks is found again."""
    again = decode_snapshot(encode_snapshot(snapshot, spec_version=1), name="s")
    assert again == snapshot


@given(snapshots)
def test_encoding_a_decoded_snapshot_again(snapshot: Snapshot) -> None:
    """Nodes that were never looked at are written as they were read."""
    data = encode_snapshot(snapshot, spec_version=2)
    again = decode_snapshot(encode_snapshot(decode_snapshot(data, name="s"), spec_version=2), name="t")
    assert again == evolve(snapshot, parent_id=None)


def test_the_first_snapshot() -> None:
    """Its id, message and metadata are fixed; it has no nodes."""
    snapshot = decode_snapshot(encode_snapshot(initial_snapshot(5), spec_version=2), name="s")
    assert snapshot.id == INITIAL_SNAPSHOT_ID
    assert (snapshot.message, snapshot.flushed_at) == ("Repository initialized", 5)
    assert snapshot.metadata == {"__icechunk": {"is_root": True}}
    assert (len(snapshot.nodes), snapshot.manifest_files) == (0, ())


def test_manifest_files_are_sorted_and_found_by_id() -> None:
    """Writers may give them in any order; lookups find each, and None for others."""
    infos = [ManifestFileInfo(bytes([n]) * 12, n, n) for n in (3, 1, 2)]
    snapshot = evolve(initial_snapshot(5), manifest_files=infos)
    assert [info.size_bytes for info in snapshot.manifest_files] == [1, 2, 3]
    assert snapshot.manifest_file(bytes([2]) * 12) == infos[2]
    assert snapshot.manifest_file(bytes(12)) is None


def test_numbers_that_do_not_fit_are_refused() -> None:
    """A number of chunks above 32 bits cannot be written."""
    array = ArrayData((2**40,), (2**40,), None, ())
    snapshot = evolve(
        initial_snapshot(5), nodes=NodeTable.from_nodes([NodeSnapshot(b"x" * 8, "/a", b"", array)])
    )
    with pytest.raises(FormatError):
        encode_snapshot(snapshot, spec_version=2)


@pytest.mark.parametrize(("ndim", "size"), [(8, 31), (8, 33), (9, 1), (64, 100)])
def test_many_arrays_alike(ndim: int, size: int) -> None:
    """Thousands of arrays of one shape, which share parts of the file, can all be read again."""
    names = tuple(f"{axis}".ljust(size, "x") for axis in range(ndim))
    array = ArrayData((10,) * ndim, (5,) * ndim, names, ())
    table = NodeTable.from_nodes(
        NodeSnapshot(row.to_bytes(8, "big"), f"/{row}", b"", array) for row in range(2000)
    )
    data = encode_snapshot(evolve(initial_snapshot(5), nodes=table), spec_version=2)
    assert decode_snapshot(data, name="s").nodes == table


# --- the node table ---


def model_subtree(paths: set[str], path: str) -> list[str]:
    below = path.rstrip("/") + "/"
    return sorted((p for p in paths if p == path or p.startswith(below)), key=str.encode)


def model_children(paths: set[str], path: str) -> list[str]:
    below = path.rstrip("/") + "/"
    found = [p for p in paths if p.startswith(below) and p != path and "/" not in p[len(below) :]]
    return sorted(found, key=str.encode)


small_paths = st.lists(st.sampled_from(["a", "b", "a-b", "ab", "a0", "é", "a.c"]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.sets(small_paths, max_size=25), small_paths, st.booleans())
def test_paths_subtrees_and_children(paths: set[str], path: str, decoded: bool) -> None:
    """Lookups, subtrees and children are those of a set of paths, in the order of the bytes."""
    table = groups(*paths)
    if decoded:
        data = encode_snapshot(evolve(initial_snapshot(5), nodes=table), spec_version=2)
        table = decode_snapshot(data, name="s").nodes
    assert [node.path for node in table] == list(table.paths()) == sorted(paths, key=str.encode)
    assert (path in table) == (path in paths) == (table.get(path) is not None)
    assert [node.path for node in table.subtree(path)] == model_subtree(paths, path)
    assert [node.path for node in table.children(path)] == model_children(paths, path)


@given(st.lists(nodes, max_size=8), st.lists(nodes, max_size=4), st.data())
def test_updates_are_those_of_a_dict(
    before: list[NodeSnapshot], changed: list[NodeSnapshot], data: st.DataObject
) -> None:
    """Setting and removing nodes gives the same as on a dict; a table from a file keeps its other nodes."""
    expected = {node.path: node for node in before}
    table = NodeTable.from_nodes(before)
    file = encode_snapshot(evolve(initial_snapshot(5), nodes=table), spec_version=2)
    changes: dict[str, NodeSnapshot | None] = {node.path: node for node in changed}
    if before:
        changes |= dict.fromkeys(data.draw(st.lists(st.sampled_from(sorted(expected)))))
    for path, node in changes.items():
        if node is None:
            expected.pop(path, None)
        else:
            expected[path] = node
    for start in (table, decode_snapshot(file, name="s").nodes):
        updated = start.updated(changes)
        assert {node.path: node for node in updated} == expected
        assert updated == NodeTable.from_nodes(expected.values())
        again = encode_snapshot(evolve(initial_snapshot(5), nodes=updated), spec_version=2)
        assert decode_snapshot(again, name="s").nodes == updated
        for node in expected.values():
            found = updated.by_id(node.id)
            assert found is not None
            assert found.id == node.id


def test_a_path_that_utf_8_cannot_hold_is_not_there() -> None:
    """Looking up text with lone surrogates finds nothing."""
    assert groups("/", "/a").get("/\ud800") is None


def test_node_tables_pickle() -> None:
    """Also those that were read from a file."""
    data = encode_snapshot(evolve(initial_snapshot(5), nodes=groups("/", "/a", "/a/b")), spec_version=2)
    table = decode_snapshot(data, name="s").nodes
    assert pickle.loads(pickle.dumps(table)) == table


def test_nodes_are_decoded_once() -> None:
    """Asking again gives the same object."""
    data = encode_snapshot(evolve(initial_snapshot(5), nodes=groups("/", "/a")), spec_version=2)
    table = decode_snapshot(data, name="s").nodes
    assert table.get("/a") is table.get("/a")


# --- files of other writers ---


def node(path: str, *, data: Table | None = None, kind: int = 2, id: bytes = b"nodenode") -> Table:
    return Table(struct(id), path, b"{}", u8(kind), data or Table())


def foreign(nodes: list[Table], *, spec_version: int = 2, metadata: list[Table] | None = None) -> bytes:
    infos: list[Table] | None = [] if spec_version == 2 else None
    root = Table(struct(ID), None, nodes, u64(5), "message", metadata or [], EMPTY, infos)
    return seal(FileType.SNAPSHOT, build(root), spec_version=spec_version)


def test_nodes_in_segment_order_are_sorted() -> None:
    """Spec 1 files of old writers sort `/a/b` before `/a-b`; lookups find everything all the same."""
    data = foreign([node("/"), node("/a"), node("/a/b"), node("/a-b"), node("/ab")], spec_version=1)
    table = decode_snapshot(data, name="s").nodes
    assert list(table.paths()) == ["/", "/a", "/a-b", "/a/b", "/ab"]
    assert [n.path for n in table.subtree("/a")] == ["/a", "/a/b"]
    assert all(table.get(path) is not None for path in table.paths())


def test_two_nodes_with_one_path_are_corrupt() -> None:
    """Which one is meant cannot be known."""
    with pytest.raises(Corrupt, match=r"s: .*one path"):
        decode_snapshot(foreign([node("/a"), node("/a")]), name="s")


def test_an_unknown_kind_of_node_is_corrupt() -> None:
    """Other nodes of the snapshot can still be read."""
    table = decode_snapshot(foreign([node("/a"), node("/b", kind=3)]), name="s").nodes
    assert table.get("/a") is not None
    with pytest.raises(Corrupt, match=r"s: .*unknown kind of node 3"):
        table.get("/b")


def test_shape_of_spec_1() -> None:
    """The number of chunks is the array length over the chunk length, rounded up."""
    shape = Vector(np.array([10, 3, 0, 7, 0, 0], "<u8").tobytes(), 3, 8)
    names = [Table("x"), Table(), Table("z")]
    extents = Vector(np.array([1, 2, 3, 4, 5, 6], "<u4").tobytes(), 3)
    data = Table(shape, names, [Table(struct(ID), extents)])
    table = decode_snapshot(foreign([node("/a", data=data, kind=1)], spec_version=1), name="s").nodes
    found = table.get("/a")
    assert found is not None
    ref = ManifestRef(ID, ((1, 2), (3, 4), (5, 6)))
    assert found.array == ArrayData((10, 0, 0), (4, 0, 0), ("x", None, "z"), (ref,))


def test_chunks_of_length_zero_are_corrupt() -> None:
    """A dimension with elements needs chunks that have some."""
    shape = Vector(np.array([10, 0], "<u8").tobytes(), 1, 8)
    data = foreign([node("/a", data=Table(shape, None, []), kind=1)], spec_version=1)
    with pytest.raises(Corrupt, match="chunks of length 0"):
        decode_snapshot(data, name="s").nodes.get("/a")


def test_shape_of_spec_2_wins() -> None:
    """Where both forms are present, the newer one counts; absent numbers are 0."""
    shape = Vector(np.array([10, 3], "<u8").tobytes(), 1, 8)
    data = Table(shape, None, [], [Table(u64(12), u32(6)), Table()])
    found = decode_snapshot(foreign([node("/a", data=data, kind=1)]), name="s").nodes.get("/a")
    assert found is not None
    assert found.array == ArrayData((12, 0), (6, 0), None, ())


def test_metadata_is_decoded_by_the_version_of_the_file() -> None:
    """MessagePack in files of spec 1, FlexBuffers in those of spec 2; the wrong one is Corrupt."""
    item = Table("n", flexbuffers.encode([1, {"a": "b"}]))
    assert decode_snapshot(foreign([], metadata=[item]), name="s").metadata == {"n": [1, {"a": "b"}]}
    with pytest.raises(Corrupt):
        decode_snapshot(foreign([], metadata=[item], spec_version=1), name="s")


def test_a_manifest_without_id_is_corrupt() -> None:
    """The entry would name no file."""
    root = Table(struct(ID), None, [], u64(5), "m", [], EMPTY, [Table(None, u64(1))])
    with pytest.raises(Corrupt, match="required field 0"):
        decode_snapshot(seal(FileType.SNAPSHOT, build(root), spec_version=2), name="s")


def test_a_time_after_the_year_9999_is_corrupt() -> None:
    """It could not be shown as a date."""
    root = Table(struct(ID), None, [], u64(2**63 - 1), "m", [], EMPTY, [])
    with pytest.raises(Corrupt, match="timestamp"):
        decode_snapshot(seal(FileType.SNAPSHOT, build(root), spec_version=2), name="s")
