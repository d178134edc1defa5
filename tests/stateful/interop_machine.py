"""Random programs that icechunk-core and Icechunk write by turns, against a model of plain dictionaries.

Every change is made twice: in a session of whichever implementation has its turn, and in
zarr's own MemoryStore, which is the model of what the session must hold. After each
commit the *other* implementation opens the directory and must see the model's refs,
history and contents.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from attrs import frozen
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore

from tests.interop.implementations import OURS, contents, create, history, load_peer, open_repo

INITIAL = "1CECHNKREP0F1RSTCMT0"
NAMES = st.sampled_from(["a", "b", "x y", "ünï", "0"])
CHANGES = (
    "create_group", "create_array", "write_region", "delete_chunk", "set_virtual_ref", "resize",
    "set_attributes", "delete_node",
)  # fmt: skip
REF_CHANGES = ("create_branch", "create_tag", "create_tag", "delete_branch", "delete_tag")
REFS = st.sampled_from(["dev", "r1", "r 2"])
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["k", "ключ"]), st.none() | st.integers(-5, 5) | st.text(max_size=3), max_size=2
)
FILE_SIZE = 255

Contents = dict[str, bytes]


@frozen
class Commit:
    """A version as the model knows it."""

    parent: str | None
    message: str
    contents: Contents


class InteropMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.peer = load_peer()
        self.folder = Path(tempfile.mkdtemp(prefix="interop-"))
        self.root = self.folder / "repo"
        self.file = self.folder / "data" / "raw.bin"
        self.file.parent.mkdir()
        self.file.write_bytes(bytes(range(1, FILE_SIZE + 1)))
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.used_tags: set[str] = set()
        self.branch = "main"
        self.number = 0

    def teardown(self) -> None:
        try:
            if self.branches:
                for ic in (OURS, self.peer):
                    self.check(ic, list(self.commits))
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- both implementations

    @property
    def other(self) -> Any:
        return self.peer if self.ic is OURS else OURS

    def open(self, ic: Any) -> Any:
        prefix = f"file://{self.file.parent}/"
        allowed = ic.containers_credentials({prefix: ic.Credentials.LocalFileSystemAccess()})
        return open_repo(ic, self.root, authorize_virtual_chunk_access=allowed)

    def begin(self) -> None:
        """A new session of the implementation whose turn it is, on the current branch."""
        self.session = self.open(self.ic).writable_session(self.branch)
        self.model = MemoryStore()
        fill(self.model, self.commits[self.branches[self.branch]].contents)

    def both(self) -> tuple[Any, MemoryStore]:
        return self.session.store, self.model

    def check(self, ic: Any, snapshots: list[str]) -> None:
        """An implementation sees the model's refs, their histories, and the contents of some versions."""
        repo = self.open(ic)
        assert {name: repo.lookup_branch(name) for name in repo.list_branches()} == self.branches
        assert {name: repo.lookup_tag(name) for name in repo.list_tags()} == self.tags
        for tip in {*self.branches.values(), *self.tags.values()}:
            seen = [(id, parent, message) for id, parent, message, _ in history(repo, snapshot_id=tip)]
            assert seen == self.ancestry(tip)
        for snapshot in snapshots:
            if snapshot in self.commits:
                seen_contents = contents(repo.readonly_session(snapshot_id=snapshot).store)
                assert seen_contents == self.commits[snapshot].contents

    def ancestry(self, tip: str) -> list[tuple[str, str | None, str]]:
        found = []
        at: str | None = tip
        while at is not None:
            commit = self.commits[at]
            found.append((at, commit.parent, commit.message))
            at = commit.parent
        return found

    def paths(self, kind: str) -> list[str]:
        """Paths of the model's groups or arrays, without leading slash."""
        found = []
        for key, value in read(self.model).items():
            if key.endswith("zarr.json") and json.loads(value)["node_type"] == kind:
                found.append(key.removesuffix("zarr.json").rstrip("/"))
        return sorted(found)

    # --- begin

    @initialize(spec_version=st.sampled_from([1, 2]), ours=st.booleans(), split=st.booleans())
    def start(self, spec_version: int, ours: bool, split: bool) -> None:
        self.ic = OURS if ours else self.peer
        self.spec_version = spec_version
        ic = self.ic
        config = ic.RepositoryConfig.default()
        config.inline_chunk_threshold_bytes = 12
        prefix = f"file://{self.file.parent}/"
        store = ic.ObjectStoreConfig.LocalFileSystem(str(self.file.parent))
        config.set_virtual_chunk_container(ic.VirtualChunkContainer(prefix, store))
        if split:
            sizes = {ic.ManifestSplitCondition.AnyArray(): {ic.ManifestSplitDimCondition.Any(): 2}}
            config.manifest = ic.ManifestConfig(splitting=ic.ManifestSplittingConfig.from_dict(sizes))
        repo = create(ic, self.root, spec_version=spec_version, config=config)
        repo.save_config()
        self.commits[INITIAL] = Commit(None, "Repository initialized", {})
        self.branches["main"] = INITIAL
        self.begin()
        for target in self.both():
            root = zarr.create_group(target)
            root.create_array("a", shape=(5, 4), chunks=(2, 3), dtype="u1", compressors=None)[:] = 7
            root.create_array("b/a", shape=(6,), chunks=(2,), dtype="<i4")[:] = 8
        self.commit(switch=False)

    # --- changes

    @rule(actions=st.lists(st.sampled_from(CHANGES), min_size=1, max_size=5), data=st.data())
    def change(self, actions: list[str], data: st.DataObject) -> None:
        """Change something and leave it uncommitted."""
        for action in actions:
            getattr(self, action)(data)
        assert contents(self.session.store) == read(self.model)

    @rule(
        actions=st.lists(st.sampled_from(CHANGES), min_size=1, max_size=4),
        end=st.sampled_from(["commit", "amend", "commit_after_the_other"]),
        switch=st.booleans(),
        data=st.data(),
    )
    def work(self, actions: list[str], end: str, switch: bool, data: st.DataObject) -> None:
        """Change something and commit it in one of the ways there are."""
        self.change(actions, data)
        if end == "commit_after_the_other" and self.puts_nodes_in_a_former_array():
            end = "commit"  # cannot be rebased, in either implementation
        if self.changed():
            getattr(self, end)(switch)

    def puts_nodes_in_a_former_array(self) -> bool:
        """Whether the session has made nodes below a path where its base has an array."""
        base = self.commits[self.branches[self.branch]].contents
        arrays = {
            key.removesuffix("zarr.json")
            for key, value in base.items()
            if key.endswith("/zarr.json") and json.loads(value)["node_type"] == "array"
        }
        nodes = [key for key in read(self.model) if key.endswith("/zarr.json")]
        return any(node.startswith(path) and node != f"{path}zarr.json" for node in nodes for path in arrays)

    def create_group(self, data: st.DataObject) -> None:
        path = self.free_path(data)
        if path:
            attributes = data.draw(ATTRIBUTES, label="attributes")
            for target in self.both():
                zarr.create_group(target, path=path, attributes=attributes)

    def create_array(self, data: st.DataObject) -> None:
        path = self.free_path(data)
        if not path:
            return
        ndim = data.draw(st.integers(0, 3), label="ndim")
        shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=ndim, max_size=ndim), label="shape"))
        chunks = tuple(data.draw(st.lists(st.integers(1, 4), min_size=ndim, max_size=ndim), label="chunks"))
        compressors: Any = data.draw(st.sampled_from(["auto", None]), label="compressors")
        dtype = data.draw(st.sampled_from(["uint8", "<i2"]), label="dtype")
        for target in self.both():
            array = zarr.create_array(
                target, name=path, shape=shape, chunks=chunks, dtype=dtype, fill_value=0,
                compressors=compressors,
            )  # fmt: skip
            array[...] = 1

    def free_path(self, data: st.DataObject) -> str | None:
        """A path for a new node in some group; ``None`` if the name is taken there."""
        name = data.draw(NAMES, label="name")
        parent = data.draw(st.sampled_from(self.paths("group")), label="parent")
        path = f"{parent}/{name}".lstrip("/")
        taken = {*self.paths("group"), *self.paths("array")}
        return None if path in taken or path.count("/") > 3 else path

    def some_array(self, data: st.DataObject) -> str | None:
        arrays = self.paths("array")
        return data.draw(st.sampled_from(arrays), label="array") if arrays else None

    def write_region(self, data: st.DataObject) -> None:
        path = self.some_array(data)
        if path is None:
            return
        shape = zarr.open_array(self.model, path=path, mode="r").shape
        region = tuple(slice(*sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in shape)
        value = data.draw(st.integers(0, 100), label="value")
        for target in self.both():
            array = zarr.open_array(target, path=path, mode="r+")
            size = np.empty(shape)[region].shape
            array[region] = (value + np.arange(np.prod(size, dtype=int)).reshape(size)) % 120

    def delete_chunk(self, data: st.DataObject) -> None:
        path = self.some_array(data)
        start = f"{path}/c"
        keys = sorted(key for key in read(self.model) if key == start or key.startswith(start + "/"))
        if path is not None and keys:
            key = data.draw(st.sampled_from(keys), label="key")
            for target in self.both():
                asyncio.run(target.delete(key))

    def set_virtual_ref(self, data: st.DataObject) -> None:
        path = self.some_array(data)
        if path is None:
            return
        array = zarr.open_array(self.model, path=path, mode="r")
        if array.compressors or array.ndim == 0:
            return
        length = int(np.prod(array.chunks)) * array.dtype.itemsize
        offset = data.draw(st.integers(0, FILE_SIZE - length), label="offset")
        grid = [-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)]
        coords = [data.draw(st.integers(0, count - 1)) for count in grid]
        key = "/".join([path, "c", *map(str, coords)])
        self.session.store.set_virtual_ref(key, f"file://{self.file}", offset=offset, length=length)
        fill(self.model, {key: self.file.read_bytes()[offset : offset + length]})

    def resize(self, data: st.DataObject) -> None:
        path = self.some_array(data)
        if path is None:
            return
        ndim = zarr.open_array(self.model, path=path, mode="r").ndim
        shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=ndim, max_size=ndim), label="shape"))
        for target in self.both():
            zarr.open_array(target, path=path, mode="r+").resize(shape)

    def set_attributes(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from([*self.paths("group"), *self.paths("array")]), label="node")
        attributes = data.draw(ATTRIBUTES, label="attributes")
        for target in self.both():
            zarr.open(target, path=path, mode="r+").attrs.update(attributes)

    def delete_node(self, data: st.DataObject) -> None:
        nodes = [path for path in [*self.paths("group"), *self.paths("array")] if path]
        if nodes:
            path = data.draw(st.sampled_from(nodes), label="node")
            parent, _, name = path.rpartition("/")
            for target in self.both():
                del zarr.open_group(target, path=parent, mode="r+")[name]

    # --- commits

    def changed(self) -> bool:
        return bool(self.session.has_uncommitted_changes)

    def commit(self, switch: bool) -> None:
        message = self.message()
        new = self.session.commit(message)
        self.record(new, self.branches[self.branch], message, switch)

    def amend(self, switch: bool) -> None:
        if self.spec_version == 1 or self.branches[self.branch] == INITIAL:
            self.commit(switch)
            return
        old = self.commits[self.branches[self.branch]]
        message = self.message()
        assert old.parent is not None
        self.record(self.session.amend(message), old.parent, message, switch)

    def commit_after_the_other(self, switch: bool) -> None:
        """The other implementation commits first, a node that nobody else has; ours is rebased over it."""
        theirs = self.open(self.other).writable_session(self.branch)
        name = f"race {self.number}"
        zarr.create_group(theirs.store, path=name)
        message = self.message()
        between = theirs.commit(message)
        node = MemoryStore()
        zarr.create_group(node, path=name)
        base = self.branches[self.branch]
        added = {key: value for key, value in read(node).items() if key.startswith(name)}
        self.commits[between] = Commit(base, message, {**self.commits[base].contents, **added})
        self.branches[self.branch] = between
        fill(self.model, added)
        message = self.message()
        new = self.session.commit(message, rebase_with=self.ic.ConflictDetector())
        self.record(new, between, message, switch)

    def message(self) -> str:
        self.number += 1
        return f"commit {self.number}"

    def record(self, new: str, parent: str, message: str, switch: bool) -> None:
        """Note a commit in the model, let the other implementation check it, and go on."""
        note(f"{self.ic.__name__}: {message} is {new} on {self.branch}")
        self.commits[new] = Commit(parent, message, read(self.model))
        self.branches[self.branch] = new
        self.check(self.other, [new, parent])
        if switch:
            self.ic = self.other
        self.begin()

    # --- refs

    @rule(action=st.sampled_from(REF_CHANGES), data=st.data())
    def change_refs(self, action: str, data: st.DataObject) -> None:
        """Change a branch or tag beside the current branch."""
        getattr(self, action)(data)

    def create_branch(self, data: st.DataObject) -> None:
        name = data.draw(REFS, label="name")
        if name not in self.branches:
            snapshot = self.draw_version(data)
            self.open(self.ic).create_branch(name, snapshot)
            self.branches[name] = snapshot

    def create_tag(self, data: st.DataObject) -> None:
        name = data.draw(REFS, label="name")
        snapshot = self.draw_version(data)
        repo = self.open(self.ic)
        if name in self.used_tags:
            try:
                repo.create_tag(name, snapshot)
            except self.ic.IcechunkError:
                return
            raise AssertionError(f"tag {name} was made twice")
        repo.create_tag(name, snapshot)
        self.tags[name] = snapshot
        self.used_tags.add(name)

    def draw_version(self, data: st.DataObject) -> str:
        """A version that a ref leads to."""
        reachable: dict[str, None] = {}
        for tip in (*self.branches.values(), *self.tags.values()):
            reachable.update(dict.fromkeys(entry[0] for entry in self.ancestry(tip)))
        return data.draw(st.sampled_from(list(reachable)), label="version")

    def delete_tag(self, data: st.DataObject) -> None:
        if self.tags:
            name = data.draw(st.sampled_from(sorted(self.tags)), label="tag")
            self.open(self.ic).delete_tag(name)
            del self.tags[name]

    def delete_branch(self, data: st.DataObject) -> None:
        names = sorted(set(self.branches) - {"main", self.branch})
        if names:
            name = data.draw(st.sampled_from(names), label="branch")
            self.open(self.ic).delete_branch(name)
            del self.branches[name]

    @precondition(lambda self: not self.changed())
    @rule(data=st.data())
    def reset_branch(self, data: st.DataObject) -> None:
        snapshot = self.draw_version(data)
        if self.commits[snapshot].contents:  # keep the root group
            self.open(self.ic).reset_branch(self.branch, snapshot)
            self.branches[self.branch] = snapshot
            self.begin()

    @rule(data=st.data(), switch=st.booleans())
    def change_branch(self, data: st.DataObject, switch: bool) -> None:
        """Leave uncommitted changes behind and go on elsewhere."""
        names = [name for name, tip in self.branches.items() if self.commits[tip].contents]
        self.branch = data.draw(st.sampled_from(sorted(names)), label="branch")
        if switch:
            self.ic = self.other
        self.begin()


def read(store: MemoryStore) -> Contents:
    """The model's keys and bytes."""
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


def fill(store: MemoryStore, items: Contents) -> None:
    """Set keys of the model."""
    for key, value in items.items():
        store._store_dict[key] = cpu.Buffer.from_bytes(value)
