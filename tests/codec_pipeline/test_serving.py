"""What the bulk pipeline does together, and what it leaves to zarr's."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
import zarr.codecs
from zarr.storage import MemoryStore

import icechunk_core as ic
from icechunk_core.contract.wrappers import Fault, with_faults, with_latency, with_metrics
from icechunk_core.drive import run
from icechunk_core.errors import Corrupt, Unavailable
from tests.interop.implementations import create, open_repo

SHAPE = (160, 160)
VALUES = np.random.default_rng(7).random(SHAPE)
SMALL_PACKS = ic.PackConfig(max_chunk_bytes=4_096, target_bytes=40_000, buffered_bytes=80_000)


def new_array(store: Any, **options: Any) -> Any:
    """400 chunks of 512 bytes."""
    options = {"chunks": (8, 8), "compressors": None, "filters": None, "fill_value": 0, **options}
    return zarr.create_array(store, name="a", shape=SHAPE, dtype="f8", **options)


def repository(storage: ic.Storage, packs: Any = SMALL_PACKS) -> ic.Repository:
    config = ic.RepositoryConfig(inline_chunk_threshold_bytes=100)
    return ic.Repository.create(storage, config, packs=packs)


def opened(repo: ic.Repository) -> Any:
    return zarr.open_array(repo.readonly_session("main").store, path="a", mode="r")


@pytest.fixture(params=["memory", "file", "suspending"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ic.Storage:
    """One that never suspends, the same in files, and one that does."""
    if request.param == "file":
        return ic.local_filesystem_storage(str(tmp_path / "repository"), durable=False)
    memory = ic.in_memory_storage()
    return with_latency(memory, 0) if request.param == "suspending" else memory


@pytest.mark.usefixtures("only_bulk")
@pytest.mark.parametrize("compressors", [None, "auto"])
def test_whole_arrays(storage: ic.Storage, compressors: Any) -> None:
    """Several packs, overwriting, reading before and after the commit: all without zarr's pipeline."""
    repo = repository(storage)
    session = repo.writable_session("main")
    array = new_array(session.store, compressors=compressors)
    array[:] = VALUES
    np.testing.assert_array_equal(array[:], VALUES)
    array[::2] = -1.0
    array[8:16] = 0.0  # fill values: these chunks are deleted
    expected = VALUES.copy()
    expected[::2] = -1.0
    expected[8:16] = 0.0
    np.testing.assert_array_equal(array[:], expected)
    assert not run(session.store.exists("a/c/1/3"), may_suspend=storage.may_suspend)
    session.commit("written")
    np.testing.assert_array_equal(opened(repo)[:], expected)
    np.testing.assert_array_equal(opened(repo)[3:150:7, 5:99], expected[3:150:7, 5:99])
    session = repo.writable_session("main")
    array = zarr.open_array(session.store, path="a")
    array[:, :40] = 5.0
    expected[:, :40] = 5.0
    np.testing.assert_array_equal(array[:], expected)


@pytest.mark.usefixtures("only_bulk")
def test_requests(storage: ic.Storage) -> None:
    """400 chunks are a handful of requests; a column of chunks fetches at most what may be read in vain."""
    counted, metrics = with_metrics(storage)
    repo = repository(counted, ic.PackConfig(over_read_bytes=2_000, read_ahead_bytes=0))
    session = repo.writable_session("main")
    new_array(session.store)[:] = VALUES
    session.commit("written")
    array = opened(repo)
    array[:8]
    metrics.calls.clear()
    metrics.bytes_read = 0
    np.testing.assert_array_equal(array[:], VALUES)
    assert metrics.calls["get_range"] <= 2
    metrics.bytes_read = 0
    np.testing.assert_array_equal(array[:, 8:16], VALUES[:, 8:16])
    # Of 20 chunks, 10 KB apart: nothing between them is fetched where only 2 KB may be in vain.
    if storage.may_suspend:
        assert metrics.bytes_read == 20 * 512


def _chunk_objects(storage: ic.Storage) -> list[str]:
    async def keys() -> list[str]:
        return [info.key async for info in storage.list("chunks/")]

    return run(keys(), may_suspend=storage.may_suspend)


