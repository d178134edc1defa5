"""A program of API calls on icechunk-core and on Icechunk, each in its own directory.

Every call must give the same value or the same error on both sides; ids of snapshots are
compared by a name that both sides share. After each step the sessions and refs that it
touched are compared, and in the end each side opens the other's repository.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.differential.sides import Pair
from tests.differential.upkeep_part import UpkeepPart
from tests.differential.views import repository_state
from tests.interop.implementations import load_peer

__all__ = ["Program"]

SHARED_MEMORY = Path("/dev/shm")


class Program(UpkeepPart):
    """A program to be run step by step; `close` compares the two repositories that it made."""

    def __init__(self) -> None:
        # The programs are about results, not about disks; without a disk many more run.
        place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="differential-", dir=place))
        self.pair = Pair.start(self.folder, load_peer())
        self.marks = []

    def close(self) -> None:
        """Compare everything, and remove it."""
        try:
            if self.pair.ours.repo is not None and not self.pair.broken:
                self.compare_repositories()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, spec_version: int, split: bool, packs: bool = False) -> None:
        """A repository with two arrays and two groups."""
        self.spec_version = spec_version
        for side in self.pair.sides:
            side.create(spec_version, split, packs)
        self.open_session(0, "main", "writable_session")
        changes: list[tuple[Any, ...]] = [
            ("create_group", "", {}),
            ("create_array", "a", (6,), False),
            ("create_array", "g/a", (3, 4), True),
            ("write", "a", 0, 1),
            ("write", "g/a", 1, 2),
        ]
        self.change(0, changes)
        self.commit(0, None, None, False, "writable_session")
        for slot in (1, 2):
            self.open_session(slot, "main", "writable_session")

    def compare_repositories(self) -> None:
        """Each side reads the other's repository, and sees what the peer sees in its own."""
        self.look_at_log()
        ours, peer = self.pair.sides
        expected = repository_state(peer.open(peer.root), peer)
        for reader, written in ((ours, peer), (peer, ours)):
            state = repository_state(reader.open(written.root), written)
            for topic, value in expected.items():
                assert state[topic] == value, f"{reader.ic.__name__} reads {written.ic.__name__}: {topic}"
