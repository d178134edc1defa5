"""The wrapper keeps the contract, asks the storage once for what never changes, and never harms a read."""

from __future__ import annotations

import asyncio
import functools
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from icechunk_cache._files import BLOCK
from icechunk_cache._immutable import may_be_cached, never_changes
from icechunk_cache._storage import cached
from icechunk_cache.plugin import CacheConfig

import icechunk_core
from icechunk_conformance import Location
from icechunk_conformance.pytest import StorageConformance
from icechunk_core.contract import ByteRange, From, IfVersion, Range, Storage, Suffix, Version
from icechunk_core.drive import run_direct
from icechunk_core.errors import InvalidRange, NotFound, StorageConfigError, VersionMismatch
from icechunk_core.storage import StorageMetrics, storage_from_url, with_metrics

CHUNK = "chunks/0123456789ABCDEFGHJK"
SIZE = 3 * BLOCK + 1000


class TestConformance(StorageConformance):
    """What the contract promises holds with the cache in front."""

    @pytest.fixture(scope="class")
    @classmethod
    def location(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Location]:
        """On memory, with a directory of its own."""
        location = Location.from_url(f"cached+memory:?cached.directory={tmp_path_factory.mktemp('cache')}")
        yield location
        asyncio.run(location.cleanup())


@functools.cache
def body(size: int) -> bytes:
    """Bytes in which every place can be told."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the cache is."""
    return tmp_path / "cache"


@pytest.fixture
def counted() -> tuple[Storage, StorageMetrics]:
    """A storage with one object, and what it is asked for."""
    storage, metrics = with_metrics(storage_from_url("memory:"))
    run_direct(storage.put(CHUNK, body(SIZE)))
    metrics.reset()
    return storage, metrics


def read(storage: Storage, byte_range: ByteRange = None, version: Version | None = None) -> bytes:
    """Bytes of the object; what is said about it must be right."""
    data, info = run_direct(storage.get_range(CHUNK, byte_range, version))
    assert (info.key, info.size) == (CHUNK, SIZE)
    return bytes(data)


def with_cache(storage: Storage, directory: Path, size: int = 1 << 30) -> Storage:
    """A cache in front of a storage."""
    return cached(storage, CacheConfig(directory, size))


def test_the_second_read_asks_nobody(counted: tuple[Storage, StorageMetrics], directory: Path) -> None:
    """Whole or in part: what was read once comes from disk, with the same description, for another client
    too."""
    inner, metrics = counted
    storage, other = with_cache(inner, directory), with_cache(inner, directory)
    data, info = run_direct(storage.get_range(CHUNK))
    assert metrics.calls["get_range"] == 1
    for byte_range in (None, Range(5, 9), Range(BLOCK - 1, 2 * BLOCK + 1), From(BLOCK * 3), Suffix(77)):
        expected = run_direct(inner.get_range(CHUNK, byte_range))
        calls = metrics.calls["get_range"]
        found = run_direct(other.get_range(CHUNK, byte_range))
        assert (bytes(found[0]), found[1]) == (bytes(expected[0]), expected[1])
        assert metrics.calls["get_range"] == calls
    assert (bytes(data), info.size) == (body(SIZE), SIZE)


def test_parts_fetch_the_blocks_that_are_missing(
    counted: tuple[Storage, StorageMetrics], directory: Path
) -> None:
    """A small part fetches its block in one request, a neighbour then nothing, a longer part what is not
    there yet."""
    inner, metrics = counted
    storage, data = with_cache(inner, directory), body(SIZE)
    asked = []
    for start, end in ((BLOCK + 10, BLOCK + 20), (BLOCK, BLOCK + 5), (0, 3 * BLOCK), (3 * BLOCK, SIZE + 99)):
        before = metrics.bytes_read
        assert read(storage, Range(start, end)) == data[start:end]
        asked.append(metrics.bytes_read - before)
    assert asked == [BLOCK, 0, 3 * BLOCK, 1000]
    assert metrics.calls["get_range"] == 3
    with pytest.raises(InvalidRange):
        run_direct(storage.get_range(CHUNK, Range(SIZE, SIZE + 1)))


