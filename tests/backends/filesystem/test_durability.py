"""What was acknowledged survives power loss: the journal of writes and syncs, replayed and cut everywhere."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from icechunk_core.contract import IF_ABSENT, IfVersion, Storage, Version
from icechunk_core.contract.errors import NotFound, OutcomeUnknown
from icechunk_filesystem._system import System
from tests.backends.filesystem.crash import Recorder, states_after_power_loss
from tests.backends.filesystem.support import now, open_at, open_with, read


class History:
    """What a program wrote and what it was promised, against what power loss leaves."""

    def __init__(self, recorder: Recorder, root: Path) -> None:
        self.recorder, self.root = recorder, root
        self.written: dict[str, list[bytes]] = {}
        self.promised: list[tuple[int, str, int]] = []

    def wrote(self, key: str, data: bytes) -> None:
        """A put of the key is about to be made."""
        self.written.setdefault(key, []).append(data)

    def promise(self, *keys: str) -> None:
        """The last values of these keys were acknowledged as durable."""
        for key in keys:
            self.promised.append((len(self.recorder.journal), key, len(self.written[key]) - 1))

    def losses(self) -> set[str]:
        """Keys that do not hold their promised value, or a later one, after some power loss."""
        lost = set()
        for done, files in states_after_power_loss(self.recorder.journal):
            for since, key, position in self.promised:
                if since <= done and files.get(f"{self.root}/{key}") not in self.written[key][position:]:
                    lost.add(key)
        return lost


def _commit(history: History, storage: Storage, turn: int, version: Version | None) -> Version:
    """What a commit does: chunks and metadata, one sync, then the swap of the repo object."""
    keys = [f"chunks/{turn}-{number}" for number in range(3)] + [f"snapshots/{turn}", f"deep/{turn}/er/x"]
    for key in keys:
        history.wrote(key, f"{key} of {turn}".encode())
        now(storage.put(key, history.written[key][-1]))
    now(storage.sync(keys))
    history.promise(*keys)
    history.wrote("repo", f"repo {turn}".encode())
    condition = IF_ABSENT if version is None else IfVersion(version)
    version = now(storage.put("repo", history.written["repo"][-1], condition))
    history.promise("repo")
    return version


def _program(root: Path, durable: bool) -> History:
    """Two storages that commit by turns below directories that do not exist yet."""
    recorder = Recorder()
    history = History(recorder, root)
    storages = [open_with(recorder, root, durable=durable) for _ in range(2)]
    version: Version | None = None
    for turn in range(4):
        version = _commit(history, storages[turn % 2], turn, version)
    return history


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """Whenever the power fails: synced objects and returned conditional puts are there, whole."""
    history = _program(tmp_path / "made" / "on" / "the way", durable=True)
    assert len(history.promised) == 24
    assert history.losses() == set()


def test_without_syncing_it_would_be(tmp_path: Path) -> None:
    """The replay does find losses: with syncing switched off, everything may be lost."""
    history = _program(tmp_path / "root", durable=False)
    assert history.losses() == set(history.written)
    assert not [event for event in history.recorder.journal if event.what.startswith("sync")]


@pytest.mark.parametrize("forgotten", ["sync", "sync directory"])
def test_each_kind_of_sync_counts(tmp_path: Path, forgotten: str) -> None:
    """Leaving out the syncs of files, or those of directories, would lose something."""
    history = _program(tmp_path / "root", durable=True)
    for position, event in enumerate(history.recorder.journal):
        if event.what == forgotten:
            history.recorder.journal[position] = event._replace(what="unlink", path=f"{tmp_path}/nothing")
    assert history.losses()


def test_directories_that_another_process_made(tmp_path: Path) -> None:
    """A promise also covers directories that somebody else made and did not sync."""
    recorder = Recorder()
    root = tmp_path / "root"
    careless, careful = open_with(recorder, root), open_with(recorder, root, durable=True)
    now(careless.put("a/b/unsynced", b"x"))
    history = History(recorder, root)
    history.wrote("a/b/c", b"data")
    now(careful.put("a/b/c", b"data"))
    now(careful.sync(["a/b/c"]))
    history.promise("a/b/c")
    assert history.losses() == set()


def test_directories_that_were_removed_and_made_again(tmp_path: Path) -> None:
    """A promise holds though another process removed the directory meanwhile and made it anew."""
    recorder = Recorder()
    root = tmp_path / "root"
    careless, careful = open_with(recorder, root), open_with(recorder, root, durable=True)
    history = History(recorder, root)
    now(careful.put("a/first", b"x"))
    now(careful.sync(["a/first"]))
    now(careless.delete(["a/first"]))
    now(careless.put("a/unsynced", b"x"))
    history.wrote("a/second", b"data")
    now(careful.put("a/second", b"data"))
    now(careful.sync(["a/second"]))
    history.promise("a/second")
    assert history.losses() == set()


def test_overwriting_keeps_the_old_object_until_the_new_one_is_there(tmp_path: Path) -> None:
    """An unconditional put over a durable object leaves the old or the new one, not an empty file."""
    recorder = Recorder()
    storage = open_with(recorder, tmp_path / "root", durable=True)
    history = History(recorder, tmp_path / "root")
    for data in (b"old", b"new"):
        history.wrote("snapshots/x", data)
        now(storage.put("snapshots/x", data))
        if data == b"old":
            now(storage.sync(["snapshots/x"]))
            history.promise("snapshots/x")
    assert history.losses() == set()


def test_one_batch(tmp_path: Path) -> None:
    """`sync` of many objects syncs each file once and each directory once; puts sync nothing themselves."""
    recorder = Recorder()
    storage = open_with(recorder, tmp_path / "root", durable=True)
    keys = [f"chunks/{number}" for number in range(50)] + ["manifests/m", "snapshots/s"]
    for key in keys:
        now(storage.put(key, b"x"))
    assert not [event for event in recorder.journal if event.what.startswith("sync")]
    for expected in (5, 4):
        recorder.journal.clear()
        now(storage.sync([*keys, keys[0]]))
        counts = Counter((event.what, event.path) for event in recorder.journal)
        assert set(counts.values()) == {1}
        assert sum(what == "sync" for what, _ in counts) == len(keys)
        # The three directories and the root; the first time also the directory that holds it.
        assert sum(what == "sync directory" for what, _ in counts) == expected


def test_deletions_are_synced_together(tmp_path: Path) -> None:
    """A batch of deletions syncs each directory once."""
    recorder = Recorder()
    storage = open_with(recorder, tmp_path / "root", durable=True)
    keys = [f"chunks/{number}" for number in range(20)]
    for key in keys:
        now(storage.put(key, b"x"))
    now(storage.sync(keys))
    recorder.journal.clear()
    now(storage.delete(keys))
    synced = [event.path for event in recorder.journal if event.what == "sync directory"]
    assert synced == [str(tmp_path / "root")]


def test_sync_of_what_is_gone(storage: Storage, root: Path) -> None:
    """A key that cannot be made durable, because it is not there, is an error."""
    durable = open_at(root, durable=True)
    now(durable.put("x", b"x"))
    with pytest.raises(NotFound):
        now(durable.sync(["x", "y"]))
    now(storage.sync(["x", "y"]))  # Syncing is switched off.


def test_a_failed_sync_of_the_directory_is_not_a_success(root: Path) -> None:
    """If the object is published but may not survive, the outcome is unknown, and says so."""

    class Failing(System):
        def sync_directory(self, path: str) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    storage = open_with(Failing(), root, durable=True)
    with pytest.raises(OutcomeUnknown, match="sync"):
        now(storage.put("repo", b"1", IF_ABSENT))
    assert read(open_at(root), "repo") == b"1"


def test_a_failed_sync_of_the_data_publishes_nothing(root: Path) -> None:
    """If the data cannot be made durable, a conditional put fails before it publishes."""

    class Failing(System):
        def sync_descriptor(self, descriptor: int, path: str) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    storage = open_with(Failing(), root, durable=True)
    with pytest.raises(Exception, match="disk or filesystem failed"):
        now(storage.put("repo", b"1", IF_ABSENT))
    assert not (root / "repo").exists()
    assert not list((root / ".icechunk-core" / "tmp").iterdir())


def test_filesystems_that_cannot_sync_directories(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`EINVAL` from syncing a directory means that the filesystem has no such thing, not a failure."""
    fsync = os.fsync

    def without_directories(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", without_directories)
    storage = open_at(root, durable=True)
    now(storage.put("repo", b"1", IF_ABSENT))
    assert read(storage, "repo") == b"1"
