"""Opening: configuration, URLs, what the filesystem can do, pickling and forking."""

from __future__ import annotations

import errno
import os
import pickle
import stat
import time
from pathlib import Path

import filelock
import pytest

from icechunk_core.contract import IF_ABSENT, AtomicityScope, IfVersion, Storage, Version
from icechunk_core.contract.errors import AlreadyExists, StorageConfigError, Unsupported, VersionMismatch
from icechunk_core.plugins.opening import open_storage
from icechunk_filesystem import _locks, _probe
from icechunk_filesystem._config import FilesystemConfig
from icechunk_filesystem._system import System
from icechunk_filesystem._temporary import ABANDONED_AFTER_SECONDS
from tests.backends.filesystem.support import files_below, keys_of, now, open_at, open_with, read


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute and relative URLs, percent-encoding, and options in the query."""
    monkeypatch.chdir(tmp_path)
    assert open_storage("file:///data/a%20b").config.root == "/data/a b"
    assert open_storage("file:/data").config.root == "/data"
    assert open_storage("file://localhost/data").config.root == "/data"
    assert open_storage("file:data/x").config.root == str(tmp_path / "data" / "x")
    config = open_storage("file:x?durable=false&threaded=true&lock_timeout=2.5").config
    assert (config.durable, config.threaded, config.lock_timeout) == (False, "yes", 2.5)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("file:", "root"),
        ("file://host/data", "host"),
        ("file:///x?threaded=sometimes", "threaded"),
        ("file:///x?lock_timeout=0", "lock_timeout"),
        ("file:///x?durable=perhaps", "durable"),
        ("file:///x?sync=no", "sync"),
        ("file:///x%00y", "root"),
    ],
)
def test_wrong_urls(url: str, names: str) -> None:
    """What is wrong with a URL is said by name."""
    with pytest.raises(StorageConfigError, match=names):
        open_storage(url)


def test_a_relative_root_does_not_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root is fixed when the storage is opened."""
    monkeypatch.chdir(tmp_path)
    storage = open_at("here")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    now(storage.put("x", b"1"))
    assert (tmp_path / "here" / "x").exists()


