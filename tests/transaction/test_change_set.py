"""What a session sees through its change set."""

from __future__ import annotations

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from icechunk_core.errors import AlreadyExistsError, ErrorKind
from icechunk_core.format.snapshot import ManifestRef, NodeTable
from icechunk_core.transaction.change_set import MISSING, ChangeSet
from tests.transaction.model import (
    array,
    array_json,
    below,
    group,
    group_json,
    inline,
    node_id,
    object_id,
    put,
    seen,
)

MANIFESTS = (ManifestRef(object_id(1), ((0, 4),)),)


@pytest.fixture
def base() -> NodeTable:
    """A root group, an array with a manifest, a group with an array and an empty group in it."""
    return NodeTable.from_nodes(
        [
            group(1, "/"),
            array(2, "/a", manifests=MANIFESTS),
            group(3, "/g"),
            array(4, "/g/x"),
            group(5, "/g/h"),
            array(6, "/g-1"),
        ]
    )


def test_untouched_nodes_come_from_the_base(base: NodeTable) -> None:
    """An empty change set shows exactly the base, and is empty."""
    changes = ChangeSet()
    assert changes.is_empty()
    assert changes.node("/a", base) == base.get("/a")
    assert changes.node("/nothing", base) is None
    assert list(changes.nodes("/", base)) == list(base)


def test_create(base: NodeTable) -> None:
    """A new node is visible at once, without chunks, and parents need not exist."""
    changes = ChangeSet()
    new = put(changes, base, "/p/q", array_json((3,)))
    node = changes.node("/p/q", base)
    assert node is not None
    assert node.array is not None
    assert (node.id, node.array.num_chunks, node.array.manifests) == (new, (3,), ())
    assert changes.created == {new: "/p/q"}
    assert changes.node("/p", base) is None
    assert not changes.is_empty()


def test_update_keeps_id_and_manifests(base: NodeTable) -> None:
    """New metadata of a stored array changes its shape but neither its id nor where its old chunks are."""
    changes = ChangeSet()
    assert put(changes, base, "/a", array_json((9,))) == node_id(2)
    node = changes.node("/a", base)
    assert node is not None
    assert node.array is not None
    assert (node.array.num_chunks, node.array.manifests) == ((9,), MANIFESTS)
    assert changes.updated == {node_id(2): "/a"}
    assert not changes.created


def test_updated_array_follows_the_base_it_is_read_over(base: NodeTable) -> None:
    """After a rebase the manifests of an updated array are those of the new base."""
    changes = ChangeSet()
    put(changes, base, "/a", array_json((9,)))
    other = (ManifestRef(object_id(77), ((0, 4),)),)
    rebased = NodeTable.from_nodes([array(2, "/a", manifests=other)])
    for table, expected in ((base, MANIFESTS), (rebased, other), (base, MANIFESTS)):
        node = changes.node("/a", table)
        assert node is not None
        assert node.array is not None
        assert node.array.manifests == expected


def test_identical_bytes_are_no_change(base: NodeTable) -> None:
    """Writing the stored zarr.json again leaves nothing to commit."""
    changes = ChangeSet()
    put(changes, base, "/a", array_json((4,)))
    put(changes, base, "/g", group_json())
    assert changes.is_empty()


@pytest.mark.parametrize(("path", "data"), [("/g", array_json()), ("/a", group_json())])
def test_type_of_a_node_cannot_change(base: NodeTable, path: str, data: bytes) -> None:
    """An array cannot be written over a group, nor the other way round; nothing changes."""
    changes = ChangeSet()
    with pytest.raises(AlreadyExistsError, match=path) as raised:
        put(changes, base, path, data)
    assert raised.value.kind == ErrorKind.NODE_ALREADY_EXISTS
    assert changes.is_empty()


def test_delete_array_and_group(base: NodeTable) -> None:
    """Deleting a group takes everything below it, but not what merely starts with the same text."""
    changes = ChangeSet()
    assert changes.delete_node("/g", base)
    assert set(seen(changes, base)) == {"/", "/a", "/g-1"}
    assert {node.path for node in changes.deleted.values()} == {"/g", "/g/x", "/g/h"}
    assert not changes.delete_node("/g", base)
    assert not changes.delete_node("/nothing", base)


def test_deleting_an_array_spares_nodes_below_it(base: NodeTable) -> None:
    """Below an array there may be nodes; deleting the array is not deleting them."""
    changes = ChangeSet()
    put(changes, base, "/a/b", group_json())
    changes.delete_node("/a", base)
    assert "/a/b" in seen(changes, base)


def test_created_and_deleted_leaves_no_trace(base: NodeTable) -> None:
    """A node made and deleted in one session, and its chunks, are nothing to commit."""
    changes = ChangeSet()
    new = put(changes, base, "/n", array_json())
    changes.set_chunk(new, (0,), inline("x"))
    changes.delete_node("/n", base)
    assert changes.is_empty()
    assert changes.node("/n", base) is None


