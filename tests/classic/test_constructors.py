"""Creating and opening stores."""

from __future__ import annotations

from pathlib import Path

import pytest
import zarr

from icechunk_core import (
    ErrorKind,
    IcechunkStore,
    InvalidInputError,
    ReadOnlyError,
    Repository,
    StorageConfig,
    StoreConfig,
)
from tests.classic.helpers import make_array, values, write, write_chunk


def test_create(storage: StorageConfig) -> None:
    """A new store is on the empty branch ``main``, writable, without changes; zarr writes to it."""
    store = IcechunkStore.create(storage)
    assert (store.branch, store.read_only, store.has_uncommitted_changes) == ("main", False, False)
    assert [version.message for version in store.ancestry()] == ["Repository initialized"]
    zarr.create_group(store)
    assert store.has_uncommitted_changes


def test_create_where_one_is(storage: StorageConfig) -> None:
    """A second repository at the same location is refused, and the first one stays."""
    store = IcechunkStore.create(storage)
    make_array(store)
    snapshot = store.commit("first")
    with pytest.raises(InvalidInputError) as raised:
        IcechunkStore.create(storage)
    assert raised.value.kind == ErrorKind.PARENT_DIRECTORY_NOT_CLEAN
    assert IcechunkStore.open_existing(storage).snapshot_id == snapshot


def test_open_existing(storage: StorageConfig) -> None:
    """It shows what was committed, writable or, if asked for, read-only."""
    store = IcechunkStore.create(storage)
    make_array(store)
    store.commit("array")
    again = IcechunkStore.open_existing(storage)
    assert again == store
    assert not again.read_only
    assert values(again) == [0, 0, 0, 0]
    reader = IcechunkStore.open_existing(storage, True, StoreConfig())
    assert reader.read_only
    with pytest.raises(ReadOnlyError, match="set_writeable"):
        write_chunk(reader)


def test_open_existing_where_none_is(storage: StorageConfig) -> None:
    """The `ValueError` names the location, and says to create one or to change the location."""
    with pytest.raises(ValueError, match=r"create one there.*or change the location") as raised:
        IcechunkStore.open_existing(storage)
    assert isinstance(raised.value, InvalidInputError)
    assert raised.value.kind == ErrorKind.REPOSITORY_NOT_FOUND


def test_open_existing_creates_nothing(tmp_path: Path) -> None:
    """Failing to open leaves no trace, and the error names the directory."""
    with pytest.raises(ValueError, match="nowhere"):
        IcechunkStore.open_existing(StorageConfig.filesystem(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_create_read_only(storage: StorageConfig) -> None:
    """The repository is created, and the store refuses writes until ``set_writeable``."""
    store = IcechunkStore.create(storage, read_only=True)
    with pytest.raises(ReadOnlyError):
        write_chunk(store)
    store.set_writeable()
    zarr.create_group(store)
    assert store.has_uncommitted_changes


async def test_open_or_create(storage: StorageConfig) -> None:
    """The first call creates, the second opens; ``open`` does the same and gives an open store."""
    store = IcechunkStore.open_or_create(storage=storage)
    make_array(store)
    snapshot = store.commit("array")
    assert IcechunkStore.open_or_create(storage=storage, read_only=False, config=None).snapshot_id == snapshot
    opened = await IcechunkStore.open(storage=storage)
    assert opened.snapshot_id == snapshot
    assert opened._is_open
    assert (await IcechunkStore.open(storage, True)).read_only


async def test_open_creates(storage: StorageConfig) -> None:
    """``open`` creates the repository if there is none."""
    store = await IcechunkStore.open(storage=storage)
    assert store.branch == "main"
    assert IcechunkStore.open_existing(storage) == store


async def test_read_only_does_not_create(storage: StorageConfig) -> None:
    """With ``read_only`` both only open: where nothing is, they fail, and nothing is there afterwards."""
    with pytest.raises(ValueError, match="no repository"):
        IcechunkStore.open_or_create(storage=storage, read_only=True)
    with pytest.raises(ValueError, match="no repository"):
        await IcechunkStore.open(storage=storage, read_only=True)
    with pytest.raises(ValueError, match="no repository"):
        IcechunkStore.open_existing(storage)
    IcechunkStore.create(storage)
    assert IcechunkStore.open_or_create(storage=storage, read_only=True).read_only


async def test_storage_is_required() -> None:
    """Without a storage nothing is opened; `open_or_create` takes it by keyword only."""
    with pytest.raises(TypeError, match="storage"):
        IcechunkStore.open_or_create()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        IcechunkStore.open_or_create(StorageConfig.memory("x"))  # type: ignore[call-arg,misc]
    with pytest.raises(TypeError, match="storage"):
        await IcechunkStore.open()


def test_other_forms_of_a_storage(tmp_path: Path) -> None:
    """A URL, a path and a storage of the same directory open the same repository as its `StorageConfig`."""
    config = StorageConfig.filesystem(str(tmp_path / "r"))
    store = IcechunkStore.create(config)
    for storage in (f"file://{tmp_path}/r", tmp_path / "r", config.open()):
        assert IcechunkStore.open_existing(storage) == store


def test_config_of_another_type(storage: StorageConfig) -> None:
    """What is no `StoreConfig` is refused by the name of the argument; nothing is created."""
    with pytest.raises(ValueError, match="'config' must be a StoreConfig, not dict"):
        IcechunkStore.create(storage, config={})
    with pytest.raises(ValueError, match="no repository"):
        IcechunkStore.open_existing(storage)


def test_both_faces_on_one_repository(storage: StorageConfig) -> None:
    """What a store commits a `Repository` reads, and the other way round."""
    store = IcechunkStore.create(storage)
    make_array(store)
    store.commit("by the store")
    repository = Repository.open(storage.open())
    session = repository.writable_session("main")
    write(session.store, 2, 7)
    session.commit("by a session")
    store.checkout(branch="main")
    assert values(store) == [0, 0, 7, 0]
    assert [v.message for v in store.ancestry()] == [i.message for i in repository.ancestry(branch="main")]