def test_the_mode_follows_the_filesystem(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`auto` is direct on local filesystems and threaded on network mounts; the choice can be forced."""
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(_probe, "_MOUNTS", str(mounts))
    here = str(tmp_path).replace(" ", "\\040")
    for lines, network in (
        ("/dev/sda / ext4 rw 0 0\n", False),
        (f"/dev/sda / ext4 rw 0 0\nserver:/x {here} nfs4 rw 0 0\n", True),
        (f"server:/x / nfs rw 0 0\ntmpfs {here} tmpfs rw 0 0\n", False),
        (f"/dev/sda / ext4 rw 0 0\nsshfs {here}/repository fuse.sshfs rw 0 0\n", True),
        (f"/dev/sda / ext4 rw 0 0\nserver:/x {here}/repo nfs rw 0 0\n", False),
    ):
        mounts.write_text(lines)
        assert open_at(root).may_suspend == network
        assert open_at(root, threaded=True).may_suspend
        assert not open_at(root, threaded=False).may_suspend


def test_pickling(storage: Storage) -> None:
    """A storage pickles by its configuration and sees the same objects on the other side."""
    version = now(storage.put("repo", b"1", IF_ABSENT))
    other = pickle.loads(pickle.dumps(storage))
    assert other == storage
    now(other.put("repo", b"2", IfVersion(version)))
    assert read(storage, "repo") == b"2"
    config = pickle.loads(pickle.dumps(storage.config))
    assert isinstance(config, FilesystemConfig)
    assert config == storage.config


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_children_go_on(root: Path) -> None:
    """A child forked in the midst of a swap neither believes that it holds the lock nor waits for ever."""
    plain = open_at(root)
    version = now(plain.put("repo", b"1", IF_ABSENT))
    children: list[int] = []

    class Forking(System):
        def replace(self, source: str, target: str) -> None:
            if os.path.basename(target) == "repo" and not children:
                child = os.fork()
                if child == 0:
                    # The parent holds the key's lock and will publish; the child has to lose.
                    code = 1
                    try:
                        now(plain.put("chunks/a", b"child"))
                        now(plain.put("repo", b"child", IfVersion(version)))
                    except VersionMismatch:
                        code = 0
                    finally:
                        os._exit(code)
                children.append(child)
                now(plain.put("chunks/b", b"parent"))
            super().replace(source, target)

    now(open_with(Forking(), root).put("repo", b"2", IfVersion(version)))
    _, status = os.waitpid(children[0], 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert keys_of(plain) == ["chunks/a", "chunks/b", "repo"]
    assert read(plain, "repo") == b"2"


class WithoutLinks(System):
    """A filesystem without hard links (FAT, some network shares)."""

    def link(self, source: str, target: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


class NoLock(filelock.SoftFileLock):
    """What the lock library falls back to where the system has no locks."""


def test_without_links(root: Path) -> None:
    """Locks alone carry both kinds of conditional put."""
    storage = open_with(WithoutLinks(), root)
    assert storage.capabilities.commit_safe
    version = now(storage.put("repo", b"1", IF_ABSENT))
    with pytest.raises(AlreadyExists):
        now(storage.put("repo", b"2", IF_ABSENT))
    now(storage.put("repo", b"2", IfVersion(version)))
    assert read(storage, "repo") == b"2"


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem without locks."""

    def soft(path: str, timeout: float) -> filelock.BaseFileLock:
        return NoLock(path, timeout=timeout)

    monkeypatch.setattr(_probe, "native_lock", soft)
    monkeypatch.setattr(_locks, "native_lock", soft)


@pytest.mark.usefixtures("without_locks")
def test_without_locks(root: Path) -> None:
    """Links alone carry creation; updating is reported as missing and refused, writing nothing."""
    storage = open_at(root)
    assert (storage.capabilities.create, storage.capabilities.update) == (True, False)
    assert storage.capabilities.atomicity is AtomicityScope.PROCESS
    version = now(storage.put("repo", b"1", IF_ABSENT))
    assert now(storage.head("repo")).version == version
    with pytest.raises(AlreadyExists):
        now(storage.put("repo", b"2", IF_ABSENT))
    with pytest.raises(Unsupported, match="no file locks"):
        now(storage.put("repo", b"2", IfVersion(version)))
    assert read(storage, "repo") == b"1"
    now(storage.put("repo", b"3"))
    now(storage.delete(["repo"]))
    assert keys_of(storage) == []


@pytest.mark.usefixtures("without_locks")
def test_without_locks_and_links(root: Path) -> None:
    """With neither, no conditional put is declared, and each is refused."""
    storage = open_with(WithoutLinks(), root)
    assert not storage.capabilities.create
    assert storage.capabilities.atomicity is AtomicityScope.NONE
    for condition in (IF_ABSENT, IfVersion(Version("1"))):
        with pytest.raises(Unsupported, match="no hard links"):
            now(storage.put("repo", b"1", condition))
    now(storage.put("x", b"1"))
    assert keys_of(storage) == ["x"]


def test_locks_that_let_everybody_in(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that claims to lock but does not is found out."""

    def useless(path: str, timeout: float) -> filelock.BaseFileLock:
        return filelock.FileLock(f"{path}{time.monotonic_ns()}", timeout=timeout)

    monkeypatch.setattr(_probe, "native_lock", useless)
    root.mkdir()
    assert not open_at(root).capabilities.update


@pytest.mark.parametrize("existing", [False, True])
def test_trying_out_leaves_nothing(root: Path, existing: bool) -> None:
    """What was made to try out the filesystem is removed again; objects are not touched."""
    if existing:
        now(open_at(root).put("x", b"1", IF_ABSENT))
    before = files_below(root.parent)
    assert open_at(root).capabilities.commit_safe
    assert files_below(root.parent) == before
    assert root.exists() == existing


def test_leftovers_of_killed_writers(storage: Storage, root: Path) -> None:
    """Old temporary files are removed by the first write of a storage, young ones are left alone."""
    now(storage.put("x", b"1"))
    place = root / ".icechunk-core" / "tmp"
    old, young = place / "old.1.a", place / "young.1.c"
    for path in (old, young):
        path.write_bytes(b"half a fi")
    then = time.time() - ABANDONED_AFTER_SECONDS - 60
    os.utime(old, (then, then))
    now(storage.put("x", b"2"))
    assert old.exists()
    again = open_at(root)
    assert keys_of(again) == ["x"]
    assert old.exists()
    now(again.put("x", b"3"))
    assert (old.exists(), young.exists()) == (False, True)


def test_a_temporary_file_that_was_cleaned_away(root: Path) -> None:
    """If a slow writer's temporary file is removed as abandoned, it writes the object again."""
    removed: list[str] = []

    class Slow(System):
        def replace(self, source: str, target: str) -> None:
            if not removed:
                removed.append(source)
                os.unlink(source)
            super().replace(source, target)

    now(open_with(Slow(), root).put("x", b"data"))
    assert removed
    assert read(open_at(root), "x") == b"data"


def test_files_have_ordinary_permissions(storage: Storage, root: Path) -> None:
    """Objects get the mode that the user's umask gives to new files."""
    umask = os.umask(0o027)
    try:
        now(storage.put("plain", b""))
        now(storage.put("created", b"", IF_ABSENT))
    finally:
        os.umask(umask)
    for key in ("plain", "created"):
        assert stat.S_IMODE((root / key).stat().st_mode) == 0o640


def test_versions_are_compared_across_reopening(storage: Storage, root: Path) -> None:
    """A version obtained by one storage holds for the next one on the same directory."""
    version = now(storage.put("repo", b"1", IF_ABSENT))
    now(storage.close())
    again = open_at(root)
    second = now(again.put("repo", b"2", IfVersion(version)))
    with pytest.raises(VersionMismatch):
        now(open_at(root).put("repo", b"3", IfVersion(version)))
    assert now(open_at(root).head("repo")).version == second
