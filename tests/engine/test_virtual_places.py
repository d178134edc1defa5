"""Where virtual chunks are read from: web servers, memory, other plugins, with which credentials."""

from __future__ import annotations

import asyncio
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype

import icechunk_core as ic
from icechunk_core.contract import Storage
from icechunk_core.drive import driven_directly, run_direct
from icechunk_core.plugins import register_backend, unregister_backend
from icechunk_core.storage import with_latency, with_metrics
from tests.backends.http.server import Answer, web_server

VALUES = np.arange(8, dtype="<i4")
RAW = b"abc" + VALUES.tobytes()


def virtual_repo(
    prefix: str,
    authorized: Any,
    store: Any = None,
    *,
    name: str | None = None,
    checksum: Any = None,
    location: str | None = None,
    storage: Any = "memory:",
) -> ic.Repository:
    """An array of 8 integers in two virtual chunks of the object ``raw`` below a prefix."""
    config = ic.RepositoryConfig()
    if store is not None:
        config.set_virtual_chunk_container(ic.VirtualChunkContainer(prefix, store, name=name))
    repo = ic.Repository.create(storage, config, {prefix: authorized})
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="x", shape=(8,), chunks=(4,), dtype="<i4", compressors=None, filters=None
    )
    where = location or prefix + "raw"
    offsets, lengths = np.array([3, 19], dtype="u8"), np.array([16, 16], dtype="u8")
    left_out = session.store.set_virtual_refs_arr("x", (2,), [where] * 2, offsets, lengths, checksum=checksum)
    assert left_out is None
    session.commit("refs")
    return repo


def read(repo: ic.Repository) -> list[int]:
    """The array's values."""
    array = zarr.open_array(repo.readonly_session("main").store, path="x", mode="r")
    return [int(value) for value in np.asarray(array[:])]


@pytest.fixture
def memory() -> Storage:
    """A storage with the object, without name or URL."""
    storage = ic.in_memory_storage()
    run_direct(storage.put("raw", RAW))
    return storage


def test_from_a_web_server(tmp_path: Path) -> None:
    """Headers of the container's store are sent; an ETag that was recorded is compared."""
    (tmp_path / "raw").write_bytes(RAW)
    with web_server(tmp_path) as web:
        prefix = web.url + "/"
        store = ic.http_store(headers={"x-project": "p1"})
        repo = virtual_repo(prefix, ic.Credentials.HttpAccess(), store, checksum=web.etag(RAW))
        assert read(repo) == VALUES.tolist()
        assert all(each.headers["x-project"] == "p1" for each in web.requests)
        (tmp_path / "raw").write_bytes(RAW[::-1])
        with pytest.raises(ic.StorageError, match="set the reference again") as caught:
            read(repo)
        assert caught.value.kind == ic.ErrorKind.VIRTUAL_CHUNK_MODIFIED


def test_by_the_time_of_modification(tmp_path: Path) -> None:
    """A recorded time allows what was written until then, to the second."""
    (tmp_path / "raw").write_bytes(RAW)
    written = datetime.fromtimestamp((tmp_path / "raw").stat().st_mtime, tz=UTC)
    store = ic.local_filesystem_store(tmp_path)
    access = ic.Credentials.LocalFileSystemAccess()
    assert read(virtual_repo(f"file://{tmp_path}/", access, store, checksum=written)) == VALUES.tolist()
    before = virtual_repo(f"file://{tmp_path}/", access, store, checksum=written - timedelta(seconds=2))
    with pytest.raises(ic.StorageError, match="newer than the recorded time"):
        read(before)


def test_errors_of_the_place_name_the_chunk(tmp_path: Path) -> None:
    """What the server says is told together with location, bytes and container."""
    with web_server(tmp_path) as web:
        web.script = lambda request: Answer(403)
        repo = virtual_repo(web.url + "/", ic.Credentials.HttpAccess(), ic.http_store())
        with pytest.raises(
            ic.StorageError, match=r"/raw' \(16 bytes from 3\).*denies access.*container"
        ) as caught:
            read(repo)
        assert caught.value.kind == ic.ErrorKind.VIRTUAL_CHUNK_FETCH


@pytest.mark.parametrize("name", ["vcc://here/raw", None])
def test_names_lead_to_the_container(tmp_path: Path, name: str | None) -> None:
    """A location relative to a named container is read through it, and listed in full."""
    (tmp_path / "raw").write_bytes(RAW)
    repo = virtual_repo(
        f"file://{tmp_path}/", ic.Credentials.LocalFileSystemAccess(),
        ic.local_filesystem_store(tmp_path), name="here", location=name,
    )  # fmt: skip
    session = repo.readonly_session("main")
    assert read(repo) == VALUES.tolist()
    assert session.all_virtual_chunk_locations() == [f"file://{tmp_path}/raw"] * 2


