"""Conflicts, solvers and rebase: every row of the table, and Icechunk as the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from attrs import frozen
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from icechunk_core.errors import AlreadyExistsError, ErrorKind, RebaseFailedError
from icechunk_core.format.snapshot import NodeTable
from icechunk_core.format.transaction_log import Move, TransactionLog
from icechunk_core.transaction.change_set import ChangeSet
from icechunk_core.transaction.conflicts import RULES, Conflict, ConflictType, VersionSelection, detect
from icechunk_core.transaction.log_builder import build_transaction_log
from icechunk_core.transaction.rebase import rebase_over
from icechunk_core.transaction.solvers import BasicConflictSolver, ConflictDetector, ConflictSolver
from tests.transaction import peer
from tests.transaction.model import (
    array,
    array_json,
    group,
    group_json,
    inline,
    node_id,
    object_id,
    put,
    seen,
)

BASE = NodeTable.from_nodes(
    [group(1, "/"), array(2, "/a"), array(3, "/b"), group(4, "/g"), array(5, "/g/x"), group(6, "/g/h")]
)
T = ConflictType
OURS, THEIRS, FAIL = VersionSelection.UseOurs, VersionSelection.UseTheirs, VersionSelection.Fail


@frozen
class Step:
    """One thing a session does; runs here and in Icechunk."""

    what: str
    path: str
    value: object = None

    def here(self, changes: ChangeSet) -> None:
        if self.what == "write":
            assert isinstance(self.value, bytes)
            put(changes, BASE, self.path, self.value)
        elif self.what == "delete":
            changes.delete_node(self.path, BASE)
        else:
            assert isinstance(self.value, tuple)
            node = changes.node(self.path, BASE)
            assert node is not None
            coord, text = self.value
            changes.set_chunk(node.id, (coord,), None if text is None else inline(text))


def write(path: str, data: bytes) -> Step:
    return Step("write", path, data)


def delete(path: str) -> Step:
    return Step("delete", path)


def chunk(path: str, coord: int, text: str | None = "x") -> Step:
    return Step("chunk", path, (coord, text))


def session(steps: Sequence[Step]) -> ChangeSet:
    changes = ChangeSet()
    for step in steps:
        step.here(changes)
    return changes


def commit(steps: Sequence[Step]) -> tuple[TransactionLog, NodeTable]:
    """What another session's commit leaves behind: its log and its nodes."""
    changes = session(steps)
    return build_transaction_log(changes, object_id(9)), NodeTable.from_nodes(changes.nodes("/", BASE))


def rebased(
    ours: Sequence[Step], theirs: Sequence[Step], solver: ConflictSolver
) -> tuple[ChangeSet, NodeTable]:
    log, nodes = commit(theirs)
    return rebase_over(session(ours), BASE, [log], nodes, solver, object_id(9)), nodes


@frozen
class Case:
    ours: tuple[Step, ...]
    theirs: tuple[Step, ...]
    found: tuple[tuple[ConflictType, str, list[list[int]] | None], ...] = ()


