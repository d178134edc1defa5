"""Reading, writing, deleting: what the contract says, on files, in both modes."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from icechunk_core.contract import (
    IF_ABSENT,
    AtomicityScope,
    ByteRange,
    From,
    IfVersion,
    KeySpace,
    Range,
    Storage,
    Suffix,
    Version,
)
from icechunk_core.contract.errors import (
    AlreadyExists,
    Closed,
    InvalidKey,
    InvalidRange,
    NotFound,
    StorageConfigError,
    Unsupported,
    VersionMismatch,
)
from tests.backends.filesystem.support import files_below, keys_of, now, open_at, read


async def test_what_was_put_is_read(either: Storage, root: Path) -> None:
    """An object comes back whole, with its size, version and time, and is a plain file."""
    version = await either.put("chunks/A", [b"ab", memoryview(b"cd"), bytearray(b"e")])
    data, info = await either.get_range("chunks/A")
    assert bytes(data) == b"abcde"
    assert (info.key, info.size, info.version) == ("chunks/A", 5, version)
    assert abs(info.last_modified - datetime.now(UTC)) < timedelta(minutes=1)
    assert await either.head("chunks/A") == info
    assert (root / "chunks" / "A").read_bytes() == b"abcde"


@pytest.mark.parametrize(
    ("byte_range", "expected"),
    [
        (None, b"0123456789"),
        (Range(0, 3), b"012"),
        (Range(7, 100), b"789"),
        (From(4), b"456789"),
        (Suffix(2), b"89"),
        (Suffix(50), b"0123456789"),
    ],
)
async def test_ranges(either: Storage, byte_range: ByteRange, expected: bytes) -> None:
    """Every kind of range, clamped at the end."""
    await either.put("x", b"0123456789")
    data, info = await either.get_range("x", byte_range)
    assert bytes(data) == expected
    assert info.size == 10


@pytest.mark.parametrize("byte_range", [Range(10, 11), Range(3, 3), Range(-1, 2), From(10), Suffix(0)])
async def test_ranges_outside(either: Storage, byte_range: ByteRange) -> None:
    """A range that starts past the end, or is empty, is an error."""
    await either.put("x", b"0123456789")
    with pytest.raises(InvalidRange):
        await either.get_range("x", byte_range)


async def test_empty_and_large_objects(either: Storage) -> None:
    """Zero bytes, and more than one write call may take."""
    await either.put("empty", b"")
    assert bytes((await either.get_range("empty"))[0]) == b""
    large = os.urandom(5_000_000)
    await either.put("large", [large[:10], memoryview(large)[10:]])
    assert bytes((await either.get_range("large"))[0]) == large


async def test_buffers_of_other_shapes(storage: Storage) -> None:
    """Views of wider items, and with gaps, are written as their bytes."""
    wide = memoryview(bytes(range(16))).cast("I")
    await storage.put("wide", wide)
    assert read(storage, "wide") == bytes(range(16))
    await storage.put("gaps", memoryview(b"abcdef")[::2])
    assert read(storage, "gaps") == b"ace"


async def test_missing_objects(either: Storage) -> None:
    """What is not there is `NotFound`; deleting it succeeds."""
    for key in ("nothing", "no/such/directory"):
        with pytest.raises(NotFound):
            await either.get_range(key)
        with pytest.raises(NotFound):
            await either.head(key)
    await either.put("a/b", b"x")
    for key in ("a", "a/b/c"):
        with pytest.raises(NotFound):
            await either.get_range(key)
    results = await either.delete(["nothing", "a", "a/b/c", "a/b", "a/b"])
    assert [result.key for result in results] == ["nothing", "a", "a/b/c", "a/b", "a/b"]
    assert all(result.error is None for result in results)
    assert not await either.exists("a/b")


async def test_deletions_leave_no_empty_directories(either: Storage, root: Path) -> None:
    """Directories go with the last object in them; the root and directories in use stay."""
    for key in ("a/b/c/1", "a/b/c/2", "a/b/x", "d/1"):
        await either.put(key, b"")
    await either.delete(["a/b/c/1", "d/1"])
    assert (root / "a" / "b" / "c").is_dir()
    assert not (root / "d").exists()
    await either.delete(["a/b/c/2"])
    assert not (root / "a" / "b" / "c").exists()
    await either.delete(["a/b/x"])
    assert sorted(path.name for path in root.iterdir()) == [".icechunk-core"]
    await either.put("a/b/c/1", b"again")
    assert bytes((await either.get_range("a/b/c/1"))[0]) == b"again"


async def test_a_bad_key_spoils_only_itself(either: Storage) -> None:
    """In a batch of deletes each key has its own result."""
    await either.put("good", b"x")
    results = await either.delete(["../bad", "good"])
    assert isinstance(results[0].error, InvalidKey)
    assert results[1].error is None
    assert not await either.exists("good")


async def test_reading_one_version(either: Storage) -> None:
    """A read that asks for a version gets that one or `VersionMismatch`."""
    first = await either.put("x", b"one")
    assert bytes((await either.get_range("x", None, first))[0]) == b"one"
    second = await either.put("x", b"two")
    with pytest.raises(VersionMismatch):
        await either.get_range("x", None, first)
    assert bytes((await either.get_range("x", Range(0, 2), second))[0]) == b"tw"


async def test_conditional_puts(either: Storage) -> None:
    """Create once; update over exactly the version that was read; the loser changes nothing."""
    first = await either.put("repo", b"one", IF_ABSENT)
    with pytest.raises(AlreadyExists):
        await either.put("repo", b"other", IF_ABSENT)
    second = await either.put("repo", b"two", IfVersion(first))
    with pytest.raises(VersionMismatch):
        await either.put("repo", b"late", IfVersion(first))
    with pytest.raises(VersionMismatch):
        await either.put("absent", b"x", IfVersion(first))
    with pytest.raises(VersionMismatch):
        await either.put("repo", b"x", IfVersion(Version("made up")))
    data, info = await either.get_range("repo")
    assert (bytes(data), info.version) == (b"two", second)
    assert not await either.exists("absent")


async def test_user_metadata_is_refused(either: Storage) -> None:
    """Files keep no metadata: it is not declared, so giving some is an error and writes nothing."""
    assert not either.capabilities.metadata
    with pytest.raises(Unsupported):
        await either.put("x", b"x", metadata={"a": "b"})
    assert not await either.exists("x")


async def test_closed(either: Storage) -> None:
    """After closing, which can be repeated, every call says so."""
    await either.put("x", b"x")
    await either.close()
    await either.close()
    with pytest.raises(Closed):
        await either.get_range("x")
    with pytest.raises(Closed):
        await either.head("x")
    with pytest.raises(Closed):
        await either.put("x", b"y")
    with pytest.raises(Closed):
        await either.delete(["x"])
    with pytest.raises(Closed):
        await either.sync(["x"])
    with pytest.raises(Closed):
        [info async for info in either.list("")]


def test_declared_capabilities(root: Path) -> None:
    """A local directory is commit-safe between processes, and says whether calls may suspend."""
    direct, threaded = open_at(root, threaded=False), open_at(root, threaded=True, durable=True)
    for storage in (direct, threaded):
        assert storage.capabilities.commit_safe
        assert storage.capabilities.atomicity is AtomicityScope.PROCESS
        assert storage.capabilities.key_space is KeySpace.TREE
        assert storage.capabilities.fork_safe
    assert (direct.may_suspend, threaded.may_suspend) == (False, True)
    assert (direct.capabilities.durable, threaded.capabilities.durable) == (False, True)


async def test_threaded_mode_leaves_the_loop_free(root: Path) -> None:
    """Calls of a threaded storage suspend, so that others run meanwhile."""
    storage = open_at(root, threaded=True)
    await asyncio.gather(*[storage.put(f"x{number}", b"data") for number in range(40)])
    call = storage.get_range("x0")
    suspended = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    assert not suspended.done()
    assert bytes((await suspended)[0]) == b"data"
    await storage.close()


def test_a_threaded_storage_serves_several_loops(root: Path) -> None:
    """One storage object works from one event loop after another."""
    storage = open_at(root, threaded=True)
    asyncio.run(storage.put("x", b"1"))
    data, _ = asyncio.run(storage.get_range("x"))
    assert bytes(data) == b"1"
    asyncio.run(storage.close())


def test_reading_and_failing_leave_no_trace(root: Path) -> None:
    """Opening, reading and listing create nothing, neither a new root nor in an existing one."""
    storage = open_at(root)
    assert keys_of(storage) == []
    with pytest.raises(NotFound):
        read(storage, "repo")
    assert not root.exists()
    assert list(root.parent.iterdir()) == []
    root.mkdir()
    storage = open_at(root)
    assert keys_of(storage) == []
    now(storage.delete(["x"]))
    assert list(root.iterdir()) == []


def test_bookkeeping_is_not_listed(storage: Storage, root: Path) -> None:
    """Lock, version and temporary files are out of sight of `list`, so of emptiness checks."""
    version = now(storage.put("repo", b"1", IF_ABSENT))
    now(storage.put("repo", b"2", IfVersion(version)))
    assert keys_of(storage) == ["repo"]
    for prefix in (".", ".icechunk-core", ".icechunk-core/", ".icechunk-core/locks/"):
        assert keys_of(storage, prefix) == []
    now(storage.delete(["repo"]))
    assert keys_of(storage) == []
    assert all(name.startswith(".icechunk-core/") for name in files_below(root))
    assert not [name for name in files_below(root) if "/tmp/" in name]


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    """A root that is no directory is refused at open, by name."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageConfigError, match="not a directory"):
        open_at(tmp_path / "file")


def test_the_root_is_made_with_its_parents(tmp_path: Path) -> None:
    """The first write makes the root, at any depth."""
    storage = open_at(tmp_path / "a" / "b" / "c")
    now(storage.put("x", b"x"))
    assert (tmp_path / "a" / "b" / "c" / "x").read_bytes() == b"x"


def test_the_root_may_go_and_come_back(storage: Storage, root: Path) -> None:
    """A storage whose directories were removed under it makes them again."""
    now(storage.put("a/b/c", b"1"))
    version = now(storage.put("repo", b"1", IF_ABSENT))
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    root.rmdir()
    with pytest.raises(NotFound):
        read(storage, "a/b/c")
    with pytest.raises(VersionMismatch):
        now(storage.put("repo", b"2", IfVersion(version)))
    now(storage.put("a/b/c", b"2"))
    now(storage.put("repo", b"2", IF_ABSENT))
    assert (read(storage, "a/b/c"), read(storage, "repo")) == (b"2", b"2")
