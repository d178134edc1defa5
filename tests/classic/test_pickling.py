"""Stores sent elsewhere."""

from __future__ import annotations

import pickle

import pytest
import zarr

from icechunk_core import IcechunkStore, ReadOnlyError, StorageConfig, StoreConfig
from tests.classic.helpers import make_array, values, write, write_chunk
from tests.classic.workers import in_processes, show, use_error


@pytest.fixture
def changed(directory: StorageConfig) -> IcechunkStore:
    """A store with a committed array and one uncommitted value."""
    store = IcechunkStore.create(directory)
    make_array(store)
    store.commit("array")
    write(store, 1, 5)
    return store


def test_copies_are_read_only(changed: IcechunkStore) -> None:
    """A pickled copy has the uncommitted changes, equals the store and refuses writes until told."""
    copy = pickle.loads(pickle.dumps(changed))
    assert copy == changed
    assert (copy.read_only, copy.branch, copy.snapshot_id) == (True, "main", changed.snapshot_id)
    assert values(copy) == [0, 5, 0, 0]
    with pytest.raises(ReadOnlyError):
        write_chunk(copy)
    with pytest.raises(ReadOnlyError):
        copy.commit("copy")
    copy.set_writeable()
    copy.commit("copy")
    assert not changed.read_only


def test_preserve_read_only(changed: IcechunkStore) -> None:
    """In the block copies stay as the store is; afterwards, and from copies, they are read-only."""
    with changed.preserve_read_only():
        writable = pickle.loads(pickle.dumps(changed))
        reader = pickle.loads(pickle.dumps(changed.as_read_only()))
    assert (writable.read_only, reader.read_only) == (False, True)
    write(writable, 2, 6)
    assert values(changed) == [0, 5, 0, 0]
    assert pickle.loads(pickle.dumps(changed)).read_only
    assert pickle.loads(pickle.dumps(writable)).read_only


def test_the_block_ends_with_an_error(changed: IcechunkStore) -> None:
    """An exception in the block ends its rule as well."""
    with pytest.raises(KeyError), changed.preserve_read_only():
        raise KeyError("inside")
    assert pickle.loads(pickle.dumps(changed)).read_only


def test_arrays_take_their_store_along(changed: IcechunkStore) -> None:
    """A pickled zarr array brings its store with uncommitted changes."""
    array = zarr.open_array(changed, path="x", mode="r+")
    copy = pickle.loads(pickle.dumps(array))
    assert copy[1] == 5
    assert copy.store.read_only


def test_copies_in_other_processes(changed: IcechunkStore) -> None:
    """Another process sees the uncommitted changes, and may write only if that was preserved."""
    assert in_processes(show, [(changed,)]) == [(True, True, [0, 5, 0, 0])]
    with changed.preserve_read_only():
        assert in_processes(show, [(changed,)]) == [(False, True, [0, 5, 0, 0])]


def test_configuration_goes_along(directory: StorageConfig) -> None:
    """A copy keeps the thresholds it was opened with."""
    config = StoreConfig(inline_chunk_threshold_bytes=3, get_partial_values_concurrency=2)
    copy = pickle.loads(pickle.dumps(IcechunkStore.create(directory, config=config)))
    assert copy._session.read_concurrency == 2
    assert copy._session.context.config.inline_chunk_threshold_bytes == 3


def test_memory_does_not_leave_the_process() -> None:
    """In the same process a copy shows the same memory; in another one using it says why it cannot."""
    store = IcechunkStore.create(StorageConfig.memory("here"))
    make_array(store)
    pickled = pickle.dumps(store)
    assert pickle.loads(pickled) == store
    (message,) = in_processes(use_error, [(pickled,)])
    assert "memory" in message
    assert "process" in message
