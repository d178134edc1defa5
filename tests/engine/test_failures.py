"""Bad input and failing storages: a clear error that names the object, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.contract import Storage
from icechunk_core.drive import run
from icechunk_core.errors import Closed, Corrupt, PluginError, StorageConfigError, StorageFull

T = TypeVar("T")


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a call on a storage of any kind."""
    return run(coroutine, may_suspend=True)


def with_data(storage: Storage, spec_version: int = 2) -> tuple[ic.Repository, str]:
    """A repository with one array in one native chunk."""
    repo = ic.Repository.create(storage, spec_version=spec_version)
    session = repo.writable_session("main")
    zarr.create_array(
        session.store,
        name="x",
        data=np.arange(500, dtype="i4"),
        chunks=(500,),
        compressors=None,
        filters=None,
    )
    return repo, session.commit("data")


def keys(storage: Storage, prefix: str) -> list[str]:
    async def collect() -> list[str]:
        return [info.key async for info in storage.list(prefix)]

    return now(collect())


def read_all(storage: Storage) -> None:
    repo = ic.Repository.open(storage)
    list(repo.ancestry(branch="main"))
    np.asarray(zarr.open_array(repo.readonly_session("main").store, path="x", mode="r")[:])


@pytest.mark.parametrize("damage", ["truncate", "garbage", "empty"])
@pytest.mark.parametrize("what", ["snapshots/", "manifests/", "repo"])
def test_damaged_objects_are_named(storage: Storage, what: str, damage: str) -> None:
    """Every kind of damaged metadata object is `Corrupt`, with its key."""
    _, tip = with_data(storage)
    targets = [key for key in keys(storage, what) if what != "snapshots/" or tip in key]
    assert targets
    data = bytes(now(storage.get_range(targets[0]))[0])
    broken = {"truncate": data[:-20], "garbage": os.urandom(300), "empty": b""}[damage]
    now(storage.put(targets[0], broken))
    with pytest.raises(Corrupt, match=targets[0]) as raised:
        read_all(storage)
    assert raised.value.object_name == targets[0]


def test_a_short_or_missing_chunk_is_named(storage: Storage) -> None:
    """A native chunk object that is too short, or gone, is `Corrupt`, not wrong data."""
    with_data(storage)
    [key] = keys(storage, "chunks/")
    now(storage.put(key, b"short"))
    with pytest.raises(Corrupt, match=key):
        read_all(storage)
    now(storage.delete([key]))
    with pytest.raises(Corrupt, match=key):
        read_all(storage)


def test_a_missing_manifest_is_named(storage: Storage) -> None:
    """The error says which object is missing."""
    with_data(storage)
    [key] = keys(storage, "manifests/")
    now(storage.delete([key]))
    with pytest.raises(Corrupt, match=key):
        read_all(storage)


def test_a_closed_storage(storage: Storage) -> None:
    """Everything after close is `Closed`."""
    with_data(storage)
    now(storage.close())
    with pytest.raises(Closed):
        ic.Repository.open(storage)


def test_wrong_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown schemes, unknown options and missing packages say what to do."""
    monkeypatch.setitem(sys.modules, "aiobotocore", None)
    with pytest.raises(PluginError, match="nosuch"):
        ic.Repository.open("nosuch://place")
    with pytest.raises(StorageConfigError, match="durabel"):
        ic.Repository.open("file:///tmp/x?durabel=true")
    with pytest.raises(PluginError, match=r"icechunk-core\[s3\]"):
        ic.Repository.open("s3://bucket/prefix")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real filesystem of one mebibyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("mounting a filesystem is not permitted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_commit_on_a_full_disk(small_disk: Path) -> None:
    """The commit fails as `StorageFull`; earlier commits are untouched, and it works once there is space."""
    storage = ic.local_filesystem_storage(str(small_disk / "repo"))
    repo, tip = with_data(storage)
    filler = small_disk / "filler"
    session = repo.writable_session("main")
    array = zarr.open_array(session.store, path="x", mode="r+")
    array[:500] = 7
    free = os.statvfs(small_disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize))
    with pytest.raises(StorageFull):
        session.commit("no space")
    assert repo.lookup_branch("main") == tip
    read_all(storage)
    filler.unlink()
    session.commit("space")
    store = ic.Repository.open(storage).readonly_session("main").store
    assert zarr.open_array(store, path="x", mode="r")[0] == 7


def test_read_only_storage(tmp_path: Path) -> None:
    """A repository on a read-only storage reads; writing sessions are refused with the reason."""
    path = tmp_path / "repo"
    with_data(ic.local_filesystem_storage(str(path)))
    storage = ic.storage_from_url(f"file://{path}?read_only=true")
    read_all(storage)
    with pytest.raises(ic.ReadOnlyError, match="read-only"):
        ic.Repository.open(storage).writable_session("main")
    with pytest.raises(ic.ReadOnlyError):
        ic.Repository.create(storage)


def test_a_status_set_elsewhere_blocks_writing(storage: Storage) -> None:
    """When the repository's status is read-only, sessions and ref changes are refused with its reason."""
    from icechunk_core.format.repo_info import RepoStatus
    from icechunk_core.transaction import repo_updates

    repo, tip = with_data(storage)
    status = RepoStatus(1, 1_700_000_000_000_000, "maintenance until noon")
    history = repo._context.history
    now(history.update(lambda info: repo_updates.set_status(info, status)))  # type: ignore[attr-defined]
    with pytest.raises(ic.ReadOnlyError, match="maintenance until noon"):
        repo.writable_session("main")
    with pytest.raises(ic.ReadOnlyError, match="maintenance until noon"):
        repo.create_branch("dev", tip)
    read_all(storage)
