"""The ways taken on systems that lack a call: tried here by taking the call away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from icechunk_core.contract import IF_ABSENT, IfVersion, Range
from icechunk_core.contract.errors import InvalidKey, PermissionDenied
from icechunk_filesystem import _reading, _system, _temporary
from icechunk_filesystem._system import System
from tests.backends.filesystem.support import keys_of, now, open_at, open_with, read


class PatientClock:
    """A clock on which only sleeping takes time."""

    def __init__(self) -> None:
        self.slept = 0.0

    def now_us(self) -> int:
        return int(self.slept * 1e6)

    def monotonic(self) -> float:
        return self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No `pread`, no `O_NOFOLLOW`, no times by descriptor, no syncing of directories."""
    monkeypatch.setattr(_reading, "_HAS_PREAD", False)
    monkeypatch.setattr(_reading, "_CHECKS_LINKS", True)
    monkeypatch.setattr(_reading, "READ_FLAGS", os.O_RDONLY)
    monkeypatch.setattr(_temporary, "_STAMPS_OPEN_FILES", False)
    monkeypatch.setattr(_system, "WINDOWS", True)


@pytest.mark.usefixtures("windows")
def test_reading_and_writing(root: Path) -> None:
    """Everything that a repository does works without those calls."""
    storage = open_at(root, durable=True)
    version = now(storage.put("repo", b"0123456789", IF_ABSENT))
    assert now(storage.head("repo")).version == version
    assert bytes(now(storage.get_range("repo", Range(3, 5)))[0]) == b"34"
    second = now(storage.put("repo", b"new", IfVersion(version)))
    assert now(storage.get_range("repo"))[1].version == second
    now(storage.put("chunks/a", b"x"))
    now(storage.sync(["chunks/a"]))
    assert keys_of(storage) == ["chunks/a", "repo"]
    (root / "link").symlink_to(root / "repo")
    with pytest.raises(InvalidKey, match="symbolic link"):
        read(storage, "link")
    now(storage.delete(["chunks/a", "repo"]))
    assert keys_of(storage) == []


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("call", ["replace", "unlink"])
def test_files_in_use_are_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A file that somebody reads cannot be replaced or removed at once; a moment later it can."""
    clock = PatientClock()
    storage = open_with(System(clock), root)
    now(storage.put("x", b"old"))
    original, denials = getattr(os, call), iter(range(10))

    def denied_at_first(*arguments: str) -> None:
        if arguments[-1] == f"{root}/x" and next(denials, None) is not None:
            raise PermissionError(13, "Permission denied")
        original(*arguments)

    monkeypatch.setattr(os, call, denied_at_first)
    if call == "replace":
        now(storage.put("x", b"new"))
        assert read(storage, "x") == b"new"
    else:
        now(storage.delete(["x"]))
        assert keys_of(storage) == []
    assert 0 < clock.slept < 1


@pytest.mark.usefixtures("windows")
def test_files_in_use_for_ever(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting ends: what stays denied is reported as denied."""
    clock = PatientClock()
    storage = open_with(System(clock), root)
    now(storage.put("x", b"old"))

    def denied(*arguments: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", denied)
    with pytest.raises(PermissionDenied):
        now(storage.put("x", b"new"))
    assert clock.slept > 1
    assert read(storage, "x") == b"old"
