"""Processes that commit to one branch: how many commits are acknowledged, and how many are there afterwards.

Ours are the writers of the concurrency tests; Icechunk's do the same, with its own API.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from attrs import frozen

from tests.concurrency import committers

__all__ = ["Outcome", "race"]

WRITERS = 8


@frozen
class Outcome:
    """What came of a race.

    Attributes
    ----------
    acknowledged, present
        Commits that returned, and those of them whose snapshot and value are in the history.
    seconds
        From the start of the processes to the end of the last one.
    """

    acknowledged: int
    present: int
    seconds: float


def race(name: str, commits: int) -> Outcome:
    """8 processes with so many commits each, each changing a chunk of its own, rebasing over the others."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = f"{folder}/repo"
        if name == "ours":
            committers.prepare(f"file://{root}", WRITERS, commits)
        else:
            _prepare_peer(root, commits)
        start = time.perf_counter()
        processes = [_start(name, root, writer, commits) for writer in range(WRITERS)]
        acknowledged: list[tuple[str, int, int]] = []
        for process in processes:
            acknowledged += committers.acknowledgements(process.communicate()[0])
        seconds = time.perf_counter() - start
        return Outcome(len(acknowledged), _present(name, root, acknowledged), seconds)


def _open(name: str, root: str) -> Any:
    if name == "ours":
        import icechunk_core

        return icechunk_core.Repository.open(f"file://{root}")
    import icechunk

    icechunk.set_logs_filter("off")
    return icechunk.Repository.open(icechunk.local_filesystem_storage(root))


def _start(name: str, root: str, writer: int, commits: int) -> subprocess.Popen[str]:
    if name == "ours":
        return committers.start(f"file://{root}", writer, commits)
    command = [sys.executable, "-m", "tests.benchmarks.race", root, str(writer), str(commits)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _present(name: str, root: str, acknowledged: list[tuple[str, int, int]]) -> int:
    repo = _open(name, root)
    history = {info.id for info in repo.ancestry(branch="main")}
    values = np.asarray(zarr.open_array(repo.readonly_session("main").store, path="data", mode="r")[:])
    return sum(
        snapshot in history and values[writer, commit] == committers.value_of(writer, commit)
        for snapshot, writer, commit in acknowledged
    )


def _prepare_peer(root: str, commits: int) -> None:
    import icechunk

    icechunk.set_logs_filter("off")
    repo = icechunk.Repository.create(icechunk.local_filesystem_storage(root))
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="data", shape=(WRITERS, commits), chunks=(1, 1), dtype="i4", fill_value=0
    )
    session.commit("array")


def _write_peer(root: str, writer: int, commits: int) -> None:
    import icechunk

    repo = _open("peer", root)
    for commit in range(commits):
        session = repo.writable_session("main")
        array = zarr.open_array(session.store, path="data", mode="r+")
        array[writer, commit] = committers.value_of(writer, commit)
        message = f"writer {writer} commit {commit}"
        snapshot = session.commit(message, rebase_with=icechunk.ConflictDetector())
        print("acknowledged", snapshot, writer, commit, flush=True)


if __name__ == "__main__":
    _write_peer(str(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
