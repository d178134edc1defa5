"""The transaction log of a commit."""

from __future__ import annotations

from icechunk_core.format.snapshot import NodeTable
from icechunk_core.format.transaction_log import (
    Move,
    TransactionLog,
    decode_transaction_log,
    encode_transaction_log,
)
from icechunk_core.transaction.change_set import ChangeSet
from icechunk_core.transaction.log_builder import build_transaction_log
from tests.transaction.model import array, array_json, group, group_json, inline, node_id, object_id, put

BASE = NodeTable.from_nodes([group(1, "/"), array(2, "/a"), array(3, "/b"), group(4, "/g"), array(5, "/g/x")])


def test_empty() -> None:
    """Nothing changed, nothing listed."""
    assert build_transaction_log(ChangeSet(), object_id(1)) == TransactionLog(object_id(1))


def test_each_kind_of_change_in_its_list() -> None:
    """Nodes are listed by type; new ones only as new, deleted ones only as deleted."""
    changes = ChangeSet()
    new_array = put(changes, BASE, "/n", array_json())
    put(changes, BASE, "/n", array_json(note="again"))
    new_group = put(changes, BASE, "/m", group_json())
    put(changes, BASE, "/a", array_json(note="x"))
    put(changes, BASE, "/", group_json(note="x"))
    put(changes, BASE, "/b", array_json(note="x"))
    changes.set_chunk(node_id(3), (0,), inline("lost"))
    changes.delete_node("/b", BASE)
    again = put(changes, BASE, "/b", group_json())
    changes.delete_node("/g", BASE)
    assert build_transaction_log(changes, object_id(1)) == TransactionLog(
        object_id(1),
        new_groups=frozenset({new_group, again}),
        new_arrays=frozenset({new_array}),
        deleted_groups=frozenset({node_id(4)}),
        deleted_arrays=frozenset({node_id(3), node_id(5)}),
        updated_arrays=frozenset({node_id(2)}),
        updated_groups=frozenset({node_id(1)}),
    )


def test_chunks_are_sorted_and_deletions_listed() -> None:
    """Coordinates of all chunk changes, new arrays included, in lexicographic order."""
    changes = ChangeSet()
    new = put(changes, BASE, "/n", array_json((3, 20)))
    for coord in [(2, 0), (0, 11), (0, 2), (1, 1)]:
        changes.set_chunk(new, coord, inline("x"))
    changes.set_chunk(node_id(2), (3,), None)
    log = build_transaction_log(changes, object_id(1))
    assert log.updated_chunks[new].tolist() == [[0, 2], [0, 11], [1, 1], [2, 0]]
    assert log.updated_chunks[node_id(2)].tolist() == [[3]]


def test_moves_are_sorted_segment_by_segment() -> None:
    """Moves are listed by their target, segment by segment, not byte by byte."""
    changes = ChangeSet()
    for number, target in enumerate(["/t-1", "/t/x", "/t"], start=1):
        changes.moved[node_id(number)] = Move(f"/s{number}", target, node_id(number), False)
    log = build_transaction_log(changes, object_id(1))
    assert [move.target for move in log.moves or ()] == ["/t", "/t/x", "/t-1"]


def test_it_can_be_written() -> None:
    """The format layer takes the log as it is, an array without remaining coordinates included."""
    changes = ChangeSet()
    changes.set_chunk(node_id(2), (3,), None)
    changes.chunks[node_id(5)] = {}
    log = build_transaction_log(changes, object_id(1))
    assert decode_transaction_log(
        encode_transaction_log(log, spec_version=2), name="log"
    ).updated_chunks.keys() == {
        node_id(2),
        node_id(5),
    }