def test_what_can_change_is_never_kept(counted: tuple[Storage, StorageMetrics], directory: Path) -> None:
    """``repo``, refs, the configuration, backups, and names that are not random are always read anew."""
    inner, metrics = counted
    storage = with_cache(inner, directory)
    keys = [
        "repo",
        "config.yaml",
        "refs/branch.main/ref.json",
        "overwritten/repo.1234.0123456789ABCDEFGHJK",
        "chunks/short",
        "snapshots/1CECHNKREP0F1RSTCMT0",
    ]
    for key in keys:
        for number in range(3):
            run_direct(storage.put(key, b"%d" % number))
            assert bytes(run_direct(storage.get_range(key))[0]) == b"%d" % number
    assert metrics.calls["get_range"] == 3 * len(keys)
    assert not list(directory.rglob("*.0"))


@pytest.mark.parametrize(("version", "keeps"), [(1, False), (2, True)])
def test_snapshots_of_the_first_format_change(version: int, keeps: bool) -> None:
    """Expiration overwrites them; those of the second format are written once."""
    repo = icechunk_core.Repository.create("memory:", spec_version=version)
    session = repo.writable_session("main")
    snapshot = session.commit("empty", allow_empty=True)
    key = f"snapshots/{snapshot}"
    data, _ = run_direct(repo.storage.get_range(key))
    assert may_be_cached(key)
    assert never_changes(key, bytes(data[:64])) is keeps


def test_a_repository_through_it(directory: Path, tmp_path: Path) -> None:
    """A second reader takes chunks and metadata from disk, and still sees each new commit at once."""
    import zarr

    url = f"cached+{(tmp_path / 'repo').as_uri()}?cached.directory={directory}"
    repo = icechunk_core.Repository.create(url)
    for number in range(3):
        with repo.transaction("main", message=str(number)) as store:
            array = zarr.create_array(store, name=f"a{number}", shape=(64, 64), chunks=(8, 8), dtype="f8")
            array[:] = number
        store = icechunk_core.Repository.open(url).readonly_session("main").store
        assert zarr.open_array(store, path=f"a{number}", mode="r")[:].sum() == number * 64 * 64
    assert list(directory.rglob("*.0"))


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "of another object", "of another version"])
def test_damaged_files_are_noticed(
    counted: tuple[Storage, StorageMetrics], directory: Path, damage: str
) -> None:
    """Whatever happens to the files, a read gives what the storage has, and the cache mends itself."""
    inner, _ = counted
    storage, data = with_cache(inner, directory), body(SIZE)
    other = f"{CHUNK[:-1]}M"
    run_direct(inner.put(other, data[::-1]))
    assert read(storage) == data
    run_direct(storage.get_range(other))
    files = list(directory.rglob("*.1"))
    contents = [file.read_bytes() for file in files]
    for file, content, another in zip(files, contents, contents[::-1], strict=True):
        changed = content[:-900] + bytes([content[-900] ^ 1]) + content[-899:]
        file.write_bytes(
            {
                "empty": b"",
                "cut": content[:-5],
                "changed": changed,
                "of another object": another,
                "of another version": content,
            }[damage]
        )
    if damage == "of another version":
        run_direct(inner.put(CHUNK, data))
        for number in (0, 2):
            for file in directory.rglob(f"*.{number}"):
                file.unlink()
    for _ in range(2):
        assert read(storage) == data
        assert read(storage, Range(BLOCK + 5, BLOCK + 10)) == data[BLOCK + 5 : BLOCK + 10]


