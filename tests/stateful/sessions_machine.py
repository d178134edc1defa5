"""Several sessions on one branch of a repository in memory, against a model of who clashes with whom.

The model keeps nodes by identity (a number per creation), each session's changes, and what every
commit did. From the rules of FORMAT.md, section 17.4, it says whether a rebase must fail, and what
the branch must hold when it does not.
"""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import pytest
from attrs import define, field, frozen
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import icechunk_core as ic
from tests.interop.implementations import contents, delete, put
from tests.interop.nodes import array_json

SESSIONS = 3
CHUNKS = 2
NUMBERS = st.integers(0, SESSIONS - 1)
PATHS = ("x", "y", "g", "g/x")
ACTIONS = ("write", "write", "empty", "update", "create", "delete")

Luck = tuple[str, str, int, bool] | None
LUCK = st.none() | st.tuples(
    st.sampled_from(ACTIONS), st.sampled_from(PATHS), st.integers(0, CHUNKS - 1), st.booleans()
)


@define
class Node:
    """A node: its identity, document, and chunks if it is an array."""

    identity: int
    document: bytes
    chunks: dict[int, bytes] | None


Tree = dict[str, Node]


@define
class Changes:
    """What a session has done since its base, by the nodes' identity."""

    created: dict[int, str] = field(factory=dict)
    deleted: dict[int, str] = field(factory=dict)
    updated: set[int] = field(factory=set)
    chunks: dict[int, set[int]] = field(factory=dict)

    def any(self) -> bool:
        return bool(self.created or self.deleted or self.updated or self.chunks)


@frozen
class Version:
    """A commit: what it did, and what it holds."""

    changes: Changes
    tree: Tree


@define
class Writer:
    """A session and what the model knows about it."""

    session: Any
    base: int
    tree: Tree
    changes: Changes = field(factory=Changes)


def clashes(mine: Changes, theirs: Version) -> bool:
    """Whether a rebase of these changes over that commit has any conflict."""
    did, tree = theirs.changes, theirs.tree
    for path in mine.created.values():
        if path in tree and tree[path].identity not in mine.deleted:
            return True
    if mine.updated & (did.updated | did.deleted.keys()):
        return True
    for identity, coords in mine.chunks.items():
        if identity in did.deleted or identity in did.updated or coords & did.chunks.get(identity, set()):
            return True
    for identity, path in mine.deleted.items():
        now = tree[path].identity if path in tree else identity
        if {identity, now} & (did.updated | did.chunks.keys()):
            return True
    return False


def laid_over(mine: Writer, theirs: Tree) -> Tree:
    """What the session shows on top of another base."""
    result = copy.deepcopy(theirs)
    changes = mine.changes
    for path, node in list(result.items()):
        if node.identity in changes.deleted:
            del result[path]
    for path, node in mine.tree.items():
        if node.identity in changes.created:
            result[path] = copy.deepcopy(node)
            continue
        at = next((n for n in result.values() if n.identity == node.identity), None)
        if at is None:
            continue  # they deleted it, and the session had no changes there
        if node.identity in changes.updated:
            at.document = node.document
        for coord in changes.chunks.get(node.identity, ()):
            assert at.chunks is not None
            assert node.chunks is not None
            at.chunks.pop(coord, None)
            if coord in node.chunks:
                at.chunks[coord] = node.chunks[coord]
    return result


def as_keys(tree: Tree) -> dict[str, bytes]:
    """The keys and bytes that a store shows."""
    keys = {}
    for path, node in tree.items():
        keys[f"{path}/zarr.json".lstrip("/")] = node.document
        for coord, value in (node.chunks or {}).items():
            keys[f"{path}/c/{coord}"] = value
    return keys


