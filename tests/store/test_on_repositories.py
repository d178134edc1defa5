"""The store on real sessions: what neither the store nor the engine shows alone."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from icechunk_core import Repository
from icechunk_core.errors import ErrorKind, IcechunkError, InvalidInputError, NodeNotFoundError, ReadOnlyError
from icechunk_core.session.session import Session
from icechunk_core.storage import local_filesystem_storage
from tests.store.conftest import GROUP, array_json, buffer, collect
from tests.store.repositories import filesystem_repository, memory_repository

PROTOTYPE = default_buffer_prototype()
SMALL, LARGE = b"small", bytes(range(256)) * 40
"""Chunks below and above the threshold for storing them in the manifest."""


@pytest.fixture(params=[lambda _: memory_repository(), filesystem_repository], ids=["memory", "filesystem"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    make: Callable[[Path], Repository] = request.param
    return make(tmp_path / "repository")


async def write_sample(session: Session) -> None:
    """A group with an array of two chunks, one small and one large."""
    await session.store.set("zarr.json", buffer(GROUP))
    await session.store.set("a/zarr.json", buffer(array_json((4,), (1,))))
    await session.store.set("a/c/0", buffer(SMALL))
    await session.store.set("a/c/3", buffer(LARGE))


@pytest.mark.parametrize("committed", [False, True])
async def test_parts_of_chunks(repository: Repository, committed: bool) -> None:
    """Ranges of chunks in the manifest and in objects, before and after the commit, are the same bytes."""
    session = repository.writable_session("main")
    await write_sample(session)
    if committed:
        await session.commit_async("sample")
        session = await repository.readonly_session_async("main")
    for key, whole in (("a/c/0", SMALL), ("a/c/3", LARGE)):
        for asked, part in [
            (None, slice(None)),
            (RangeByteRequest(1, 3), slice(1, 3)),
            (RangeByteRequest(2, 1_000_000), slice(2, None)),
            (OffsetByteRequest(4), slice(4, None)),
            (SuffixByteRequest(3), slice(-3, None)),
            (SuffixByteRequest(1_000_000), slice(None)),
            (OffsetByteRequest(len(whole)), slice(0, 0)),
            (RangeByteRequest(2, 2), slice(0, 0)),
        ]:
            value = await session.store.get(key, PROTOTYPE, asked)
            assert value is not None
            assert value.to_bytes() == whole[part]
        assert await session.store.getsize(key) == len(whole)
    assert await session.store.getsize_prefix("a/c") == len(SMALL) + len(LARGE)


@pytest.mark.parametrize("committed", [False, True])
async def test_refused_writes(repository: Repository, committed: bool) -> None:
    """Each kind of wrong write is refused with its reason and is not there afterwards."""
    session = repository.writable_session("main")
    await write_sample(session)
    if committed:
        await session.commit_async("sample")
        session = await repository.writable_session_async("main")
    before = await collect(session.store.list())
    for key, value, kind in [
        ("a/c/4", b"x", ErrorKind.INVALID_CHUNK_INDEX),
        ("a/c/0/0", b"x", ErrorKind.INVALID_CHUNK_INDEX),
        ("a/c", b"x", ErrorKind.INVALID_CHUNK_INDEX),
        ("c/0", b"x", ErrorKind.NOT_AN_ARRAY),
        ("a/c/0", b"", ErrorKind.ZERO_LENGTH_CHUNK),
        ("a/c/00", b"x", ErrorKind.INVALID_KEY),
        ("a/.zarray", b"{}", ErrorKind.UNIMPLEMENTED),
        ("b/zarr.json", b"", ErrorKind.BAD_METADATA),
        ("b/zarr.json", b"\xff{}", ErrorKind.BAD_METADATA),
        ("b/zarr.json", b"[]", ErrorKind.BAD_METADATA),
        ("b/zarr.json", b"{}", ErrorKind.BAD_METADATA),
        ("b/zarr.json", b'{"node_type": "tree"}', ErrorKind.BAD_METADATA),
        ("b/zarr.json", b'{"node_type": "group", "zarr_format": 2}', ErrorKind.BAD_METADATA),
        ("b/zarr.json", b'{"node_type": "array"}', ErrorKind.BAD_METADATA),
        ("b/zarr.json", array_json((4,), (1, 1)), ErrorKind.INVALID_ARRAY_METADATA),
        ("a/zarr.json", GROUP, ErrorKind.NODE_ALREADY_EXISTS),
        ("a/c/zarr.json", GROUP, ErrorKind.INVALID_PATH),
    ]:
        with pytest.raises(IcechunkError) as caught:
            await session.store.set(key, buffer(value))
        assert caught.value.kind == kind, (key, value)
        assert str(caught.value)
    with pytest.raises(NodeNotFoundError):
        await session.store.set("missing/c/0", buffer(b"x"))
    assert await collect(session.store.list()) == before


async def test_store_after_the_commit(repository: Repository) -> None:
    """A commit makes the session's stores read-only, and they go on showing what was committed."""
    session = repository.writable_session("main")
    store = session.store
    await write_sample(session)
    await session.commit_async("sample")
    assert store.read_only
    with pytest.raises(ReadOnlyError):
        await store.set("a/c/1", buffer(SMALL))
    assert (await store.get("a/c/3", PROTOTYPE)).to_bytes() == LARGE  # type: ignore[union-attr]
    assert store == repository.readonly_session("main").store