def test_a_full_disk_only_means_no_cache(
    counted: tuple[Storage, StorageMetrics], directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Reads go on when files cannot be written, a warning says so once, and nothing half is left."""
    inner, metrics = counted
    storage = with_cache(inner, directory)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        assert [read(storage) == body(SIZE) for _ in range(3)] == [True] * 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert metrics.calls["get_range"] == 3
    assert [record.name for record in caplog.records] == ["icechunk_cache"]
    assert not [path for path in directory.rglob("*") if path.is_file() and path.name != "lock"]


def test_the_size_is_bounded(directory: Path) -> None:
    """However much is read, the files take no more than the size; what was used last stays."""
    inner, metrics = with_metrics(storage_from_url("memory:"))
    size = 16 << 20
    storage = with_cache(inner, directory, size)
    keys = [f"chunks/0123456789ABCDEFGH{number:02d}" for number in range(60)]
    most = 0
    for key in keys:
        run_direct(inner.put(key, body(4 * BLOCK)))
        run_direct(storage.get_range(key))
        most = max(most, sum(path.stat().st_blocks * 512 for path in directory.rglob("*.[0-9]")))
    assert size / 2 < most <= size
    calls = metrics.calls["get_range"]
    for key in keys[-8:]:
        run_direct(storage.get_range(key))
    assert metrics.calls["get_range"] == calls


def test_what_killed_writers_left_goes(directory: Path) -> None:
    """Half-written files are removed once they are old; new ones, which somebody still writes, are not."""
    inner, _ = with_metrics(storage_from_url("memory:"))
    run_direct(inner.put(CHUNK, body(BLOCK)))
    folder = directory / "00"
    folder.mkdir(parents=True)
    old, new = folder / "old.tmp", folder / "new.tmp"
    for file in (old, new):
        file.write_bytes(b"x")
    os.utime(old, (0, 0))
    run_direct(with_cache(inner, directory).get_range(CHUNK))
    assert (old.exists(), new.exists()) == (False, True)


def test_deleted_objects_are_forgotten(counted: tuple[Storage, StorageMetrics], directory: Path) -> None:
    """What garbage collection deletes on this machine is gone from the cache too, and so is what is put
    again."""
    inner, _ = counted
    storage = with_cache(inner, directory)
    read(storage)
    run_direct(storage.delete([CHUNK]))
    with pytest.raises(NotFound):
        run_direct(storage.get_range(CHUNK))
    run_direct(storage.put(CHUNK, body(SIZE)))
    read(storage)
    run_direct(storage.put(CHUNK, body(SIZE)[::-1]))
    assert read(storage) == body(SIZE)[::-1]


def test_a_version_that_is_insisted_on(counted: tuple[Storage, StorageMetrics], directory: Path) -> None:
    """The cache answers for the version that it has; for any other the storage does."""
    inner, metrics = counted
    storage = with_cache(inner, directory)
    _, info = run_direct(storage.get_range(CHUNK))
    assert info.version is not None
    assert read(storage, Range(0, 9), info.version) == body(9)
    assert metrics.calls["get_range"] == 1
    with pytest.raises(VersionMismatch):
        run_direct(storage.get_range(CHUNK, None, Version("another")))
    with pytest.raises(VersionMismatch):
        run_direct(storage.put(CHUNK, b"", IfVersion(Version("another"))))


def test_processes_share_it(directory: Path, tmp_path: Path) -> None:
    """What one process read, another one need not fetch: not even from a storage that is gone."""
    root = tmp_path / "objects"
    url = f"cached+{root.as_uri()}?verbatim=true&cached.directory={directory}"
    run_direct(storage_from_url(url).put(CHUNK, body(SIZE)))
    program = (
        "import sys, zlib\nfrom icechunk_core.storage import storage_from_url\n"
        "from icechunk_core.drive import run_direct\n"
        f"data, _ = run_direct(storage_from_url({url!r}).get_range({CHUNK!r}))\nprint(zlib.crc32(data))"
    )
    printed = []
    for _ in range(2):
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        printed.append(run.stdout)
        for path in root.rglob("*"):
            if path.is_file():
                path.unlink()
    assert printed[0] == printed[1]


def test_storages_do_not_share_objects(directory: Path) -> None:
    """The same key in two storages, or with another wrapper inside, is another object."""
    urls = [f"cached+memory:{name}?cached.directory={directory}" for name in ("one", "other")]
    storages = [storage_from_url(url) for url in urls]
    for number, storage in enumerate(storages):
        run_direct(storage.put(CHUNK, b"%d" % number))
    assert [bytes(run_direct(storage.get_range(CHUNK))[0]) for storage in storages * 2] == [b"0", b"1"] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("cached.size=1M", "size"),
        ("cached.size=much", "expected bytes, or a text such as 20G"),
        ("cached.directory=/dev/null/cache", "choose another one with the option 'cached.directory'"),
    ],
)
def test_options_that_cannot_be(options: str, message: str) -> None:
    """Too small a cache, no size at all, and a place where no directory can be are told at open."""
    with pytest.raises(StorageConfigError, match=message):
        storage_from_url(f"cached+memory:?{options}")