class SessionsMachine(RuleBasedStateMachine):
    """See the module."""

    @initialize(spec_version=st.sampled_from([1, 2]))
    def start(self, spec_version: int) -> None:
        config = ic.RepositoryConfig(inline_chunk_threshold_bytes=4)
        version = ic.SpecVersion(spec_version)
        self.repo = ic.Repository.create(ic.in_memory_storage(), config, spec_version=version)
        self.identities = itertools.count()
        self.serial = itertools.count()
        self.versions: list[Version] = [Version(Changes(), {})]
        self.ids: list[str] = [self.repo.lookup_branch("main")]
        self.writers = [self.new_writer()]
        for path in PATHS:
            self.create(self.writers[0], path, group=False)
            if path != "g":
                self.change_chunk(self.writers[0], path, 0, large=True, written=True)
        self.commit(0, rebase=False)
        self.writers = [self.new_writer() for _ in range(SESSIONS)]

    def new_writer(self) -> Writer:
        session = self.repo.writable_session("main")
        return Writer(session, len(self.versions) - 1, copy.deepcopy(self.versions[-1].tree))

    # --- changes

    @rule(number=NUMBERS, first=LUCK, second=LUCK)
    def change(self, number: int, first: Luck, second: Luck) -> None:
        """One or two changes in a session."""
        for luck in (first, second):
            if luck is not None:
                self.make_one(self.writers[number], *luck)

    @rule(mine=LUCK, theirs=LUCK, number=NUMBERS)
    def race(self, mine: Luck, theirs: Luck, number: int) -> None:
        """Two sessions change something in the same version, one commits, the other is rebased."""
        other = (number + 1) % SESSIONS
        for index, luck in ((number, mine), (other, theirs)):
            self.writers[index] = self.new_writer()
            if luck is not None:
                self.make_one(self.writers[index], *luck)
        self.commit(other, rebase=False)
        self.rebase(number)

    def make_one(self, writer: Writer, action: str, leaf: str, coord: int, large: bool) -> None:
        arrays = [path for path, node in writer.tree.items() if node.chunks is not None]
        if action in {"write", "empty"} and arrays:
            path = leaf if leaf in arrays else arrays[coord % len(arrays)]
            self.change_chunk(writer, path, coord, large=large, written=action == "write")
        elif leaf in writer.tree and action == "delete":
            self.delete_node(writer, leaf)
        elif leaf in writer.tree:
            self.update(writer, leaf)
        else:
            self.create(writer, leaf, group=large and "/" not in leaf)

    def create(self, writer: Writer, path: str, *, group: bool) -> None:
        if "/" in path and "g" not in writer.tree:
            path = "g"
        group = group or path == "g"
        document = json.dumps({"zarr_format": 3, "node_type": "group"}).encode()
        if not group:
            document = array_json((CHUNKS,), (1,))
        identity = next(self.identities)
        put(writer.session, {f"{path}/zarr.json": document})
        writer.tree[path] = Node(identity, document, None if group else {})
        writer.changes.created[identity] = path

    def update(self, writer: Writer, path: str) -> None:
        node = writer.tree[path]
        document = json.loads(node.document)
        document["attributes"] = {"n": next(self.serial)}
        node.document = json.dumps(document).encode()
        put(writer.session, {f"{path}/zarr.json": node.document})
        if node.identity not in writer.changes.created:
            writer.changes.updated.add(node.identity)

    def change_chunk(self, writer: Writer, path: str, coord: int, *, large: bool, written: bool) -> None:
        node = writer.tree[path]
        assert node.chunks is not None
        if written:
            # Large ones are not inlined.
            value = b"%d" % next(self.serial) * (600 if large else 1)
            put(writer.session, {f"{path}/c/{coord}": value})
            node.chunks[coord] = value
        else:
            delete(writer.session, [f"{path}/c/{coord}"])
            # A change also where there is no chunk: fill values are wanted there.
            node.chunks.pop(coord, None)
        writer.changes.chunks.setdefault(node.identity, set()).add(coord)

    def delete_node(self, writer: Writer, path: str) -> None:
        delete(writer.session, [f"{path}/zarr.json"])
        changes = writer.changes
        for below in [p for p in writer.tree if p == path or p.startswith(path + "/")]:
            identity = writer.tree.pop(below).identity
            changes.updated.discard(identity)
            changes.chunks.pop(identity, None)
            if changes.created.pop(identity, None) is None:
                changes.deleted[identity] = below

    @rule(number=NUMBERS)
    def discard(self, number: int) -> None:
        writer = self.writers[number]
        writer.session.discard_changes()
        writer.tree = copy.deepcopy(self.versions[writer.base].tree)
        writer.changes = Changes()

    # --- commits

    @rule(number=NUMBERS, rebase=st.booleans())
    def commit(self, number: int, rebase: bool) -> None:
        """Commit as it is: works only from the tip; or with rebasing: works only without clashes."""
        writer = self.writers[number]
        if not writer.changes.any():
            assert not writer.session.has_uncommitted_changes
            return
        solver = ic.ConflictDetector() if rebase else None
        clash = self.pass_over(writer) if rebase else None
        if clash or writer.base != len(self.versions) - 1:
            expected = ic.RebaseFailedError if clash else ic.ConflictError
            with pytest.raises(expected):
                writer.session.commit("clash", rebase_with=solver)
            return
        self.ids.append(writer.session.commit("commit", rebase_with=solver))
        self.versions.append(Version(writer.changes, writer.tree))
        assert writer.session.read_only
        self.writers[number] = self.new_writer()
        assert self.repo.lookup_branch("main") == self.ids[-1]

    @rule(number=NUMBERS)
    def rebase(self, number: int) -> None:
        """Without clashes the session ends on the tip, else on the last version that it could pass."""
        writer = self.writers[number]
        if self.pass_over(writer):
            with pytest.raises(ic.RebaseFailedError):
                writer.session.rebase(ic.ConflictDetector())
        else:
            writer.session.rebase(ic.ConflictDetector())
        assert writer.session.snapshot_id == self.ids[writer.base]

    def pass_over(self, writer: Writer) -> bool:
        """Move the model of a session over the newer versions, up to the first that it clashes with."""
        while writer.base < len(self.versions) - 1:
            following = self.versions[writer.base + 1]
            if clashes(writer.changes, following):
                return True
            writer.tree = laid_over(writer, following.tree)
            writer.base += 1
        return False

    @rule(number=NUMBERS)
    def look(self, number: int) -> None:
        """A session shows its own changes over its base."""
        writer = self.writers[number]
        assert contents(writer.session.store) == as_keys(writer.tree)

    @precondition(lambda self: len(self.versions) > 1)
    @rule(data=st.data())
    def look_at_a_version(self, data: st.DataObject) -> None:
        """Committed versions never change."""
        at = data.draw(st.integers(0, len(self.versions) - 1))
        session = self.repo.readonly_session(snapshot_id=self.ids[at])
        assert contents(session.store) == as_keys(self.versions[at].tree)

    def teardown(self) -> None:
        if hasattr(self, "repo"):
            assert [info.id for info in self.repo.ancestry(branch="main")] == self.ids[::-1]
            for writer in self.writers:
                assert contents(writer.session.store) == as_keys(writer.tree)