def test_delete_forgets_updates_and_chunks(base: NodeTable) -> None:
    """Of a stored node that is deleted only the deletion remains."""
    changes = ChangeSet()
    put(changes, base, "/a", array_json((9,)))
    changes.set_chunk(node_id(2), (0,), inline("x"))
    changes.delete_node("/a", base)
    assert not changes.updated
    assert not changes.chunks
    assert list(changes.deleted) == [node_id(2)]


def test_deleted_and_created_again(base: NodeTable) -> None:
    """A node made where another was deleted has a new id and none of its chunks."""
    changes = ChangeSet()
    changes.delete_node("/a", base)
    new = put(changes, base, "/a", array_json())
    assert new != node_id(2)
    assert changes.deleted.keys() == {node_id(2)}
    node = changes.node("/a", base)
    assert node is not None
    assert node.array is not None
    assert node.array.manifests == ()
    changes.delete_node("/a", base)
    assert changes.node("/a", base) is None
    assert not changes.created


def test_chunks() -> None:
    """A chunk is the session's ref, None if deleted, MISSING if the base has to be asked."""
    changes = ChangeSet()
    changes.set_chunk(node_id(2), (0, 1), inline("x"))
    changes.set_chunk(node_id(2), (0, 2), None)
    assert changes.chunk(node_id(2), (0, 1)) == inline("x")
    assert changes.chunk(node_id(2), (0, 2)) is None
    assert changes.chunk(node_id(2), (0, 3)) is MISSING
    assert changes.chunk(node_id(9), (0, 1)) is MISSING
    assert dict(changes.chunk_changes(node_id(2))) == {(0, 1): inline("x"), (0, 2): None}
    assert not changes.chunk_changes(node_id(9))


def test_chunks_survive_a_shrink_that_is_undone(base: NodeTable) -> None:
    """Chunks outside a shrunk grid are dropped at commit, not when the metadata is written."""
    changes = ChangeSet()
    changes.set_chunk(node_id(2), (3,), inline("x"))
    put(changes, base, "/a", array_json((2,)))
    put(changes, base, "/a", array_json((4,), note="again"))
    assert changes.chunk(node_id(2), (3,)) == inline("x")


def test_clear_discard_copy(base: NodeTable) -> None:
    """`clear` deletes every node, `copy` is independent, `discard` forgets everything."""
    changes = ChangeSet()
    put(changes, base, "/n", array_json())
    twin = changes.copy()
    changes.clear(base)
    assert seen(changes, base) == {}
    assert len(changes.deleted) == len(base)
    assert "/n" in seen(twin, base)
    twin.set_chunk(node_id(2), (0,), None)
    assert not changes.chunks
    changes.discard()
    assert changes.is_empty()
    assert list(changes.nodes("/", base)) == list(base)


def test_listing_is_stable_while_the_session_changes(base: NodeTable) -> None:
    """A listing under way neither fails nor loses stored nodes when the session writes meanwhile."""
    changes = ChangeSet()
    put(changes, base, "/b", group_json())
    listing = changes.nodes("/", base)
    first = [next(listing).path]
    put(changes, base, "/g/x", array_json((9,)))
    put(changes, base, "/zz", group_json())
    assert {*first, *(node.path for node in listing)} >= {"/", "/a", "/b", "/g", "/g/x", "/g/h", "/g-1"}


def test_reading_while_another_thread_writes(base: NodeTable) -> None:
    """A reader without a lock sees, in order, every node that was written before it looked."""
    changes, written = ChangeSet(), list[str]()

    def write() -> None:
        for number in range(400):
            path = f"/g/n{number:03}"
            put(changes, base, path, group_json())
            put(changes, base, "/a", array_json((number + 1,)))
            written.append(path)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(write)
            while not done.done():
                before = list(written)
                shown = [node.path for node in changes.children("/g", base)]
                assert shown == sorted(shown)
                assert {*before, "/g/x", "/g/h"} <= set(shown)
                shape = len(written)
                node = changes.node("/a", base)
                assert node is not None
                assert node.array is not None
                assert node.array.shape >= (shape,)
                assert node.array.manifests == MANIFESTS
            done.result()
    finally:
        sys.setswitchinterval(interval)


NAMES = ["a", "b", "a-", "ab", "é", "0"]
PATHS = ["/"] + [
    "/" + "/".join(parts) for n in (1, 2, 3) for parts in itertools.product(NAMES[: 5 - n], repeat=n)
]