def test_memory_and_other_plugins(memory: Storage) -> None:
    """A scheme that the format has no kind of store for is authorised with options of its plugin."""
    named = ic.storage_from_url("memory:virtual-data")
    run_direct(named.put("raw", RAW))
    assert read(virtual_repo("memory://virtual-data/", {})) == VALUES.tolist()

    opened: list[Any] = []

    def factory(config: Any) -> Any:
        from icechunk_memory._storage import MemoryStorage

        opened.append(config)
        return MemoryStorage(memory.config)

    from attrs import evolve

    from icechunk_memory.plugin import icechunk_backends

    spec = evolve(next(iter(icechunk_backends())), name="other", schemes=("other",), factory=factory)
    register_backend(spec)
    try:
        assert read(virtual_repo("other://place/", {"read_only": True})) == VALUES.tolist()
        assert [(config.name, config.read_only) for config in opened] == [("place", True)]
    finally:
        unregister_backend("other")


def test_an_open_storage(memory: Storage) -> None:
    """A prefix can be authorised with a storage, wrapped or not; only what is under the prefix is its."""
    counted, metrics = with_metrics(memory)
    repo = virtual_repo("s3://anywhere/at/all/", counted)
    assert read(repo) == VALUES.tolist()
    assert metrics.calls["get_range"] >= 1
    session = repo.writable_session("main")
    with pytest.raises(ic.InvalidInputError) as caught:
        session.store.set_virtual_ref("x/c/0", "s3://anywhere/else", offset=0, length=16)
    assert caught.value.kind == ic.ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK


@pytest.mark.parametrize(
    ("prefix", "store", "told"),
    [
        ("s3://b/", ic.s3_store(region="r"), "s3_credentials"),
        ("gs://b/", ic.gcs_store(), "gcs_credentials"),
        ("https://h/", ic.http_store(), "HttpAccess"),
        ("file:///d/", ic.local_filesystem_store("/d"), "LocalFileSystemAccess"),
    ],
)
def test_the_error_names_what_to_pass(prefix: str, store: Any, told: str) -> None:
    """Without authorisation the message has the prefix and an example of the right credentials."""
    repo = virtual_repo(prefix, {}, store)
    with pytest.raises(ic.InvalidInputError, match=told) as caught:
        read(ic.Repository.open(repo.storage))
    assert prefix in str(caught.value)
    assert caught.value.kind == ic.ErrorKind.UNAUTHORIZED_VIRTUAL_CHUNK_CONTAINER


def test_credentials_of_another_service() -> None:
    """Credentials that are not the container's are refused with the name of the right ones."""
    repo = virtual_repo(
        "s3://b/", ic.Credentials.Azure(ic.AzureCredentials.FromEnv()), ic.s3_store(region="r")
    )
    with pytest.raises(ic.IcechunkError, match=r"Azure.*S3"):
        read(repo)


def test_authorisations_travel_with_pickles(tmp_path: Path) -> None:
    """A pickled session reads its virtual chunks in the same way."""
    (tmp_path / "raw").write_bytes(RAW)
    repo = virtual_repo(
        f"file://{tmp_path}/", ic.Credentials.LocalFileSystemAccess(), ic.local_filesystem_store(tmp_path),
        storage=ic.local_filesystem_storage(tmp_path / "repo"),
    )  # fmt: skip
    store = pickle.loads(pickle.dumps(repo.readonly_session("main"))).store
    assert np.asarray(zarr.open_array(store, path="x", mode="r")[:]).tolist() == VALUES.tolist()


async def test_slow_places_are_read_side_by_side(memory: Storage) -> None:
    """A repository that never waits, with chunks in one that does: reads in a loop wait together."""
    inside, everybody = [0], asyncio.Event()

    async def meet(_: float) -> None:
        inside[0] += 1
        if inside[0] == 2:
            everybody.set()
        await asyncio.wait_for(everybody.wait(), 20)

    run_direct(memory.put("two", RAW))
    repo = virtual_repo("s3://slow/", with_latency(memory, 1.0, sleep=meet))
    session = repo.writable_session("main")
    session.store.set_virtual_ref("x/c/1", "s3://slow/two", offset=19, length=16)
    prototype = default_buffer_prototype()
    values = await asyncio.gather(*(session.store.get(f"x/c/{number}", prototype) for number in range(2)))
    assert b"".join(value.to_bytes() for value in values if value is not None) == VALUES.tobytes()


def test_slow_places_are_read_without_a_loop(memory: Storage) -> None:
    """The blocking way to the same chunks works from any thread."""
    repo = virtual_repo("s3://slow/", with_latency(memory, 0.0))
    store: Any = repo.readonly_session("main").store
    assert store.get_sync("x/c/0").to_bytes() == VALUES[:4].tobytes()


async def test_who_drives() -> None:
    """A coroutine can tell whether a loop awaits it or blocking code drives it, also inside a loop."""

    async def ask() -> bool:
        return driven_directly()

    async def nested() -> tuple[bool, bool]:
        return await ask(), run_direct(ask())

    assert await nested() == (False, True)
    assert await asyncio.create_task(nested()) == (False, True)
    assert run_direct(nested()) == (True, True)