def test_session_of_a_store(repository: Repository) -> None:
    """A store leads back to its session, which outlives the caller's own reference to it."""
    session = repository.writable_session("main")
    assert session.store.session is session
    store = repository.writable_session("main").store
    assert store.session.branch == "main"
    assert store == store.session.store


def test_equality(repository: Repository) -> None:
    """Stores of sessions with the same state are equal, and no longer once one of them has changes."""
    first, second = repository.writable_session("main"), repository.writable_session("main")
    assert first.store == second.store
    zarr.create_group(first.store)
    assert first.store != second.store


def test_pickling(tmp_path: Path) -> None:
    """The store of a read-only session pickles with its session; that of a writable one says to fork."""
    repository = filesystem_repository(tmp_path / "repository")
    session = repository.writable_session("main")
    array = zarr.create_array(session.store, name="a", shape=(10,), chunks=(5,), dtype="i4")
    array[:] = np.arange(10)
    with pytest.raises(InvalidInputError, match="fork"):
        pickle.dumps(session.store)
    session.commit("array")
    store = (
        Repository.open(local_filesystem_storage(str(tmp_path / "repository"))).readonly_session("main").store
    )
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert copy.read_only
    assert copy.session.snapshot_id == store.session.snapshot_id
    np.testing.assert_array_equal(zarr.open_array(copy, path="a")[:], np.arange(10))


def test_threads(repository: Repository) -> None:
    """Chunks written and read from many threads at once all arrive."""
    session = repository.writable_session("main")
    store = session.store
    zarr.create_array(store, name="a", shape=(400,), chunks=(1,), dtype="i4")

    def work(at: int) -> bool:
        value = (b"%06d" % at) * (1 if at % 2 else 400)
        store.set_sync(f"a/c/{at}", buffer(value))
        back = store.get_sync(f"a/c/{at}")
        return back is not None and back.to_bytes() == value

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(400)))
    session.commit("threads")
    reader = repository.readonly_session("main").store
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda at: reader.get_sync(f"a/c/{at}"), range(400)))
    assert all(value is not None and value.to_bytes()[:6] == b"%06d" % at for at, value in enumerate(values))


def test_shrunk_array_hides_chunks(repository: Repository) -> None:
    """After a resize, chunks outside the grid are neither read nor listed, committed or not."""
    session = repository.writable_session("main")
    array = zarr.create_array(session.store, name="a", shape=(6, 6), chunks=(2, 2), dtype="i4")
    array[:] = 1
    session.commit("six")
    session = repository.writable_session("main")
    store = session.store
    zarr.open_array(store, path="a").resize((2, 6))
    assert store.get_sync("a/c/2/0") is None
    assert sorted(store._sync_iter(store.list_dir("a/c"))) == ["0"]
    assert sorted(store._sync_iter(store.list_prefix("a/c/"))) == ["a/c/0/0", "a/c/0/1", "a/c/0/2"]


def test_virtual_refs(repository: Repository) -> None:
    """Refs that no container covers are refused or named, others are stored with their size and listed."""
    session = repository.writable_session("main")
    zarr.create_array(session.store, name="a", shape=(4,), chunks=(1,), dtype="i4")
    with pytest.raises(InvalidInputError) as caught:
        session.store.set_virtual_ref("a/c/0", "s3://bucket/key", offset=0, length=4)
    assert caught.value.kind == ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK
    session.store.set_virtual_ref("a/c/0", "s3://bucket/key", offset=0, length=4, validate_container=False)
    columns = np.zeros(2, "u8"), np.full(2, 4, "u8")
    locations = ["s3://bucket/1", "s3://bucket/2"]
    failed = session.store.set_virtual_refs_arr("a", (2,), locations, *columns, arr_offset=(1,))
    assert failed == [(1,), (2,)]
    assert session.store._sync(session.store.getsize("a/c/0")) == 4
    session.commit("virtual")
    reader = repository.readonly_session("main").store
    assert sorted(reader._sync_iter(reader.list_dir("a/c"))) == ["0"]
    assert reader._sync(reader.exists("a/c/0"))