CASES = {
    "nothing in common": Case((chunk("/a", 0),), (chunk("/b", 0), write("/n", array_json()))),
    "other chunks of one array": Case((chunk("/a", 0),), (chunk("/a", 1),)),
    "both made a node": Case(
        (write("/n", array_json()),),
        (write("/n", group_json()),),
        ((T.NewNodeConflictsWithExistingNode, "/n", None),),
    ),
    "replaced what they deleted": Case((delete("/a"), write("/a", array_json(v=1))), (delete("/a"),)),
    "replaced what they left alone": Case((delete("/a"), write("/a", array_json(v=1))), (chunk("/b", 0),)),
    "made a node in their array": Case(
        (write("/w/v/n", array_json()),),
        (write("/w", array_json()),),
        ((T.NewNodeInInvalidGroup, "/w", None),),
    ),
    "made a node in an old array": Case(
        (write("/a/n", group_json()),), (chunk("/b", 0),), ((T.NewNodeInInvalidGroup, "/a", None),)
    ),
    "both changed metadata of an array": Case(
        (write("/a", array_json(v=1)),),
        (write("/a", array_json(v=2)),),
        ((T.ZarrMetadataDoubleUpdate, "/a", None),),
    ),
    "both changed metadata of a group alike": Case(
        (write("/g", group_json(v=1)),),
        (write("/g", group_json(v=1)),),
        ((T.ZarrMetadataDoubleUpdate, "/g", None),),
    ),
    "changed metadata of a deleted array": Case(
        (write("/a", array_json(v=1)),), (delete("/a"),), ((T.ZarrMetadataUpdateOfDeletedArray, "/a", None),)
    ),
    "changed metadata of a replaced array": Case(
        (write("/a", array_json(v=1)),),
        (delete("/a"), write("/a", array_json(v=2))),
        ((T.ZarrMetadataUpdateOfDeletedArray, "/a", None),),
    ),
    "changed metadata of a deleted group": Case(
        (write("/g", group_json(v=1)),), (delete("/g"),), ((T.ZarrMetadataUpdateOfDeletedGroup, "/g", None),)
    ),
    "wrote chunks of a deleted array": Case(
        (chunk("/a", 0),), (delete("/a"),), ((T.ChunksUpdatedInDeletedArray, "/a", None),)
    ),
    "wrote chunks of an updated array": Case(
        (chunk("/a", 0),), (write("/a", array_json(v=1)),), ((T.ChunksUpdatedInUpdatedArray, "/a", None),)
    ),
    "both wrote chunks": Case(
        (chunk("/a", 3), chunk("/a", 0), chunk("/a", 1)),
        (chunk("/a", 1), chunk("/a", 0, None), chunk("/a", 2)),
        ((T.ChunkDoubleUpdate, "/a", [[0], [1]]),),
    ),
    "everything about one array": Case(
        (chunk("/a", 1), write("/a", array_json(v=1))),
        (chunk("/a", 1), write("/a", array_json(v=2))),
        (
            (T.ZarrMetadataDoubleUpdate, "/a", None),
            (T.ChunksUpdatedInUpdatedArray, "/a", None),
            (T.ChunkDoubleUpdate, "/a", [[1]]),
        ),
    ),
    "deleted an updated array": Case(
        (delete("/a"),), (write("/a", array_json(v=1)),), ((T.DeleteOfUpdatedArray, "/a", None),)
    ),
    "deleted an array with new chunks": Case(
        (delete("/a"),), (chunk("/a", 2),), ((T.DeleteOfUpdatedArray, "/a", None),)
    ),
    "deleted updated groups": Case(
        (delete("/g"),),
        (write("/g", group_json(v=1)), write("/g/h", group_json(v=1)), chunk("/g/x", 0)),
        (
            (T.DeleteOfUpdatedArray, "/g/x", None),
            (T.DeleteOfUpdatedGroup, "/g", None),
            (T.DeleteOfUpdatedGroup, "/g/h", None),
        ),
    ),
    "both deleted an array": Case((delete("/a"),), (delete("/a"),)),
    "both deleted a group": Case((delete("/g"),), (delete("/g"),)),
    "deleted what they replaced": Case((delete("/a"),), (delete("/a"), write("/a", array_json(v=2)))),
    "deleted what they replaced and filled": Case(
        (delete("/a"),),
        (delete("/a"), write("/a", array_json(v=2)), chunk("/a", 0)),
        ((T.DeleteOfUpdatedArray, "/a", None),),
    ),
    "deleted a group they made a node in": Case((delete("/g"),), (write("/g/n", array_json()),)),
    "made a node in a group they deleted": Case((write("/g/h/n", array_json()),), (delete("/g"),)),
    "changed metadata where they wrote chunks": Case((write("/a", array_json((2,))),), (chunk("/a", 3),)),
}


