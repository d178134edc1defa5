"""Full disks, denied access and broken hardware: clear errors, and nothing half done."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from icechunk_core.contract import IF_ABSENT, IfVersion, Storage
from icechunk_core.contract.errors import (
    InvalidKey,
    NotFound,
    PermissionDenied,
    ReadOnly,
    StorageError,
    StorageFull,
    Timeout,
    Unavailable,
)
from icechunk_filesystem._errors import translated
from icechunk_filesystem._system import System
from tests.backends.filesystem import workers
from tests.backends.filesystem.support import files_below, keys_of, now, open_at, open_with, read


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real filesystem of one mebibyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("mounting a filesystem is not permitted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    """On a real full disk puts fail as `StorageFull`, leave nothing behind and lose nothing."""
    storage = open_at(small_disk / "root", durable=True)
    version = now(storage.put("repo", b"kept", IF_ABSENT))
    now(storage.put("filler", bytes(700_000)))
    big = bytes(500_000)
    for call in (
        storage.put("new", big),
        storage.put("filler", big),
        storage.put("new", big, IF_ABSENT),
        storage.put("repo", big, IfVersion(version)),
    ):
        with pytest.raises(StorageFull, match="disk or quota is full"):
            now(call)
    assert keys_of(storage) == ["filler", "repo"]
    assert (read(storage, "repo"), now(storage.head("repo")).version) == (b"kept", version)
    assert now(storage.head("filler")).size == 700_000
    assert not workers.temporary_files(small_disk / "root")
    now(storage.delete(["filler"]))
    now(storage.put("repo", big, IfVersion(version)))


def test_a_disk_without_any_room_can_be_opened_and_read(small_disk: Path) -> None:
    """A disk that is full to the last byte still opens, with all its capabilities, and reads."""
    storage = open_at(small_disk / "root")
    now(storage.put("x", b"data"))
    with (small_disk / "rest").open("wb", buffering=0) as rest, suppress(OSError):
        while True:
            rest.write(bytes(4096))
    again = open_at(small_disk / "root")
    assert again.capabilities.commit_safe
    assert read(again, "x") == b"data"
    with pytest.raises(StorageFull):
        now(again.put("y", bytes(10_000)))


def test_a_filesystem_mounted_read_only(small_disk: Path) -> None:
    """A read-only mount is reported as such at open; one that becomes read-only later, at the write."""
    storage = open_at(small_disk / "root")
    now(storage.put("x", b"data"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(ReadOnly, match="mounted read-only"):
        now(storage.put("y", b""))
    with pytest.raises(ReadOnly, match="mounted read-only"):
        now(storage.put("y", b"", IF_ABSENT))
    assert isinstance(now(storage.delete(["x"]))[0].error, ReadOnly)
    again = open_at(small_disk / "root")
    assert again.capabilities.read_only
    assert not again.capabilities.commit_safe
    assert read(again, "x") == b"data"
    for call in (again.put("y", b""), again.delete(["x"]), again.sync(["x"])):
        with pytest.raises(ReadOnly, match="cannot be written by this user"):
            now(call)


def test_opened_read_only(storage: Storage, root: Path) -> None:
    """With the option, nothing is tried out or written."""
    now(storage.put("x", b"data"))
    before = files_below(root)
    again = open_at(root, read_only=True, durable=True)
    assert again.capabilities.read_only
    assert read(again, "x") == b"data"
    assert keys_of(again) == ["x"]
    for call in (again.put("y", b""), again.put("y", b"", IF_ABSENT), again.delete(["x"]), again.sync(["x"])):
        with pytest.raises(ReadOnly, match="opened read-only"):
            now(call)
    assert files_below(root) == before


def test_denied_access() -> None:
    """A user without rights: readable directories are read-only, private files are denied."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        root = Path(place) / "root"
        owner = open_at(root)
        for key in ("open", "private"):
            now(owner.put(key, b"data"))
        (root / "open").chmod(0o644)
        (root / "private").chmod(0)
        root.chmod(0o555)
        (root / ".icechunk-core" / "tmp").chmod(0o555)
        denied, read_only = PermissionDenied.default_kind, str(ReadOnly.default_kind)
        context = multiprocessing.get_context("spawn")
        for key, reading in (("open", ""), ("private", denied)):
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                outcomes = pool.submit(workers.as_nobody, str(root), key).result()
            if os.geteuid() == 0:
                assert [kind for _, kind in outcomes[:3]] == [denied, reading, "object-already-exists"]
            assert outcomes[3:] == [(True, read_only), (True, reading), (True, read_only)]
        root.chmod(0o755)


