"""One writer of a race. Imports nothing but what a program that commits does: it is measured from its start.

python -m tests.benchmarks.race_worker ours|unsynced|peer PLACE WRITER COMMITS
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

import zarr

__all__ = ["Acknowledged", "prepare", "present", "write"]

Acknowledged = list[tuple[str, int, int]]
"""Snapshot, writer and commit."""


def prepare(name: str, root: str, writers: int, commits: int) -> None:
    """A repository with an array of a chunk for each commit."""
    session = _repository(name, root, create=True).writable_session("main")
    zarr.create_array(
        session.store, name="data", shape=(writers, commits), chunks=(1, 1), dtype="i4", fill_value=0
    )
    session.commit("array")


def write(
    name: str, root: str, writer: int, commits: int, wait: Callable[[], Any] = lambda: None
) -> Acknowledged:
    """Commit a chunk, and another one; ``wait`` is called when the repository is open."""
    module = _module(name)
    repo = _repository(name, root)
    wait()
    acknowledged: Acknowledged = []
    for commit in range(commits):
        session = repo.writable_session("main")
        zarr.open_array(session.store, path="data", mode="r+")[writer, commit] = _value(writer, commit)
        try:
            snapshot = session.commit(
                f"writer {writer} commit {commit}", rebase_with=module.ConflictDetector()
            )
        except Exception:  # whatever it is: this one was not acknowledged
            continue
        acknowledged.append((snapshot, writer, commit))
    return acknowledged


def present(name: str, root: str, acknowledged: Acknowledged) -> int:
    """How many of them are in the history, and their values in the array."""
    repo = _repository(name, root)
    history = {info.id for info in repo.ancestry(branch="main")}
    values: Any = zarr.open_array(repo.readonly_session("main").store, path="data", mode="r")[:]
    return sum(
        snapshot in history and int(values[writer, commit]) == _value(writer, commit)
        for snapshot, writer, commit in acknowledged
    )


def _module(name: str) -> Any:
    module = importlib.import_module("icechunk" if name == "peer" else "icechunk_core")
    if name == "peer":
        module.set_logs_filter("off")
    return module


def _repository(name: str, root: str, *, create: bool = False) -> Any:
    module = _module(name)
    opened = module.Repository.create if create else module.Repository.open
    options = {"durable": False} if name == "unsynced" else {}
    return opened(module.local_filesystem_storage(root, **options))


def _value(writer: int, commit: int) -> int:
    return 1_000 * (writer + 1) + commit


if __name__ == "__main__":
    name, root, writer, commits = sys.argv[1:]
    print(json.dumps(write(name, root, int(writer), int(commits))))
