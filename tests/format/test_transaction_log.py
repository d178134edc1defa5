"""Transaction log files and merging of logs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt
from icechunk_core.format._flat_builder import Table, Vector, build, struct, u8
from icechunk_core.format.envelope import FileType, seal
from icechunk_core.format.transaction_log import (
    Move,
    TransactionLog,
    decode_transaction_log,
    empty_log,
    encode_transaction_log,
    merge_logs,
)
from tests.format.strategies import coordinates, node_ids, object_ids, paths

ID = bytes(range(12))
A, B, C = b"aaaaaaaa", b"bbbbbbbb", b"cccccccc"


def coords(*rows: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint32]]:
    return np.array(rows, dtype=np.uint32)


@st.composite
def logs(draw: st.DrawFn) -> TransactionLog:
    sets = [draw(st.frozensets(node_ids, max_size=4)) for _ in range(6)]
    chunks = {}
    for node_id in draw(st.sets(node_ids, max_size=3)):
        ndim = draw(st.sampled_from([0, 1, 3, 20]))
        rows = sorted(draw(st.sets(coordinates(ndim), min_size=1, max_size=10)))
        chunks[node_id] = np.array(rows, dtype=np.uint32).reshape(len(rows), ndim)
    move = st.builds(Move, paths, paths, node_ids, st.booleans())
    moves = draw(st.none() | st.lists(move, max_size=4, unique_by=lambda m: m.target).map(tuple))
    if moves is not None:
        moves = tuple(sorted(moves, key=lambda m: m.target.split("/")))
    return TransactionLog(
        draw(object_ids), sets[0], sets[1], sets[2], sets[3], sets[4], sets[5], chunks, moves
    )


@given(logs(), st.sampled_from([1, 2]))
def test_round_trip(log: TransactionLog, spec_version: int) -> None:
    """Every log decodes to what was encoded."""
    again = decode_transaction_log(encode_transaction_log(log, spec_version=spec_version), name="t")
    assert again == log
    assert list(again.updated_chunks) == sorted(log.updated_chunks)


def test_many_chunks() -> None:
    """More coordinates than one decoding block holds survive."""
    table = np.indices((300, 500), dtype=np.uint32).reshape(2, -1).T.copy()
    log = TransactionLog(ID, updated_chunks={A: table, B: table[:7]})
    assert decode_transaction_log(encode_transaction_log(log, spec_version=2), name="t") == log


def test_the_empty_log() -> None:
    """The first snapshot's log has nothing in it."""
    log = empty_log(ID)
    assert log.is_empty()
    assert decode_transaction_log(encode_transaction_log(log, spec_version=2), name="t") == log
    for changed in (
        TransactionLog(ID, new_groups=frozenset({A})),
        TransactionLog(ID, updated_chunks={A: coords((1,))}),
    ):
        assert not changed.is_empty()
        assert changed != log


def test_merging_unites_everything_and_cancels_nothing() -> None:
    """Lists and coordinates are united, also where a node is both new and deleted."""
    first = TransactionLog(
        ID,
        new_arrays=frozenset({A}),
        updated_groups=frozenset({B}),
        updated_chunks={A: coords((0, 1), (5, 5)), B: coords((1,)), C: np.empty((0, 0), np.uint32)},
    )
    second = TransactionLog(
        ID,
        deleted_arrays=frozenset({A}),
        updated_groups=frozenset({C}),
        updated_chunks={A: coords((0, 1), (2, 2)), C: coords((3,))},
    )
    merged = merge_logs(first, second, b"x" * 12)
    assert merged == TransactionLog(
        b"x" * 12,
        new_arrays=frozenset({A}),
        deleted_arrays=frozenset({A}),
        updated_groups=frozenset({B, C}),
        updated_chunks={A: coords((0, 1), (2, 2), (5, 5)), B: coords((1,)), C: coords((3,))},
    )


def test_merging_moves_keeps_the_net_effect() -> None:
    """From the first source to the last target; back to the start is no move; sorted segment by segment."""
    first = TransactionLog(ID, moves=(Move("/a", "/b", A, True), Move("/c", "/d", B, False)))
    second = TransactionLog(
        ID, moves=(Move("/b", "/x-y", A, True), Move("/d", "/c", B, False), Move("/e", "/x/y", C, True))
    )
    merged = merge_logs(first, second, ID)
    assert merged.moves == (Move("/e", "/x/y", C, True), Move("/a", "/x-y", A, True))
    without = TransactionLog(ID, moves=None)
    assert merge_logs(without, without, ID).moves is None
    assert merge_logs(without, first, ID).moves == first.moves


def sealed(chunks: list[Table], moves: list[Table] | None = None) -> bytes:
    ids = [Vector(b"", 0)] * 6
    return seal(FileType.TRANSACTION_LOG, build(Table(struct(ID), *ids, chunks, moves)), spec_version=2)


def indices(*values: int) -> Table:
    return Table(Vector(np.array(values, "<u4").tobytes(), len(values)))


def test_coordinates_in_any_order() -> None:
    """Coordinates that repeat or are not sorted, as Icechunk 1.x writes them, come out sorted and once."""
    data = sealed([Table(struct(A), [indices(3), indices(1), indices(3)])])
    assert decode_transaction_log(data, name="t").updated_chunks[A].tolist() == [[1], [3]]


BAD_PATHS = ("a", "", "/a/", "/..", "/a//b")


def test_impossible_content_is_corrupt() -> None:
    """An array listed twice, different numbers of dimensions, unknown node types and bad paths."""
    entry = Table(struct(A), [indices(1)])
    ragged = Table(struct(A), [indices(1), indices(1, 2)])
    for data, message in (
        (sealed([entry, entry]), "listed twice"),
        (sealed([ragged]), "numbers of dimensions"),
        (sealed([], [Table("/a", "/b", struct(A), u8(2))]), "unknown node type 2"),
        (sealed([], [Table("/a", "/b", None, u8(1))]), "required field 2"),
        (sealed([], [Table(None, "/b", struct(A))]), "required field 0"),
        *(
            (sealed([], [Table("/a", path, struct(A))]), "invalid node path")
            for path in ("a", "", "/a/", "/..", "/a//b")
        ),
    ):
        with pytest.raises(Corrupt, match=message) as caught:
            decode_transaction_log(data, name="t")
        assert caught.value.object_name == "t"