class Failing(System):
    """Fails one kind of call with an error of the operating system."""

    def __init__(self, call: str, number: int) -> None:
        super().__init__()

        def fail(*arguments: object) -> None:
            raise OSError(number, os.strerror(number))

        setattr(self, call, fail)


@pytest.mark.parametrize("call", ["create", "write", "set_mtime", "replace", "sync_descriptor"])
@pytest.mark.parametrize("condition", ["always", "update"])
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EFBIG, StorageFull),
        (errno.EIO, Unavailable),
        (errno.EACCES, PermissionDenied),
        (errno.EMFILE, Unavailable),
    ],
)
def test_a_write_that_fails_anywhere(
    root: Path, call: str, condition: str, number: int, expected: type[StorageError]
) -> None:
    """Whichever step fails: the error says why, the old object stays, no temporary file does."""
    storage = open_at(root)
    version = now(storage.put("x", b"old", IF_ABSENT))
    broken = open_with(Failing(call, number), root, durable=True)
    put = broken.put("x", b"new", IfVersion(version)) if condition == "update" else broken.put("x", b"new")
    with pytest.raises(expected, match="'x'"):
        now(put)
    assert (read(storage, "x"), now(storage.head("x")).version) == (b"old", version)
    assert workers.temporary_files(root) == []
    now(storage.put("x", b"new", IfVersion(version)))


def test_a_process_limit_on_file_size(root: Path) -> None:
    """A write that the process's own limit stops half-way is an error and leaves no half object."""

    class Limited(System):
        def write(self, descriptor: int, data: memoryview | bytes | bytearray) -> int:
            if len(data) <= 1000:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            return super().write(descriptor, data[:1000])

    with pytest.raises(StorageFull, match="larger than"):
        now(open_with(Limited(), root).put("x", bytes(3500)))
    assert files_below(root) == []


def test_short_writes_are_continued(root: Path) -> None:
    """A system that writes a few bytes at a time still writes everything."""

    class Slow(System):
        def write(self, descriptor: int, data: memoryview | bytes | bytearray) -> int:
            return super().write(descriptor, data[:7])

    storage = open_with(Slow(), root)
    now(storage.put("x", [b"0123456789" * 5, memoryview(b"abcdefghij")]))
    assert read(storage, "x") == b"0123456789" * 5 + b"abcdefghij"


@pytest.mark.parametrize(
    ("number", "reading", "writing"),
    [
        (errno.ENOENT, NotFound, Unavailable),
        (errno.ENOTDIR, NotFound, InvalidKey),
        (errno.EISDIR, InvalidKey, InvalidKey),
        (errno.EACCES, PermissionDenied, PermissionDenied),
        (errno.EPERM, PermissionDenied, PermissionDenied),
        (errno.EROFS, ReadOnly, ReadOnly),
        (errno.ENAMETOOLONG, InvalidKey, InvalidKey),
        (errno.ESTALE, Unavailable, Unavailable),
        (errno.ETIMEDOUT, Timeout, Timeout),
        (errno.EXDEV, Unavailable, Unavailable),
    ],
)
def test_the_table(number: int, reading: type[StorageError], writing: type[StorageError]) -> None:
    """Each error of the operating system has its meaning, and its own text is kept."""
    error = OSError(number, os.strerror(number))
    assert type(translated(error, "k", reading=True)) is reading
    result = translated(error, "k")
    assert type(result) is writing
    assert result.key == "k"
    assert os.strerror(number) in str(result)


def test_reading_fails_clearly(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails under a reader is `Unavailable`, with the system's own words."""
    now(storage.put("x", b"data"))

    def broken(*_: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "read", broken)
    monkeypatch.setattr(os, "pread", broken, raising=False)
    with pytest.raises(Unavailable, match=os.strerror(errno.EIO)):
        read(storage, "x")


def test_no_descriptor_is_leaked(storage: Storage, root: Path) -> None:
    """Failures in the midst of reading and writing close what they opened."""
    now(storage.put("x", b"data"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with pytest.raises(InvalidKey):
            now(storage.put("x/y", b""))
        with pytest.raises(StorageFull):
            now(open_with(Failing("write", errno.ENOSPC), root).put("z", b"data"))
        with pytest.raises(NotFound):
            read(storage, "nothing")
    assert len(os.listdir("/proc/self/fd")) == before