@pytest.mark.usefixtures("bulk")
@pytest.mark.parametrize("damage", ["missing", "short"])
def test_damaged_packs(storage: ic.Storage, damage: str) -> None:
    """A lost or shortened object is the error that zarr's pipeline gives, and names a chunk."""
    repo = repository(storage)
    session = repo.writable_session("main")
    new_array(session.store)[:] = VALUES
    session.commit("written")
    for key in _chunk_objects(storage):
        if damage == "missing":
            run(storage.delete([key]), may_suspend=storage.may_suspend)
        else:
            data, _ = run(storage.get_range(key, None), may_suspend=storage.may_suspend)
            run(storage.put(key, bytes(data)[:-1]), may_suspend=storage.may_suspend)
    messages = []
    for pipeline in ("default", "bulk"):
        chosen = "zarr.core.codec_pipeline.BatchedCodecPipeline"
        with zarr.config.set({"codec_pipeline.path": chosen} if pipeline == "default" else {}):
            with pytest.raises(Corrupt, match="reading 'a/c/") as caught:
                opened(ic.Repository.open(storage))[:]
            messages.append(caught.value.message.partition("'a/c/")[0])
            writer = zarr.open_array(ic.Repository.open(storage).writable_session("main").store, path="a")
            with pytest.raises(Corrupt, match="reading 'a/c/"):
                writer[1:-1] = 1.0
    assert messages[0] == messages[1]


@pytest.mark.usefixtures("bulk")
@pytest.mark.parametrize("compressors", [None, "auto"])
def test_chunks_of_a_wrong_size(compressors: Any) -> None:
    """Bytes that are no chunk are the error that zarr's pipeline gives."""
    store = repository(ic.in_memory_storage()).writable_session("main").store
    array = new_array(store, compressors=compressors)
    array[:] = VALUES
    run(store.set("a/c/3/3", zarr.core.buffer.cpu.Buffer.from_bytes(b"x" * 200)), may_suspend=False)
    errors = []
    for pipeline in ("zarr.core.codec_pipeline.FusedCodecPipeline", None):
        with zarr.config.set({"codec_pipeline.path": pipeline} if pipeline else {}):
            reader = zarr.open_array(store, path="a", mode="r")
            with pytest.raises((ValueError, RuntimeError)) as caught:
                reader[:]
            errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


@pytest.mark.usefixtures("bulk")
def test_errors_of_the_storage(storage: ic.Storage) -> None:
    """A storage that cannot be reached is that error, with a key; afterwards everything can be read."""
    faulty, log = with_faults(storage)
    repo = repository(faulty)
    session = repo.writable_session("main")
    new_array(session.store)[:] = VALUES
    session.commit("written")
    array = opened(repo)
    array[0, 0]
    log.add(Fault("get_range", lambda: Unavailable("down"), times=None))
    with pytest.raises(Unavailable, match="reading 'a/c/"):
        array[8:]
    log.clear()
    np.testing.assert_array_equal(array[:], VALUES)


@pytest.mark.usefixtures("bulk")
def test_read_only_sessions_refuse() -> None:
    """Writing through a session that was committed is refused, as it is chunk by chunk."""
    session = repository(ic.in_memory_storage()).writable_session("main")
    array = new_array(session.store)
    array[:] = VALUES
    session.commit("written")
    with pytest.raises((ic.IcechunkError, ValueError), match="read-only"):
        array[:] = 1.0


@pytest.mark.usefixtures("only_bulk")
@pytest.mark.parametrize("compressors", [None, "auto"])
def test_threads(storage: ic.Storage, compressors: Any) -> None:
    """Threads that write and read parts of one array at the same time do not disturb one another."""
    repo = repository(storage)
    session = repo.writable_session("main")
    array = new_array(session.store, compressors=compressors)

    def work(band: int) -> None:
        rows = slice(40 * band, 40 * band + 40)
        for turn in range(3):
            array[rows] = VALUES[rows] + turn
            np.testing.assert_array_equal(array[rows], VALUES[rows] + turn)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    np.testing.assert_array_equal(array[:], VALUES + 2)
    session.commit("written")
    np.testing.assert_array_equal(opened(repo)[:], VALUES + 2)


@pytest.mark.usefixtures("only_bulk")
def test_missing_chunks_are_told() -> None:
    """Where missing chunks are to be an error, zarr gets to know which are missing."""
    store = repository(ic.in_memory_storage()).writable_session("main").store
    new_array(store)[:80] = VALUES[:80]
    array = zarr.open_array(store, path="a", mode="r", config={"read_missing_chunks": False})
    np.testing.assert_array_equal(array[:80], VALUES[:80])
    with pytest.raises(zarr.errors.ChunkNotFoundError, match=r"^20 chunk\(s\) not found"):
        array[72:88]


@pytest.mark.usefixtures("bulk")
def test_other_stores() -> None:
    """Arrays in other stores, and sharded ones, are read and written by zarr's pipeline."""
    array = new_array(MemoryStore())
    array[:] = VALUES
    np.testing.assert_array_equal(array[:], VALUES)
    store = repository(ic.in_memory_storage()).writable_session("main").store
    array = new_array(store, shards=(32, 32))
    array[:] = VALUES
    np.testing.assert_array_equal(array[4:99, 7:], VALUES[4:99, 7:])


