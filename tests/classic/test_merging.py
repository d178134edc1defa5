"""Changes as bytes: reset, merge, distributed commits, and what to do after a conflict."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from icechunk_core import (
    ConflictError,
    FormatError,
    IcechunkStore,
    ReadOnlyError,
    SessionStateError,
    StorageConfig,
)
from tests.classic.conftest import Call
from tests.classic.helpers import make_array, values, write
from tests.classic.workers import add_array, in_processes, write_chunk_of


@pytest.fixture
def prepared(store: IcechunkStore) -> IcechunkStore:
    """A store whose array is committed."""
    make_array(store)
    store.commit("array")
    return store


async def test_reset(prepared: IcechunkStore, call: Call) -> None:
    """The changes are gone from the store and come back in the bytes, which `merge` takes."""
    snapshot = prepared.snapshot_id
    write(prepared, 1, 5)
    expected = prepared.change_set_bytes()
    taken = await call(prepared, "reset")
    assert taken == expected
    assert values(prepared) == [0, 0, 0, 0]
    assert (prepared.has_uncommitted_changes, prepared.snapshot_id) == (False, snapshot)
    await call(prepared, "merge", taken)
    assert values(prepared) == [0, 5, 0, 0]
    assert (prepared.has_uncommitted_changes, prepared.snapshot_id) == (True, snapshot)


def test_change_set_bytes_changes_nothing(prepared: IcechunkStore) -> None:
    """Asking for the changes keeps them; without changes the bytes merge as nothing."""
    empty = prepared.change_set_bytes()
    prepared.merge(empty)
    assert not prepared.has_uncommitted_changes
    write(prepared, 0, 4)
    assert prepared.change_set_bytes() == prepared.change_set_bytes() != empty
    assert values(prepared) == [4, 0, 0, 0]


async def test_merging_twice(storage: StorageConfig, prepared: IcechunkStore, call: Call) -> None:
    """The same bytes a second time change nothing more, be they chunks, nodes or deletions."""
    make_array(prepared, "old")
    prepared.commit("old")
    other = IcechunkStore.open_existing(storage)
    write(other, 2, 6)
    add_array(other, "y", 7)
    await other.delete("old/zarr.json")
    changes = other.change_set_bytes()
    await call(prepared, "merge", changes)
    once = prepared.change_set_bytes()
    await call(prepared, "merge", changes)
    assert prepared.change_set_bytes() == once
    assert prepared == other
    prepared.commit("merged")
    assert values(prepared) == [0, 0, 6, 0]
    assert values(prepared, "y") == [7, 0, 0, 0]
    assert {"x", "y"} == {name async for name in prepared.list_dir("")} - {"zarr.json"}


async def test_merge_is_refused(storage: StorageConfig, prepared: IcechunkStore, call: Call) -> None:
    """Bytes that are no change set, a read-only store, and clashing nodes; nothing is merged then."""
    with pytest.raises(FormatError):
        await call(prepared, "merge", b"not a change set")
    other = IcechunkStore.open_existing(storage)
    zarr.create_array(other, name="y", shape=(2,), dtype="f8")
    changes = other.change_set_bytes()
    prepared.set_read_only()
    with pytest.raises(ReadOnlyError, match="set_writeable"):
        await call(prepared, "merge", changes)
    assert not prepared.has_uncommitted_changes
    prepared.set_writeable()
    make_array(prepared, "y")
    before = prepared.change_set_bytes()
    with pytest.raises(SessionStateError, match="both made a node at /y"):
        await call(prepared, "merge", changes)
    assert prepared.change_set_bytes() == before


async def test_two_stores_conflict(storage: StorageConfig, prepared: IcechunkStore, call: Call) -> None:
    """The second to commit fails and keeps its changes; reset, checkout and merge bring them on top."""
    first, second = prepared, IcechunkStore.open_existing(storage)
    write(first, 0, 1)
    write(second, 3, 4)
    theirs = first.commit("first")
    base = second.snapshot_id
    with pytest.raises(ConflictError, match=r"'main'.*reset\(\).*merge\(\)") as raised:
        await call(second, "commit", "second")
    assert (raised.value.expected_parent, raised.value.actual_parent) == (base, theirs)
    assert values(second) == [0, 0, 0, 4]
    assert (second.branch, second.snapshot_id, second.has_uncommitted_changes) == ("main", base, True)

    mine = await call(second, "reset")
    await call(second, "checkout", branch="main")
    second.set_writeable()
    await call(second, "merge", mine)
    await call(second, "commit", "second")
    assert values(IcechunkStore.open_existing(storage)) == [1, 0, 0, 4]
    assert [version.message for version in second.ancestry()][:2] == ["second", "first"]


def test_distributed_commit(storage: StorageConfig, prepared: IcechunkStore) -> None:
    """The own changes and those of all others become one snapshot."""
    others = [write_chunk_of(IcechunkStore.open_existing(storage), at, at * 10) for at in (1, 2)]
    write(prepared, 0, 9)
    snapshot = prepared.distributed_commit("together", others)
    assert prepared.snapshot_id == snapshot
    assert values(IcechunkStore.open_existing(storage)) == [9, 10, 20, 0]
    assert [version.message for version in prepared.ancestry()][:2] == ["together", "array"]


async def test_distributed_commit_awaited(storage: StorageConfig, prepared: IcechunkStore) -> None:
    """Its async twin does the same, also when only the others have changes."""
    others = [write_chunk_of(IcechunkStore.open_existing(storage), 3, 30)]
    assert await prepared.async_distributed_commit("theirs", others) == prepared.snapshot_id
    assert values(prepared) == [0, 0, 0, 30]


def test_workers_write_and_the_coordinator_commits(directory: StorageConfig) -> None:
    """Writable copies go to other processes, their changes come back as bytes, one commit has all."""
    store = IcechunkStore.create(directory)
    array = zarr.create_array(store, name="x", shape=(4000,), chunks=(1000,), dtype="i4", compressors=None)
    array[:1000] = np.arange(1000)  # a chunk too large to be kept in the manifest, not committed yet
    with store.preserve_read_only():
        changes = in_processes(write_chunk_of, [(store, at, at) for at in (1000, 2000, 3000)])
        changes += in_processes(add_array, [(store, "y", 5)])
    store.distributed_commit("by four processes", [*changes, *changes])
    reader = IcechunkStore.open_existing(directory, read_only=True)
    data = np.asarray(zarr.open_array(reader, path="x", mode="r")[:])
    np.testing.assert_array_equal(data[:1000], np.arange(1000))
    assert data[1000::1000].tolist() == [1000, 2000, 3000]
    assert values(reader, "y") == [5, 0, 0, 0]
    assert len(reader.ancestry()) == 2


async def test_merging_what_is_committed(prepared: IcechunkStore) -> None:
    """Bytes whose changes are in the history by now merge once more, and the data stays the same."""
    add_array(prepared, "y", 7)
    write(prepared, 1, 5)
    changes = prepared.reset()
    prepared.merge(changes)
    first = prepared.commit("first")
    prepared.merge(changes)
    prepared.commit("again")
    assert values(prepared) == [0, 5, 0, 0]
    assert values(prepared, "y") == [7, 0, 0, 0]
    prepared.checkout(snapshot_id=first)
    assert values(prepared, "y") == [7, 0, 0, 0]


async def test_merging_over_another_version(storage: StorageConfig, prepared: IcechunkStore) -> None:
    """Changes of nodes that others deleted, or where others made nodes, are refused and name the node."""
    other = IcechunkStore.open_existing(storage)
    zarr.open_array(other, path="x", mode="r+").attrs["unit"] = "K"
    updated = other.reset()
    chunks = write_chunk_of(other, 1, 5)
    other.reset()
    made = add_array(other, "y", 1)
    other.reset()
    await prepared.delete("x/zarr.json")
    deleted = prepared.change_set_bytes()
    make_array(prepared, "y")
    make_array(prepared, "x")
    prepared.commit("theirs")
    for changes, message in (
        (updated, "/x is not there any more"),
        (deleted, "/x is not there any more"),
        (chunks, "an array with changed chunks is not there any more"),
        (made, "another node has been made at /y"),
    ):
        with pytest.raises(SessionStateError, match=message):
            prepared.merge(changes)
        assert not prepared.has_uncommitted_changes
