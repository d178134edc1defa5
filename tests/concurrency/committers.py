"""Writer processes for the concurrency tests: each commits its own chunks to one branch.

Run as ``python committers.py URL WRITER COMMITS``; prints one line ``acknowledged SNAPSHOT
WRITER COMMIT`` after each commit that returned, flushed at once, so that a killed writer's
last acknowledgement is known.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import zarr

import icechunk_core

ROWS = 8
COMMITS = 10


def value_of(writer: int, commit: int) -> int:
    """What writer number ``writer`` stores with its commit number ``commit``."""
    return 1000 * (writer + 1) + commit


def prepare(url: str, writers: int, commits: int) -> None:
    """Create the repository with one array: a row per writer, a chunk per commit."""
    repo = icechunk_core.Repository.create(url)
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="data", shape=(writers, commits), chunks=(1, 1), dtype="i4", fill_value=0
    )
    session.commit("array")


def write(url: str, writer: int, commits: int) -> None:
    """Commit one chunk at a time, rebasing over whatever the others have committed."""
    repo = icechunk_core.Repository.open(url)
    for commit in range(commits):
        session = repo.writable_session("main")
        zarr.open_array(session.store, path="data", mode="r+")[writer, commit] = value_of(writer, commit)
        snapshot = session.commit(
            f"writer {writer} commit {commit}", rebase_with=icechunk_core.ConflictDetector()
        )
        print("acknowledged", snapshot, writer, commit, flush=True)


def start(url: str, writer: int, commits: int) -> subprocess.Popen[str]:
    """One writer in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__)), url, str(writer), str(commits)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check(url: str, acknowledged: list[tuple[str, int, int]]) -> int:
    """Every acknowledged commit is in the history and its value is there; gives how many."""
    repo = icechunk_core.Repository.open(url)
    history = {info.id for info in repo.ancestry(branch="main")}
    values = np.asarray(zarr.open_array(repo.readonly_session("main").store, path="data", mode="r")[:])
    for snapshot, writer, commit in acknowledged:
        assert snapshot in history, f"commit {commit} of writer {writer} was acknowledged and is gone"
        assert values[writer, commit] == value_of(writer, commit)
    return len(acknowledged)


def acknowledgements(output: str) -> list[tuple[str, int, int]]:
    """What a writer printed."""
    lines = [line.split() for line in output.splitlines() if line.startswith("acknowledged")]
    return [(words[1], int(words[2]), int(words[3])) for words in lines if len(words) == 4]


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
