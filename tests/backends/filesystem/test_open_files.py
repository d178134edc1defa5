"""Files that stay open between reads of parts of them."""

from __future__ import annotations

import errno
import gc
import os
from pathlib import Path
from typing import Any

import pytest

from icechunk_core.contract import Range, Storage, open_backend
from icechunk_core.contract.errors import NotFound
from icechunk_core.drive import run_direct
from icechunk_filesystem import _open_files
from icechunk_filesystem._config import FilesystemConfig
from icechunk_filesystem._storage import make_storage

pytestmark = pytest.mark.skipif(not _open_files.KEEPS_FILES_OPEN, reason="no file stays open here")

KEY = "chunks/0123456789ABCDEFGHJK"


@pytest.fixture(autouse=True)
def nothing_is_open() -> Any:
    """Each test begins and ends without open files."""
    _open_files.forget_below("")
    yield
    _open_files.forget_below("")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A storage on a directory."""
    return opened(tmp_path)


def opened(root: Path, **options: Any) -> Storage:
    return open_backend(make_storage(FilesystemConfig(str(root), **options)), plugin="filesystem")


def part(storage: Storage, start: int, end: int, key: str = KEY) -> bytes:
    data, info = run_direct(storage.get_range(key, Range(start, end)))
    assert info == run_direct(storage.head(key))
    return bytes(data)


def put(storage: Storage, data: bytes, key: str = KEY) -> None:
    run_direct(storage.put(key, data))


def descriptors() -> int:
    """How many descriptors the storages keep."""
    return len(_open_files._files)


def test_a_file_is_opened_once_for_many_parts(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one object come from one descriptor, and from the places asked for."""
    data = bytes(range(256)) * 40
    put(storage, data)
    assert part(storage, 10, 20) == data[10:20]
    monkeypatch.setattr(os, "open", None)  # a further call would fail
    for start in (0, 9_000, 300):
        assert part(storage, start, start + 100) == data[start : start + 100]
    assert descriptors() == 1


def test_whole_objects_do_not_stay_open(storage: Storage) -> None:
    """What was read to its end in one call is closed."""
    put(storage, b"abcdef")
    run_direct(storage.get_range(KEY))
    assert part(storage, 0, 6) == b"abcdef"
    assert descriptors() == 0


def test_another_object_under_the_key_is_seen_at_once(storage: Storage, tmp_path: Path) -> None:
    """Who replaces an object, here or elsewhere, is seen by the next read, with its version."""
    put(storage, b"first" * 10)
    assert part(storage, 0, 5) == b"first"
    put(storage, b"again" * 10)
    assert part(storage, 5, 10) == b"again"
    put(opened(tmp_path), b"other" * 10)
    assert part(storage, 5, 10) == b"other"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_deleted_object_is_gone_at_once(storage: Storage, tmp_path: Path, elsewhere: bool) -> None:
    """An open file does not outlive its object, and frees its space."""
    put(storage, b"first" * 10)
    assert part(storage, 0, 5) == b"first"
    run_direct((opened(tmp_path) if elsewhere else storage).delete([KEY]))
    with pytest.raises(NotFound):
        run_direct(storage.get_range(KEY, Range(0, 5)))
    assert descriptors() == 0


def test_a_link_in_place_of_an_open_file_is_not_followed(storage: Storage, tmp_path: Path) -> None:
    """A file that was open is no way around the rule that links are refused."""
    put(storage, b"first" * 10)
    assert part(storage, 0, 5) == b"first"
    path = tmp_path / KEY
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Exception, match="symbolic link"):
        run_direct(storage.get_range(KEY, Range(0, 5)))


def test_few_files_stay_open(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many objects and storages there are, the process keeps no more than its limit."""
    monkeypatch.setattr(_open_files, "_most", 3)
    others = [storage, opened(tmp_path / "a"), opened(tmp_path / "b")]
    for number in range(8):
        for each in others:
            key = f"chunks/{number}"
            put(each, b"%d" % number * 50, key)
            assert part(each, 1, 2, key) == b"%d" % number
    assert descriptors() == 3


def test_the_limit_is_a_share_of_what_the_system_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a process may have few descriptors, few are kept."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (80, 80))
    assert _open_files._limit() == 10
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert _open_files._limit() == 64


@pytest.mark.parametrize("how", ["close", "forgotten"])
def test_files_are_closed_with_their_storage(tmp_path: Path, how: str) -> None:
    """Closing a storage, or having no reference to it any more, closes its files and no others."""
    storage, other = opened(tmp_path / "a"), opened(tmp_path / "ab")
    for each in (storage, other):
        put(each, b"first" * 10)
        assert part(each, 0, 5) == b"first"
    assert descriptors() == 2
    if how == "close":
        run_direct(storage.close())
    del storage, each
    gc.collect()
    assert descriptors() == 1
    assert part(other, 0, 5) == b"first"


def test_kept_files_make_way_for_others(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the process has no descriptor left, those that are kept are given up first."""
    put(storage, b"first" * 10)
    put(storage, b"other" * 10, "chunks/other")
    assert part(storage, 0, 5) == b"first"
    system_open = os.open

    def one_too_many(*args: Any) -> int:
        if descriptors():
            raise OSError(errno.EMFILE, "Too many open files")
        return system_open(*args)

    monkeypatch.setattr(os, "open", one_too_many)
    assert part(storage, 0, 5, "chunks/other") == b"other"


def test_a_reader_keeps_its_file_while_others_close_it(storage: Storage) -> None:
    """A descriptor is not closed, and its number not used again, under a thread that reads from it."""
    put(storage, b"first" * 10)
    assert part(storage, 0, 5) == b"first"
    [file] = _open_files._files.values()
    _open_files.forget_below("")
    assert os.pread(file.descriptor, 5, 0) == b"first"


def test_threaded_storages_keep_nothing_open(tmp_path: Path) -> None:
    """On network filesystems, where a deleted file that is open stays as another one, none is kept."""
    import asyncio

    storage = opened(tmp_path, threaded="yes")

    async def go() -> None:
        await storage.put(KEY, b"first" * 10)
        await storage.get_range(KEY, Range(0, 5))
        await storage.close()

    asyncio.run(go())
    assert descriptors() == 0
