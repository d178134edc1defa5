"""Nothing leads out of the root, and keys share a tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from icechunk_core.contract import IF_ABSENT, IfVersion, Storage
from icechunk_core.contract.errors import InvalidKey, NotFound, VersionMismatch
from tests.backends.filesystem.support import files_below, keys_of, now, open_at, read


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory with a secret, next to the root."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_bytes(b"secret")
    return place


@pytest.mark.parametrize("key", ["../outside/secret", "a/../../outside/secret", "/etc/passwd", "x\0y", ""])
async def test_keys_that_lead_out(either: Storage, outside: Path, key: str) -> None:
    """Every operation refuses them; the delete in its result."""
    syncing = open_at(either.config.root, durable=True, threaded=either.may_suspend)
    for call in (either.get_range(key), either.head(key), either.put(key, b"x"), syncing.sync([key])):
        with pytest.raises(InvalidKey):
            await call
    with pytest.raises(InvalidKey):
        await either.put(key, b"x", IF_ABSENT)
    (result,) = await either.delete([key])
    assert isinstance(result.error, InvalidKey)
    assert (outside / "secret").read_bytes() == b"secret"


@pytest.mark.parametrize("depth", ["linked", "a/linked"])
def test_linked_directories(storage: Storage, root: Path, outside: Path, depth: str) -> None:
    """A symbolic link in place of a directory is neither read, written, deleted nor listed through."""
    now(storage.put("a/b", b"x"))
    (root / depth).symlink_to(outside)
    for fresh in (storage, open_at(root)):
        with pytest.raises(InvalidKey, match="symbolic link"):
            read(fresh, f"{depth}/secret")
        with pytest.raises(InvalidKey, match="symbolic link"):
            now(fresh.head(f"{depth}/secret"))
        for key in (f"{depth}/new", f"{depth}/deeper/new"):
            with pytest.raises(InvalidKey, match="symbolic link"):
                now(fresh.put(key, b"x"))
            with pytest.raises(InvalidKey, match="symbolic link"):
                now(fresh.put(key, b"x", IF_ABSENT))
        (result,) = now(fresh.delete([f"{depth}/secret"]))
        assert isinstance(result.error, InvalidKey)
        assert keys_of(fresh) == ["a/b"]
        with pytest.raises(InvalidKey):
            keys_of(fresh, f"{depth}/")
    assert files_below(outside) == ["secret"]


def test_linked_files(storage: Storage, root: Path, outside: Path) -> None:
    """A link in place of an object is not followed; a put replaces the link, not its target."""
    root.mkdir()
    (root / "x").symlink_to(outside / "secret")
    with pytest.raises(InvalidKey, match="symbolic link"):
        read(storage, "x")
    with pytest.raises(InvalidKey, match="symbolic link"):
        now(storage.head("x"))
    now(storage.put("x", b"mine"))
    assert read(storage, "x") == b"mine"
    (root / "y").symlink_to(outside / "secret")
    now(storage.delete(["y"]))
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_linked_hidden_directory(storage: Storage, root: Path, outside: Path) -> None:
    """Bookkeeping is not written through a link that came with the directory either."""
    root.mkdir()
    (root / ".icechunk-core").symlink_to(outside)
    with pytest.raises(InvalidKey, match="symbolic link"):
        now(open_at(root).put("x", b"x"))
    with pytest.raises(InvalidKey, match="symbolic link"):
        now(open_at(root).put("x", b"x", IF_ABSENT))
    assert files_below(outside) == ["secret"]


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    """Users may link the root wherever they like."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    now(open_at(tmp_path / "link").put("a/b", b"x"))
    assert read(open_at(tmp_path / "real"), "a/b") == b"x"


def test_pipes_do_not_hang(storage: Storage, root: Path) -> None:
    """A named pipe under a key is no object, and does not block the reader."""
    root.mkdir()
    os.mkfifo(root / "pipe")
    with pytest.raises(NotFound):
        read(storage, "pipe")
    with pytest.raises(NotFound):
        now(storage.head("pipe"))


@pytest.mark.parametrize("conditional", [False, True])
def test_keys_share_a_tree(storage: Storage, conditional: bool) -> None:
    """'a' and 'a/b' cannot both be objects: a clear error, and nothing is changed."""
    how = (IF_ABSENT,) if conditional else ()
    now(storage.put("file", b"1"))
    now(storage.put("dir/x/y", b"2"))
    for key in ("file/x", "file/x/y", "dir", "dir/x"):
        with pytest.raises(InvalidKey, match="cannot both exist"):
            now(storage.put(key, b"3", *how))
    assert keys_of(storage) == ["dir/x/y", "file"]
    assert read(storage, "file") == b"1"


@pytest.mark.parametrize("conditional", [False, True])
def test_empty_directories_are_not_in_the_way(storage: Storage, root: Path, conditional: bool) -> None:
    """Once 'a/b/c' is gone, 'a' can be an object, and the other way round."""
    how = (IF_ABSENT,) if conditional else ()
    for key in ("a/b/c", "a", "a/b"):
        version = now(storage.put(key, b"x", *how))
        assert keys_of(storage) == [key]
        assert now(storage.head(key)).version == version
        (root / key).unlink()  # As another program would, leaving the directories.


def test_swapping_a_directory(storage: Storage) -> None:
    """A directory has no version to swap."""
    version = now(storage.put("a/b", b"x"))
    with pytest.raises(VersionMismatch):
        now(storage.put("a", b"x", IfVersion(version)))


async def test_names_that_are_too_long(either: Storage) -> None:
    """A segment longer than the filesystem allows is an invalid key, in every operation."""
    for key in ("x" * 300, "é" * 100, f"{'y' * 300}/z", "/".join(["d" * 200] * 30)):
        with pytest.raises(InvalidKey, match="too long"):
            await either.put(key, b"x")
        with pytest.raises(InvalidKey, match="too long"):
            await either.put(key, b"x", IF_ABSENT)
        with pytest.raises(InvalidKey, match="too long"):
            await either.get_range(key)
        with pytest.raises(InvalidKey, match="too long"):
            await either.head(key)
        (result,) = await either.delete([key])
        assert isinstance(result.error, InvalidKey)
    with pytest.raises(InvalidKey, match="too long"):
        [info async for info in either.list("x" * 300 + "/")]
    assert await either.put("x" * 255, b"fits")