@pytest.mark.parametrize("name", CASES)
def test_detection(name: str) -> None:
    """Exactly the conflicts of the table are found; the detector fails on any and passes on none."""
    case = CASES[name]
    log, nodes = commit(case.theirs)
    ours = session(case.ours)
    found = detect(ours, BASE, log, nodes)
    assert [(c.conflict_type, c.path, c.conflicted_chunks) for c in found] == list(case.found)
    if not found:
        rebase_over(ours, BASE, [log], nodes, ConflictDetector(), object_id(9))
        return
    before = ours.to_bytes()
    with pytest.raises(RebaseFailedError) as raised:
        rebase_over(ours, BASE, [log], nodes, ConflictDetector(), object_id(9))
    assert raised.value.conflicts == found
    assert raised.value.kind == ErrorKind.REBASE_FAILED
    assert ours.to_bytes() == before


def test_table_is_covered() -> None:
    """Every kind of conflict except that of moves has a case here, so that the rules stay tested."""
    covered = {found[0] for case in CASES.values() for found in case.found}
    assert covered == {rule.conflict_type for rule in RULES} - {T.MoveOperationCannotBeRebased}


def test_their_moves_stop_everything() -> None:
    """A commit that moved nodes cannot be passed, whatever the session did."""
    log = TransactionLog(object_id(9), moves=(Move("/a", "/z", node_id(2), True),))
    found = detect(session([chunk("/b", 0)]), BASE, log, BASE)
    assert found == [Conflict(T.MoveOperationCannotBeRebased, "")]
    with pytest.raises(RebaseFailedError):
        rebase_over(session([chunk("/b", 0)]), BASE, [log], BASE, BasicConflictSolver(), object_id(9))


def test_our_moves_pass_over_changes_of_content() -> None:
    """A session that moves nodes can pass commits that only change content, and moves the changed nodes."""
    ours = ChangeSet()
    ours._place("/a", None)
    ours._place("/z", array(2, "/z"))
    ours.moved[node_id(2)] = Move("/a", "/z", node_id(2), True)
    log, nodes = commit([write("/a", array_json((9,))), chunk("/b", 0)])
    moved = rebase_over(ours, BASE, [log], nodes, ConflictDetector(), object_id(9))
    assert seen(moved, nodes)["/z"] == array_json((9,))
    assert "/a" not in seen(moved, nodes)
    log, nodes = commit([write("/z", group_json())])
    with pytest.raises(RebaseFailedError):
        rebase_over(ours, BASE, [log], nodes, ConflictDetector(), object_id(9))


def test_same_chunks_are_found_in_large_logs() -> None:
    """Cutting a large log to the session's bounding box loses nothing."""
    many = ChangeSet()
    for index in range(1000):
        many.set_chunk(node_id(2), (index,), inline("theirs"))
    log = build_transaction_log(many, object_id(9))
    (found,) = detect(session([chunk("/a", 0), chunk("/a", 2)]), BASE, log, BASE)
    assert found.conflicted_chunks == [[0], [2]]


# --- solvers ---------------------------------------------------------------------------

TWO = (
    (chunk("/a", 1, "ours"), chunk("/a", 0, "ours"), chunk("/a", 3, "ours")),
    (chunk("/a", 1), chunk("/a", 0)),
)


def test_basic_solver_keeps_our_chunks() -> None:
    """By default the session's chunks win."""
    changes, _ = rebased(*TWO, BasicConflictSolver())
    assert set(changes.chunks[node_id(2)]) == {(0,), (1,), (3,)}


def test_basic_solver_takes_their_chunks() -> None:
    """Only the chunks in conflict go; what is left of the session is committed, be it nothing."""
    solver = BasicConflictSolver(on_chunk_conflict=THEIRS)
    changes, _ = rebased(*TWO, solver)
    assert set(changes.chunks[node_id(2)]) == {(3,)}
    changes, _ = rebased(TWO[0][:1], TWO[1], solver)
    assert changes.chunks == {node_id(2): {}}
    assert not changes.is_empty()