@pytest.mark.usefixtures("bulk")
def test_caches_and_missing_packs_are_left_alone(storage: ic.Storage) -> None:
    """With a cache of chunks, and without packs, values are the same."""
    config = ic.RepositoryConfig(caching=ic.CachingConfig(num_bytes_chunks=10_000_000))
    repo = ic.Repository.create(storage, config, packs=False)
    session = repo.writable_session("main")
    new_array(session.store, chunks=(40, 40))[:] = VALUES
    session.commit("written")
    for _ in range(2):
        np.testing.assert_array_equal(opened(repo)[:], VALUES)


@pytest.mark.usefixtures("only_bulk")
def test_virtual_and_inline_chunks(tmp_path: Path) -> None:
    """Virtual, inline, packed and missing chunks of one selection."""
    target = tmp_path / "values.bin"
    target.write_bytes(VALUES[:8, :8].tobytes() * 3)
    url = target.as_uri()
    config = ic.RepositoryConfig.default()
    config.set_virtual_chunk_container(
        ic.VirtualChunkContainer(tmp_path.as_uri() + "/", ic.local_filesystem_store(str(tmp_path)))
    )
    allowed = {tmp_path.as_uri() + "/": ic.Credentials.LocalFileSystemAccess()}
    repo = ic.Repository.create(ic.in_memory_storage(), config, authorize_virtual_chunk_access=allowed)
    store = repo.writable_session("main").store
    array = zarr.create_array(
        store,
        name="a",
        shape=(8, 80),
        chunks=(8, 8),
        dtype="f8",
        compressors=None,
        filters=None,
        fill_value=3,
    )
    array[:, 16:48] = VALUES[:8, 16:48]
    for column in (0, 1):
        store.set_virtual_ref(f"a/c/0/{column}", url, offset=512 * column, length=512)
    expected = np.full((8, 80), 3.0)
    expected[:, :8] = expected[:, 8:16] = VALUES[:8, :8]
    expected[:, 16:48] = VALUES[:8, 16:48]
    np.testing.assert_array_equal(array[:], expected)
    array[2:4] = 1.0
    expected[2:4] = 1.0
    np.testing.assert_array_equal(array[:], expected)


@pytest.mark.usefixtures("bulk")
def test_pickled_arrays() -> None:
    """An array of a forked session works after pickling, with its pipeline."""
    repo = repository(ic.in_memory_storage())
    session = repo.writable_session("main")
    new_array(session.store)
    session.commit("array")
    fork = repo.writable_session("main").fork()
    array = pickle.loads(pickle.dumps(zarr.open_array(fork.store, path="a")))
    array[:] = VALUES
    np.testing.assert_array_equal(array[:], VALUES)


@pytest.mark.usefixtures("bulk")
def test_with_icechunk(peer: Any, tmp_path: Path) -> None:
    """Icechunk reads what was written in bulk, and what Icechunk wrote is read in bulk."""
    ours = create(ic, tmp_path / "ours")
    theirs = create(peer, tmp_path / "theirs")
    for repo in (ours, theirs):
        session = repo.writable_session("main")
        array = new_array(session.store, chunks=(16, 16))
        array[:] = VALUES
        array[5:40, 3:70] = -0.0
        session.commit("written")
    expected = VALUES.copy()
    expected[5:40, 3:70] = -0.0
    for module, place in ((peer, "ours"), (ic, "theirs")):
        found = opened(open_repo(module, tmp_path / place))[:]
        assert found.tobytes() == expected.tobytes()


@pytest.mark.usefixtures("bulk")
def test_with_xarray_and_dask() -> None:
    """Datasets are written by dask's threads and read again."""
    xr = pytest.importorskip("xarray")
    pytest.importorskip("dask")
    from icechunk_core.xarray import to_icechunk

    repo = repository(ic.in_memory_storage())
    data = xr.Dataset({"v": (("y", "x"), VALUES)})
    session = repo.writable_session("main")
    to_icechunk(data.chunk(y=40, x=80), session, encoding={"v": {"chunks": (8, 8)}})
    session.commit("written")
    read = xr.open_zarr(repo.readonly_session("main").store, consolidated=False, chunks={"y": 40})
    xr.testing.assert_equal(read.load(), data)


def test_loading_is_light() -> None:
    """zarr finds the pipeline by its name, and loading it loads no session: zarr loads it for everybody."""
    program = """
import sys, zarr
zarr.config.set({"codec_pipeline.path": "icechunk_core.codec_pipeline.BulkCodecPipeline"})
array = zarr.create_array({}, shape=(8,), chunks=(1,), dtype="i4")
array[:] = 1
assert array[:].sum() == 8
print(*sorted(name for name in sys.modules if name.startswith("icechunk_core.")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "icechunk_core.codec_pipeline" in loaded
    assert not [name for name in loaded if name.startswith(("icechunk_core.session", "icechunk_core.store"))]
