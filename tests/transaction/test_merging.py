"""Uniting the change sets of forks and distributed writers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk_core.errors import ErrorKind, SessionStateError
from icechunk_core.format.snapshot import NodeTable
from icechunk_core.format.transaction_log import Move
from icechunk_core.transaction.change_set import ChangeSet
from tests.transaction.model import array, array_json, group, group_json, inline, node_id, put, seen

BASE = NodeTable.from_nodes([group(1, "/"), array(2, "/a"), array(3, "/b"), group(4, "/g"), array(5, "/g/x")])


def made(*steps: Callable[[ChangeSet], object]) -> ChangeSet:
    """A change set over BASE after some steps."""
    changes = ChangeSet()
    for step in steps:
        step(changes)
    return changes


def write(path: str, data: bytes) -> Callable[[ChangeSet], object]:
    return lambda changes: put(changes, BASE, path, data)


def delete(path: str) -> Callable[[ChangeSet], object]:
    return lambda changes: changes.delete_node(path, BASE)


def chunk(path: str, coord: int, text: str | None) -> Callable[[ChangeSet], object]:
    def step(changes: ChangeSet) -> None:
        node = changes.node(path, BASE)
        assert node is not None
        changes.set_chunk(node.id, (coord,), None if text is None else inline(text))

    return step


def test_union() -> None:
    """Creations, updates, deletions and chunks of both sides are all there."""
    ours = made(write("/n", array_json()), chunk("/a", 0, "ours"))
    ours.merge(
        made(write("/m", group_json()), delete("/b"), write("/g", group_json(v=1)), chunk("/a", 1, "theirs"))
    )
    assert list(seen(ours, BASE)) == ["/", "/a", "/g", "/g/x", "/m", "/n"]
    assert ours.chunks[node_id(2)] == {(0,): inline("ours"), (1,): inline("theirs")}
    assert seen(ours, BASE)["/g"] == group_json(v=1)


def test_same_chunk_the_other_wins() -> None:
    """Where both wrote a chunk the merged one counts; a deletion is a write."""
    ours = made(chunk("/a", 0, "ours"), chunk("/a", 1, "ours"))
    ours.merge(made(chunk("/a", 0, "theirs"), chunk("/a", 1, None)))
    assert ours.chunks[node_id(2)] == {(0,): inline("theirs"), (1,): None}


def test_the_same_array_made_twice_is_one() -> None:
    """Workers that each made the same array end up with one array that has the chunks of all."""
    ours = made(write("/n", array_json()), chunk("/n", 0, "ours"))
    other = made(write("/n", array_json()), chunk("/n", 1, "theirs"))
    for _ in range(2):
        ours.merge(ChangeSet.from_bytes(other.to_bytes()))
    (used,) = ours.created
    assert ours.chunks == {used: {(0,): inline("ours"), (1,): inline("theirs")}}


def test_unification_can_be_switched_off() -> None:
    """Without it two creations of one path are a clash even if they are identical."""
    ours, other = made(write("/n", array_json())), made(write("/n", array_json()))
    with pytest.raises(SessionStateError, match="/n"):
        ours.merge(other, unify_created=False)


CLASHES = {
    "deleted and replaced": ([delete("/a")], [delete("/a"), write("/a", array_json(v=1))], "/a"),
    "replaced and deleted": ([delete("/g"), write("/g", group_json())], [delete("/g")], "/g"),
    "different arrays": ([write("/n", array_json())], [write("/n", array_json(v=1))], "/n"),
    "array and group": ([write("/n", array_json())], [write("/n", group_json())], "/n"),
    "metadata of an array": ([write("/a", array_json(v=1))], [write("/a", array_json(v=2))], "/a"),
    "metadata of a group": ([write("/g", group_json(v=1))], [write("/g", group_json(v=2))], "/g"),
    "deleted and chunks": ([delete("/a")], [chunk("/a", 0, "x")], "/a"),
    "chunks and deleted": ([chunk("/g/x", 0, "x")], [delete("/g")], "/g/x"),
    "metadata and deleted": ([write("/a", array_json(v=1))], [delete("/a")], "/a"),
    "updated and replaced": (
        [write("/a", array_json(v=1))],
        [delete("/a"), write("/a", array_json(v=1))],
        "/a",
    ),
}


@pytest.mark.parametrize("case", CLASHES)
def test_clashes_change_nothing(case: str) -> None:
    """What cannot be united is refused, names the path, and leaves our changes as they were."""
    first, second, path = CLASHES[case]
    ours, other = made(*first), made(chunk("/b", 1, "more"), *second)
    before = ours.to_bytes()
    with pytest.raises(SessionStateError, match=path) as raised:
        ours.merge(other)
    assert raised.value.kind == ErrorKind.MERGE_FAILED
    assert ours.to_bytes() == before


def test_agreeing_changes_do_not_clash() -> None:
    """The same metadata, or the same deletion, on both sides is fine."""
    ours = made(write("/g", group_json(v=1)), delete("/b"))
    ours.merge(made(write("/g", group_json(v=1)), delete("/b")))
    assert list(seen(ours, BASE)) == ["/", "/a", "/g", "/g/x"]


def test_created_in_a_group_that_the_other_deleted() -> None:
    """A node made inside a group survives that group's deletion by the other side."""
    ours = made(delete("/g"))
    ours.merge(made(write("/g/y", array_json())))
    assert list(seen(ours, BASE)) == ["/", "/a", "/b", "/g/y"]