class ChangeSetMachine(RuleBasedStateMachine):
    """Random programs on a change set and on a dict of paths, which must always show the same."""

    @initialize(paths=st.sets(st.sampled_from(PATHS), max_size=12), arrays=st.sets(st.sampled_from(PATHS)))
    def start(self, paths: set[str], arrays: set[str]) -> None:
        nodes = [
            array(number, path) if path in arrays else group(number, path)
            for number, path in enumerate(sorted(paths), start=1)
        ]
        self.base = NodeTable.from_nodes(nodes)
        self.changes = ChangeSet()
        self.model: dict[str, tuple[bytes, bool, bytes]] = {
            node.path: (node.user_data, node.is_array, node.id) for node in nodes
        }
        self.stored = dict(self.model)
        self.chunks: dict[tuple[bytes, tuple[int, ...]], Any] = {}

    @rule(path=st.sampled_from(PATHS), is_array=st.booleans(), version=st.integers(0, 2))
    def write(self, path: str, is_array: bool, version: int) -> None:
        data = array_json((4,), v=version) if is_array else group_json(v=version)
        known = self.model.get(path)
        if known is not None and known[1] is not is_array:
            with pytest.raises(AlreadyExistsError):
                put(self.changes, self.base, path, data)
        else:
            used = put(self.changes, self.base, path, data)
            assert known is None or known[2] == used
            self.model[path] = (data, is_array, used)

    @rule(path=st.sampled_from(PATHS))
    def delete(self, path: str) -> None:
        known = self.model.get(path)
        assert self.changes.delete_node(path, self.base) is (known is not None)
        if known is not None:
            for gone in [path] if known[1] else list(below(self.model, path)):
                del self.model[gone]

    @rule(path=st.sampled_from(PATHS), coord=st.integers(0, 3), text=st.sampled_from(["x", "y", None]))
    def write_chunk(self, path: str, coord: int, text: str | None) -> None:
        known = self.model.get(path)
        if known is not None and known[1]:
            ref = None if text is None else inline(text)
            self.changes.set_chunk(known[2], (coord,), ref)
            self.chunks[known[2], (coord,)] = ref

    @rule()
    def travel(self) -> None:
        """Pickling, forking and copying must change nothing."""
        before = self.changes
        self.changes = ChangeSet.from_bytes(before.to_bytes())
        assert self.changes.to_bytes() == before.to_bytes()
        self.changes = self.changes.copy()

    @invariant()
    def same_nodes(self) -> None:
        """Listing, look-up and order agree with the model."""
        expected = {path: self.model[path][0] for path in sorted(self.model, key=str.encode)}
        assert list(seen(self.changes, self.base).items()) == list(expected.items())
        for path in PATHS:
            node = self.changes.node(path, self.base)
            assert (node and (node.user_data, node.is_array, node.id)) == self.model.get(path)

    @invariant()
    def same_children(self) -> None:
        """Direct children are those paths of the model that have no further slash."""
        for path in ("/", "/a", "/a/b", "/ab"):
            stem = path.rstrip("/") + "/"
            expected = sorted(
                (p for p in self.model if p != "/" and p.startswith(stem) and "/" not in p[len(stem) :]),
                key=str.encode,
            )
            assert [node.path for node in self.changes.children(path, self.base)] == expected

    @invariant()
    def same_subtrees(self) -> None:
        """A subtree is the node and what is below it."""
        for path in ("/a", "/a-", "/b/a"):
            expected = sorted(below(self.model, path), key=str.encode)
            assert [node.path for node in self.changes.nodes(path, self.base)] == expected

    @invariant()
    def same_chunks(self) -> None:
        """Chunks of nodes that still exist are what was last written."""
        alive = {entry[2] for entry in self.model.values()}
        for (used, coord), ref in self.chunks.items():
            assert self.changes.chunk(used, coord) == (ref if used in alive else MISSING)

    @invariant()
    def bookkeeping(self) -> None:
        """Every stored node is untouched, updated or deleted, and all others are created."""
        changes = self.changes
        alive = {entry[2] for entry in self.model.values()}
        stored = {entry[2] for entry in self.stored.values()}
        assert changes.deleted.keys() == stored - alive
        assert changes.created.keys() == alive - stored
        assert changes.updated.keys() <= stored & alive
        changed = {i for p, (d, _, i) in self.model.items() if i in stored and self.stored[p][0] != d}
        assert changed <= changes.updated.keys()


TestChangeSetMachine = ChangeSetMachine.TestCase
TestChangeSetMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(st.sets(st.sampled_from(PATHS), min_size=1), st.sampled_from(PATHS))
def test_children_of_created_nodes(paths: set[str], parent: str) -> None:
    """Children of a node are found among created nodes alone, whatever lies between them in byte order."""
    changes, nothing = ChangeSet(), NodeTable.from_nodes([])
    for path in paths:
        put(changes, nothing, path, group_json())
    stem = parent.rstrip("/") + "/"
    expected = [p for p in paths if p != "/" and p.startswith(stem) and "/" not in p[len(stem) :]]
    assert [node.path for node in changes.children(parent, nothing)] == sorted(expected, key=str.encode)
