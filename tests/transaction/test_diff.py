"""Diffs between snapshots and of sessions, and what Icechunk said about the test vectors."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from icechunk_core.format.base32 import decode
from icechunk_core.format.layout import REPO_KEY, snapshot_key, transaction_key
from icechunk_core.format.repo_info import decode_repo_info
from icechunk_core.format.snapshot import NodeTable, Snapshot, decode_snapshot
from icechunk_core.format.transaction_log import Move, TransactionLog, decode_transaction_log
from icechunk_core.transaction.change_set import ChangeSet
from icechunk_core.transaction.diff import Diff, build_diff, status_diff
from icechunk_core.transaction.history import ancestry
from icechunk_core.transaction.log_builder import sorted_coords
from tests.transaction.model import array, array_json, group, group_json, inline, node_id, object_id, put
from tests.vectors_support import VECTOR_NAMES, Vector, load_vector

BASE = NodeTable.from_nodes([group(1, "/"), array(2, "/a"), array(3, "/b"), group(4, "/g"), array(5, "/g/x")])
NODE_SETS = (
    "new_groups", "new_arrays", "deleted_groups", "deleted_arrays", "updated_groups", "updated_arrays",
)  # fmt: skip


def test_nothing_changed() -> None:
    """A diff without changes is empty and prints as nothing."""
    diff = status_diff(ChangeSet(), BASE)
    assert diff.is_empty()
    assert (repr(diff), diff.updated_chunks, diff) == ("", {}, Diff())


def test_session() -> None:
    """The status of a session lists its changes by path, a replaced node as deleted and as new."""
    changes = ChangeSet()
    put(changes, BASE, "/n", array_json())
    put(changes, BASE, "/m", group_json())
    put(changes, BASE, "/a", array_json(v=1))
    put(changes, BASE, "/", group_json(v=1))
    changes.delete_node("/b", BASE)
    put(changes, BASE, "/b", array_json())
    changes.delete_node("/g", BASE)
    changes.set_chunk(node_id(2), (3,), inline("x"))
    changes.set_chunk(node_id(2), (1,), None)
    diff = status_diff(changes, BASE)
    assert not diff.is_empty()
    assert diff.new_arrays == {"/n", "/b"}
    assert diff.new_groups == {"/m"}
    assert (diff.updated_arrays, diff.updated_groups) == ({"/a"}, {"/"})
    assert (diff.deleted_arrays, diff.deleted_groups) == ({"/b", "/g/x"}, {"/g"})
    assert diff.updated_chunks == {"/a": [[1], [3]]}
    assert pickle.loads(pickle.dumps(diff)) == diff


def test_logs_are_united() -> None:
    """Changes of several commits are united; coordinates sorted, once each; newest moves first."""
    older, newer = BASE, NodeTable.from_nodes([array(2, "/z"), array(7, "/late")])
    logs = [
        TransactionLog(
            object_id(2),
            new_arrays=frozenset({node_id(7)}),
            updated_chunks={node_id(2): sorted_coords([(1,), (9,)])},
            moves=(Move("/y", "/z", node_id(2), True),),
        ),
        TransactionLog(
            object_id(1),
            new_arrays=frozenset({node_id(99)}),
            updated_chunks={node_id(2): sorted_coords([(3,), (1,)]), node_id(99): sorted_coords([(0,)])},
            moves=(Move("/a", "/y", node_id(2), True),),
        ),
    ]
    diff = build_diff(logs, older, newer)
    assert diff.new_arrays == {"/late"}
    assert diff.updated_chunks == {"/z": [[1], [3], [9]]}
    assert diff.moved_nodes == [("/y", "/z"), ("/a", "/y")]


def test_zero_dimensions_and_no_coordinates() -> None:
    """The chunk of a 0-d array is an empty coordinate; an array may be listed without coordinates."""
    log = TransactionLog(object_id(1), updated_chunks={node_id(2): sorted_coords([()])})
    none = TransactionLog(object_id(2), updated_chunks={node_id(3): sorted_coords([])})
    assert build_diff([log, log, none], BASE, BASE).updated_chunks == {"/a": [[]], "/b": []}


def test_text() -> None:
    """A diff prints section by section, with long lists of chunks cut."""
    diff = Diff(
        new_groups={"/b", "/a"},
        deleted_arrays={"/old"},
        moved_nodes=[("/x", "/y")],
        chunks={"/a": sorted_coords([(index,) for index in range(12)])},
    )
    lines = repr(diff).splitlines()
    assert lines[:3] == ["Groups created:", "    /a", "    /b"]
    assert "    /old" in lines
    assert lines[-5:] == ["        [9]", "        ... 2 more", "", "Nodes moved/renamed:", "    /x -> /y"]
    assert "&lt;b&gt;" in Diff(new_groups={"/<b>"})._repr_html_()


# --- what Icechunk said ------------------------------------------------------------------


def snapshot(vector: Vector, text: str) -> Snapshot:
    return decode_snapshot(vector.read(snapshot_key(decode(text))), name=text)


def steps_between(vector: Vector, start: bytes, end: bytes) -> list[tuple[bytes, tuple[bytes, ...]]]:
    """Ids and pruned logs of the snapshots from ``end`` back to, without, ``start``."""
    found: list[tuple[bytes, tuple[bytes, ...]]] = []
    if vector.is_spec_1:
        current: bytes | None = end
        while current is not None and current != start:
            found.append((current, ()))
            current = decode_snapshot(vector.read(snapshot_key(current)), name="snapshot").parent_id
        return found
    info = decode_repo_info(vector.read(REPO_KEY), name=REPO_KEY)
    for item in ancestry(info.snapshots, end):
        if item.id == start:
            break
        found.append((item.id, item.pruned_ancestor_tx_logs))
    return found


def logs_between(vector: Vector, start: bytes, end: bytes) -> list[TransactionLog]:
    stored = set(vector.keys("transactions"))
    found = []
    for own, pruned in steps_between(vector, start, end):
        for log_id in (own, *reversed(pruned)):
            key = transaction_key(log_id)
            if key in stored:
                found.append(decode_transaction_log(vector.read(key), name=key))
    return found


@pytest.mark.parametrize("name", VECTOR_NAMES)
def test_diffs_of_the_vectors(name: str) -> None:
    """Every diff that Icechunk computed for the vectors comes out the same."""
    vector = load_vector(name)
    checked = 0
    for expected in vector.expected["diffs"]:
        if "error" in expected:
            continue
        start, end = decode(expected["from"]), decode(expected["to"])
        nodes = [snapshot(vector, expected[side]).nodes for side in ("from", "to")]
        diff = build_diff(logs_between(vector, start, end), *nodes)
        for part in NODE_SETS:
            assert getattr(diff, part) == set(expected[part])
        assert sorted(map(list, diff.moved_nodes)) == expected["moved_nodes"]
        assert diff.updated_chunks.keys() == expected["updated_chunks"].keys()
        for path, coords in expected["updated_chunks"].items():
            check_coords(diff.updated_chunks[path], coords)
        checked += 1
    assert checked


def check_coords(found: list[list[int]], expected: Any) -> None:
    """Long lists are shortened in the vectors to their length and both ends."""
    if isinstance(expected, list):
        assert found == expected
    else:
        assert len(found) == expected["count"]
        assert found[:5] == expected["first"]
        assert found[-5:] == expected["last"]
