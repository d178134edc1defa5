"""Runs under Icechunk 1.1: ``python icechunk1_script.py COMMAND DIRECTORY`` prints a JSON report.

``describe`` tells all that a repository holds; ``write`` makes one; ``continue`` commits
on top of what is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from typing import Any

import icechunk
import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype


def describe(repo: Any) -> dict[str, Any]:
    """Refs, history, and a digest of every key of every reachable version."""
    branches = {name: repo.lookup_branch(name) for name in repo.list_branches()}
    tags = {name: repo.lookup_tag(name) for name in repo.list_tags()}
    history = {}
    for tip in {*branches.values(), *tags.values()}:
        for info in repo.ancestry(snapshot_id=tip):
            history[info.id] = [info.parent_id, info.message, info.metadata]
    contents = {snapshot: asyncio.run(digests(repo, snapshot)) for snapshot in history}
    return {"branches": branches, "tags": tags, "history": history, "contents": contents}


async def digests(repo: Any, snapshot: str) -> dict[str, str]:
    """Every key of a version with the SHA-256 of its bytes."""
    store = repo.readonly_session(snapshot_id=snapshot).store
    found = {}
    async for key in store.list():
        value = await store.get(key, default_buffer_prototype())
        found[key] = hashlib.sha256(value.to_bytes()).hexdigest()
    return found


def write(repo: Any) -> None:
    """Groups, arrays with inline and native chunks, deletions, a branch, tags, one of them deleted."""
    session = repo.writable_session("main")
    group = zarr.create_group(session.store, attributes={"by": "first"})
    group.create_group("a/b")
    small = group.create_array("a/small", shape=(9, 3), chunks=(2, 3), dtype="i2", fill_value=-1)
    small[:7] = np.arange(21).reshape(7, 3)
    large = group.create_array("large", shape=(30, 50), chunks=(10, 50), dtype="f8", compressors=None)
    large[:20] = np.random.default_rng(0).random((20, 50))
    group.create_array("temporary", shape=(2,), dtype="u1")[:] = 1
    first = session.commit("write", metadata={"n": [1, 2.5, None, {"x": "ü"}]})
    session = repo.writable_session("main")
    group = zarr.open_group(session.store, mode="r+")
    del group["temporary"]
    zarr.open_array(session.store, path="large", mode="r+")[5] = 0
    zarr.open_array(session.store, path="a/small", mode="r+").resize((5, 3))
    second = session.commit("change")
    repo.create_branch("dev-1", first)
    repo.create_tag("one", first)
    repo.create_tag("two", second)
    repo.delete_tag("two")


def go_on(repo: Any) -> None:
    """Commit to every branch on top of what is there; expect the deleted tag's name to stay used."""
    for branch in sorted(repo.list_branches()):
        session = repo.writable_session(branch)
        group = zarr.open_group(session.store, mode="r+")
        zarr.open_array(session.store, path="large", mode="r+")[25:] = 3.5
        zarr.open_array(session.store, path="a/small", mode="r+")[0] = 77
        group.attrs["continued"] = branch
        group.create_array("more", shape=(3,), chunks=(1,), dtype="u1")[:] = [1, 2, 3]
        session.commit(f"continue {branch}")
    try:
        repo.create_tag("two", repo.lookup_branch("main"))
    except Exception as error:  # each version has its own class for this
        if "tag" not in str(error).lower():
            raise
    else:
        raise AssertionError("a deleted tag came back")
    repo.create_tag("three", repo.lookup_branch("main"))


def main(command: str, directory: str) -> None:
    """Run one command and print the description of the repository afterwards."""
    if hasattr(icechunk, "set_logs_filter"):
        icechunk.set_logs_filter("off")
    storage = icechunk.local_filesystem_storage(directory)
    if command == "write":
        write(icechunk.Repository.create(storage))
    elif command == "continue":
        go_on(icechunk.Repository.open(storage))
    print(json.dumps(describe(icechunk.Repository.open(storage))), flush=True)
    os._exit(0)  # its threads sometimes crash while the interpreter shuts down


if __name__ == "__main__":
    assert icechunk.__version__.startswith("1."), icechunk.__version__
    main(sys.argv[1], sys.argv[2])