@pytest.mark.parametrize("path", ["/a", "/g"])
def test_basic_solver_still_deletes(path: str) -> None:
    """Deleting what they changed stays a deletion, unless told to fail."""
    theirs = (write("/a", array_json(v=1)), write("/g", group_json(v=1)))
    changes, nodes = rebased((delete(path),), theirs, BasicConflictSolver())
    assert path not in seen(changes, nodes)
    strict = BasicConflictSolver(fail_on_delete_of_updated_array=True, fail_on_delete_of_updated_group=True)
    with pytest.raises(RebaseFailedError):
        rebased((delete(path),), theirs, strict)


def test_unsolvable_reports_all() -> None:
    """One unsolvable conflict fails the rebase, and the solvable ones are listed with it."""
    ours = (chunk("/a", 1), write("/g", group_json(v=3)))
    with pytest.raises(RebaseFailedError) as raised:
        rebased(ours, (chunk("/a", 1), write("/g", group_json(v=1))), BasicConflictSolver())
    assert {c.conflict_type for c in raised.value.conflicts} == {
        T.ZarrMetadataDoubleUpdate,
        T.ChunkDoubleUpdate,
    }


def test_own_solver() -> None:
    """A solver of one's own decides conflict by conflict; choices that do not exist fail."""

    class Mine(ConflictSolver):
        def select(self, conflict: Conflict) -> VersionSelection:
            return THEIRS if conflict.path == "/a" else FAIL

    changes, _ = rebased((chunk("/a", 1),), (chunk("/a", 1),), Mine())
    assert changes.chunks == {node_id(2): {}}
    with pytest.raises(RebaseFailedError):
        rebased((chunk("/b", 1),), (chunk("/b", 1),), Mine())
    with pytest.raises(RebaseFailedError):
        rebased((write("/a", array_json(v=1)),), (write("/a", array_json(v=2)),), Mine())


# --- after a rebase ----------------------------------------------------------------------


def test_pruned_logs_count_too() -> None:
    """Commits that expired from the history can conflict through their logs."""
    pruned, _ = commit([chunk("/a", 0)])
    own, nodes = commit([chunk("/b", 0)])
    ours = session([chunk("/a", 0)])
    with pytest.raises(RebaseFailedError):
        rebase_over(ours, BASE, [pruned, own], nodes, ConflictDetector(), object_id(9))
    rebase_over(ours, BASE, [own], nodes, ConflictDetector(), object_id(9))


def test_node_they_replaced_is_not_deleted() -> None:
    """A session that deleted a node does not delete the one that the other commit made in its place."""
    changes, nodes = rebased(
        (delete("/a"),), (delete("/a"), write("/a", array_json(v=2))), ConflictDetector()
    )
    assert seen(changes, nodes)["/a"] == array_json(v=2)


def test_two_replacements_of_one_node_conflict() -> None:
    """Both replaced a node: accepting both would leave two nodes at one path."""
    with pytest.raises(RebaseFailedError) as raised:
        rebased(
            (delete("/a"), write("/a", array_json(v=1))),
            (delete("/a"), write("/a", array_json(v=2))),
            BasicConflictSolver(),
        )
    assert [c.conflict_type for c in raised.value.conflicts] == [T.NewNodeConflictsWithExistingNode]


def test_their_nodes_show_after_a_rebase() -> None:
    """Ours on top of theirs: both sides' nodes are there, our metadata wins where only we changed it."""
    changes, nodes = rebased(
        (write("/g", group_json(v=1)), write("/n", array_json())),
        (write("/m", array_json()), write("/b", array_json(v=2)), chunk("/a", 0)),
        ConflictDetector(),
    )
    shown = seen(changes, nodes)
    assert {"/n", "/m"} <= shown.keys()
    assert (shown["/g"], shown["/b"]) == (group_json(v=1), array_json(v=2))


# --- the oracle --------------------------------------------------------------------------

