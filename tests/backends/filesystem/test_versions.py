"""Versions: unique per write, consistent with what is read, on every kind of filesystem."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from icechunk_core.contract import ALWAYS, IF_ABSENT, Condition, IfVersion, Storage
from icechunk_core.contract.errors import VersionMismatch
from icechunk_filesystem._system import System
from icechunk_filesystem._versions import is_coarse, is_marked, stamp
from tests.backends.filesystem.support import now, open_at, open_with, read


class CoarseSystem(System):
    """A filesystem that keeps times in whole days, so that all files have one."""

    def set_mtime(self, file: int | str, mtime_ns: int) -> None:
        day = 86_400 * 10**9
        super().set_mtime(file, mtime_ns - mtime_ns % day)


@pytest.fixture(params=[System, CoarseSystem], ids=["fine", "coarse"])
def any_clock(request: pytest.FixtureRequest, root: Path) -> Storage:
    """A storage on a filesystem with fine, and with coarse times."""
    return open_with(request.param(), root)


@pytest.mark.parametrize("conditional", [False, True])
def test_a_b_a_gives_three_versions(any_clock: Storage, conditional: bool) -> None:
    """Writing the same bytes again is another version, though the inode number comes back."""
    versions = [now(any_clock.put("x", b"A", IF_ABSENT if conditional else ALWAYS))]
    for number in range(60):
        condition: Condition = IfVersion(versions[-1]) if conditional else ALWAYS
        versions.append(now(any_clock.put("x", b"AB"[number % 2 :][:1], condition)))
        assert now(any_clock.head("x")).version == versions[-1]
    assert len(set(versions)) == len(versions)
    with pytest.raises(VersionMismatch):
        now(any_clock.put("x", b"late", IfVersion(versions[0])))


def test_deleted_and_made_again(any_clock: Storage) -> None:
    """An object made again after its deletion has a version of its own."""
    versions = set()
    for _ in range(20):
        versions.add(now(any_clock.put("x", b"same", IF_ABSENT)))
        now(any_clock.delete(["x"]))
    assert len(versions) == 20


def test_both_readers_agree(any_clock: Storage) -> None:
    """`head`, `get_range`, `put` and another storage on the directory tell the same version."""
    first = now(any_clock.put("x", b"1", IF_ABSENT))
    second = now(any_clock.put("x", b"2", IfVersion(first)))
    third = now(any_clock.put("x", b"3"))
    assert len({first, second, third}) == 3
    other = open_at(any_clock.config.root)
    for storage in (any_clock, other):
        assert now(storage.head("x")).version == third
        assert now(storage.get_range("x"))[1].version == third
    assert now(other.put("x", b"4", IfVersion(third))) == now(any_clock.head("x")).version


def test_an_object_of_another_program_can_be_swapped(storage: Storage, root: Path) -> None:
    """A file that a program without our bookkeeping wrote has a version, and its change is noticed."""
    root.mkdir()
    (root / "repo").write_bytes(b"theirs")
    version = now(storage.head("repo")).version
    assert version is not None
    second = now(storage.put("repo", b"ours", IfVersion(version)))
    (root / "other").write_bytes(b"theirs again")
    os.replace(root / "other", root / "repo")
    with pytest.raises(VersionMismatch):
        now(storage.put("repo", b"lost", IfVersion(second)))
    assert read(storage, "repo") == b"theirs again"


def test_a_lost_record_does_no_harm(storage: Storage, root: Path) -> None:
    """Without its record (power loss) an object still has a version that everybody agrees on."""
    first = now(storage.put("repo", b"1", IF_ABSENT))
    for damage in (b"", b"{", b"[]", b"\xff\x00"):
        (record,) = (root / ".icechunk-core" / "versions").iterdir()
        record.write_bytes(damage)
        fallback = now(storage.head("repo")).version
        assert fallback is not None
        assert fallback == now(open_at(root).head("repo")).version
        with pytest.raises(VersionMismatch):
            now(storage.put("repo", b"2", IfVersion(first)))
        first = now(storage.put("repo", b"2", IfVersion(fallback)))
        assert now(storage.head("repo")).version == first


def test_a_writer_killed_before_publishing_changes_nothing(storage: Storage, root: Path) -> None:
    """A record that is ahead of its object keeps the present object's version."""

    class KilledSystem(System):
        def replace(self, source: str, target: str) -> None:
            if os.path.basename(target) == "repo":
                raise KeyboardInterrupt
            super().replace(source, target)

    first = now(storage.put("repo", b"1", IF_ABSENT))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            now(open_with(KilledSystem(), root).put("repo", b"2", IfVersion(first)))
        assert now(storage.head("repo")).version == first
    (record,) = (root / ".icechunk-core" / "versions").iterdir()
    assert len(json.loads(record.read_bytes())) == 2
    second = now(storage.put("repo", b"3", IfVersion(first)))
    assert now(storage.head("repo")).version == second


def test_records_stay_small(storage: Storage, root: Path) -> None:
    """However often a key is swapped, its record holds two writes; deletion removes it."""
    version = now(storage.put("repo", b"0", IF_ABSENT))
    for _ in range(30):
        version = now(storage.put("repo", b"0", IfVersion(version)))
    (record,) = (root / ".icechunk-core" / "versions").iterdir()
    assert len(json.loads(record.read_bytes())) == 2
    now(storage.delete(["repo"]))
    assert list((root / ".icechunk-core" / "versions").iterdir()) == []


def test_data_and_version_come_from_one_descriptor(
    storage: Storage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that is replaced while it is read comes back whole, with its old version."""
    old = now(storage.put("x", b"old"))
    fstat = os.fstat

    def replaced_meanwhile(descriptor: int) -> os.stat_result:
        monkeypatch.setattr(os, "fstat", fstat)
        now(open_at(root).put("x", b"new and longer"))
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", replaced_meanwhile)
    data, info = now(storage.get_range("x"))
    assert (bytes(data), info.version) == (b"old", old)
    assert read(storage, "x") == b"new and longer"


def test_an_object_that_is_cut_short_is_not_returned(
    storage: Storage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another program truncates a file in place while it is read, that is an error."""
    now(storage.put("x", b"0123456789"))
    fstat = os.fstat

    def truncated_meanwhile(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        os.truncate(root / "x", 4)
        return status

    monkeypatch.setattr(os, "fstat", truncated_meanwhile)
    with pytest.raises(Exception, match="cut short"):
        now(storage.get_range("x"))


@pytest.mark.parametrize("uniform", [0.0, 0.25, 0.5, 0.005, 0.99, 0.999999, 1 - 2**-53])
@pytest.mark.parametrize("marked", [False, True])
def test_stamps(uniform: float, marked: bool) -> None:
    """A stamp stays in its millisecond, tells whether it is marked, and is never a whole millisecond."""
    mtime = 1_700_000_000_123_456_789
    stamped = stamp(mtime, uniform, marked=marked)
    assert stamped // 1_000_000 == mtime // 1_000_000
    assert is_marked(stamped) == marked
    assert not is_coarse(stamped)
    assert is_marked(mtime - mtime % 10**9)


def test_new_objects_need_no_record_on_coarse_filesystems(root: Path) -> None:
    """Chunks, which are written once, cost no further file even where times are coarse."""
    storage = open_with(CoarseSystem(), root)
    for number in range(5):
        now(storage.put(f"chunks/{number}", b"x"))
    assert not (root / ".icechunk-core" / "versions").exists()