def test_replaced_alike_by_both() -> None:
    """Both replaced a node by the same new one: that is one replacement."""
    steps = [delete("/a"), write("/a", array_json(v=1))]
    ours, other = made(*steps, chunk("/a", 0, "ours")), made(*steps, chunk("/a", 1, "theirs"))
    for _ in range(2):
        ours.merge(other)
    (used,) = ours.created
    assert ours.chunks[used].keys() == {(0,), (1,)}
    assert ours.deleted.keys() == {node_id(2)}


def test_sessions_that_move_nodes_do_not_merge() -> None:
    """Moves cannot be united with anything."""
    moving = ChangeSet()
    moving.moved[node_id(2)] = Move("/a", "/z", node_id(2), True)
    with pytest.raises(SessionStateError) as raised:
        ChangeSet().merge(moving)
    assert raised.value.kind == ErrorKind.MERGE_NOT_ALLOWED


STEPS = st.lists(
    st.one_of(
        st.builds(write, st.sampled_from(["/n", "/g/n", "/a", "/b"]), st.just(array_json())),
        st.builds(write, st.sampled_from(["/g", "/m"]), st.sampled_from([group_json(), group_json(v=1)])),
        st.builds(delete, st.sampled_from(["/a", "/b", "/g"])),
    ),
    max_size=4,
)


@given(STEPS, STEPS, st.integers(0, 3))
@settings(deadline=None)
def test_merging_twice_is_merging_once(
    first: list[Callable[[ChangeSet], object]], second: list[Callable[[ChangeSet], object]], coord: int
) -> None:
    """The same bytes merged again change nothing more, whether or not they were accepted."""

    def build(steps: list[Callable[[ChangeSet], object]]) -> ChangeSet:
        changes = ChangeSet()
        for step in steps:
            try:
                step(changes)
            except SessionStateError:
                continue
        for node in list(changes.nodes("/", BASE)):
            if node.is_array:
                changes.set_chunk(node.id, (coord,), inline(node.path))
        return changes

    ours, other = build(first), build(second).to_bytes()
    results = []
    for _ in range(2):
        try:
            ours.merge(ChangeSet.from_bytes(other))
        except SessionStateError as error:
            results.append(str(error))
        else:
            results.append("merged")
        results.append(ours.to_bytes().hex())
    assert results[:2] == results[2:]