SOLVERS: dict[str, Callable[[], tuple[ConflictSolver, object]]] = {
    "detector": lambda: (ConflictDetector(), peer.icechunk().ConflictDetector()),
    "ours": lambda: (BasicConflictSolver(), peer.icechunk().BasicConflictSolver()),
    "theirs": lambda: (
        BasicConflictSolver(on_chunk_conflict=THEIRS),
        peer.icechunk().BasicConflictSolver(on_chunk_conflict=peer.icechunk().VersionSelection.UseTheirs),
    ),
    "strict": lambda: (
        BasicConflictSolver(
            on_chunk_conflict=FAIL, fail_on_delete_of_updated_array=True, fail_on_delete_of_updated_group=True
        ),
        peer.icechunk().BasicConflictSolver(
            on_chunk_conflict=peer.icechunk().VersionSelection.Fail,
            fail_on_delete_of_updated_array=True,
            fail_on_delete_of_updated_group=True,
        ),
    ),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.skipif(not peer.available(), reason="needs icechunk 2.3")
def test_agrees_with_icechunk(name: str, solver: str) -> None:
    """Icechunk finds the same conflicts, fails on the same ones and shows the same nodes afterwards."""
    case = CASES[name]
    our_solver, peer_solver = SOLVERS[solver]()
    expected = peer.rebase(list(BASE), case.ours, case.theirs, peer_solver)
    try:
        changes, nodes = rebased(case.ours, case.theirs, our_solver)
    except RebaseFailedError as error:
        found = sorted((c.conflict_type.name, c.path, c.conflicted_chunks) for c in error.conflicts)
        assert expected == ("conflicts", found)
    else:
        assert expected == ("nodes", seen(changes, nodes))


CONTENT = st.sampled_from([array_json(), array_json(v=1), group_json(), group_json(v=1)])
STEPS = st.lists(
    st.one_of(
        st.builds(write, st.sampled_from(["/a", "/g", "/g/x", "/g/n", "/a/n", "/n", "/"]), CONTENT),
        st.builds(delete, st.sampled_from(["/a", "/g", "/g/x", "/n"])),
        st.builds(
            chunk, st.sampled_from(["/a", "/g/x", "/n"]), st.integers(0, 2), st.sampled_from(["x", None])
        ),
    ),
    max_size=5,
)


def possible(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps without those that the session would refuse."""
    changes, done = ChangeSet(), []
    for step in steps:
        node = changes.node(step.path, BASE)
        if step.what == "chunk" and (node is None or not node.is_array):
            continue
        try:
            step.here(changes)
        except AlreadyExistsError:
            continue
        done.append(step)
    return tuple(done)


def replaced_twice(ours: Sequence[Step], theirs: Sequence[Step]) -> bool:
    """Whether both replaced one node of the base; Icechunk then keeps two nodes at one path."""
    return bool(set(session(ours).created.values()) & set(session(theirs).created.values()) & {*BASE.paths()})


@given(STEPS.map(possible), STEPS.map(possible), st.sampled_from(sorted(SOLVERS)))
@settings(max_examples=150, deadline=None)
@pytest.mark.skipif(not peer.available(), reason="needs icechunk 2.3")
def test_random_rebases_agree_with_icechunk(
    ours: tuple[Step, ...], theirs: tuple[Step, ...], solver: str
) -> None:
    """Random pairs of sessions: same conflicts or same nodes as in Icechunk."""
    assume(not session(theirs).is_empty())
    assume(not replaced_twice(ours, theirs))
    our_solver, peer_solver = SOLVERS[solver]()
    expected = peer.rebase(list(BASE), ours, theirs, peer_solver)
    try:
        changes, nodes = rebased(ours, theirs, our_solver)
    except RebaseFailedError as error:
        found = sorted((c.conflict_type.name, c.path, c.conflicted_chunks) for c in error.conflicts)
        assert expected == ("conflicts", found)
    else:
        assert expected == ("nodes", seen(changes, nodes))
