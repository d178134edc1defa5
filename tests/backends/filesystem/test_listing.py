"""Listing: order, prefixes, and files that come and go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icechunk_core.contract import ObjectInfo, Storage
from icechunk_filesystem._directories import Directories
from icechunk_filesystem._listing import walk
from icechunk_filesystem._paths import KeyCodec
from icechunk_filesystem._system import System
from tests.backends.filesystem.support import keys_of, now, open_at

segments = st.text("ab!-.0é~%ü€😀", min_size=1, max_size=3).filter(lambda text: text.strip("."))
keys = st.lists(segments, min_size=1, max_size=3).map("/".join)


def _as_tree(candidates: set[str]) -> list[str]:
    """Keys of the set of which none is a directory of another, in the order of their bytes."""
    kept: list[str] = []
    for key in sorted(candidates, key=lambda key: key.count("/")):
        parts = key.split("/")
        if not any("/".join(parts[:count]) in kept for count in range(1, len(parts))):
            kept.append(key)
    return sorted(kept, key=str.encode)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    candidates=st.sets(keys, max_size=12),
    prefix=st.one_of(st.just(""), keys, keys.map(lambda key: key[:2]), keys.map(lambda key: key + "/")),
    after=st.one_of(st.none(), keys),
    data=st.data(),
)
def test_lists_like_a_sorted_table(
    tmp_path_factory: pytest.TempPathFactory,
    candidates: set[str],
    prefix: str,
    after: str | None,
    data: st.DataObject,
) -> None:
    """Whatever the keys: all that start with the prefix, after `start_after`, in byte order."""
    storage = open_at(tmp_path_factory.mktemp("root"))
    expected = _as_tree(candidates)
    for key in expected:
        now(storage.put(key, key.encode()))
    if expected:
        prefix = data.draw(st.sampled_from([prefix, expected[0][:1], expected[-1][:-1], expected[0]]))
        after = data.draw(st.sampled_from([after, expected[len(expected) // 2]]))
    wanted = [key for key in expected if key.startswith(prefix) and (after is None or key > after)]
    assert keys_of(storage, prefix, after) == wanted


def test_a_slash_sorts_as_a_character(storage: Storage) -> None:
    """'a!' is before 'a/b', 'a0' after it, although 'a' is a directory."""
    for key in ("a0", "a/b", "a!", "a-"):
        now(storage.put(key, b""))
    assert keys_of(storage) == ["a!", "a-", "a/b", "a0"]


def test_encoded_names_sort_as_their_keys(storage: Storage) -> None:
    """Order is that of the keys, not of the percent-encoded file names."""
    for key in ("é", "z", "~", "A", "%"):
        now(storage.put(key, b""))
    assert keys_of(storage) == ["%", "A", "z", "~", "é"]


def test_sizes_and_times(storage: Storage) -> None:
    """A listing tells size and time as `head` does."""
    now(storage.put("d/x", b"12345"))
    (info,) = _listed(storage)
    head = now(storage.head("d/x"))
    assert (info.size, info.last_modified) == (5, head.last_modified)


async def test_threaded_listing_in_pages(root: Path) -> None:
    """More objects than a page holds arrive complete and in order."""
    direct, threaded = open_at(root, threaded=False), open_at(root, threaded=True)
    expected = [f"d/{number:05d}" for number in range(2345)]
    for key in reversed(expected):
        await direct.put(key, b"")
    assert [info.key async for info in threaded.list("d/")] == expected
    await threaded.close()


@pytest.mark.parametrize("prefix", ["/", "../", "a//", "./", "a/../", "\ud800", "x\0/", "/etc/"])
def test_prefixes_of_no_key(storage: Storage, prefix: str) -> None:
    """A prefix that no key can have lists nothing, inside or outside of the root."""
    now(storage.put("a/b", b""))
    assert keys_of(storage, prefix) == []


def test_what_is_no_object_is_left_out(storage: Storage, root: Path) -> None:
    """Links, pipes, empty directories and files that no key leads to do not appear."""
    now(storage.put("a/b", b"x"))
    (root / "empty" / "er").mkdir(parents=True)
    (root / "link").symlink_to(root / "a" / "b")
    (root / "linked").symlink_to(root / "a")
    (root / "straße").write_bytes(b"")
    os.mkfifo(root / "pipe")
    assert keys_of(storage) == ["a/b"]


def test_tolerates_what_vanishes(storage: Storage, root: Path) -> None:
    """Objects and directories removed while a listing runs are left out; the rest is complete."""
    for key in ("a/1", "a/2", "a/3", "b/1", "c/1"):
        now(storage.put(key, b""))
    items: Iterator[ObjectInfo] = walk(Directories(str(root), System()), KeyCodec(), "", None)
    assert next(items).key == "a/1"
    (root / "a" / "2").unlink()
    (root / "b" / "1").unlink()
    (root / "b").rmdir()
    assert [info.key for info in items] == ["a/3", "c/1"]


def test_directories_are_read_as_far_as_needed(
    storage: Storage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directories that cannot hold wanted keys are not opened, and no more than the caller asks for."""
    for key in ("a/1", "b/x/1", "b/y/1", "c/1"):
        now(storage.put(key, b""))
    opened: list[str] = []
    scandir = os.scandir

    def recording(path: str) -> object:
        opened.append(os.path.relpath(path, root))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", recording)
    assert keys_of(storage, "b/y", None) == ["b/y/1"]
    assert opened == ["b", "b/y"]
    opened.clear()
    assert keys_of(storage, "", "b/x/1") == ["b/y/1", "c/1"]
    assert opened == [".", "b", "b/x", "b/y", "c"]
    opened.clear()
    next(walk(Directories(str(root), System()), KeyCodec(), "", None))
    assert opened == [".", "a"]


def _listed(storage: Storage) -> list[ObjectInfo]:
    async def collect() -> list[ObjectInfo]:
        return [info async for info in storage.list("")]

    return now(collect())
