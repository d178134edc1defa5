"""What is copied as bytes from commit to commit, by one process or by both in turn, is read by both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tests.interop.implementations import OURS, create, delete, everything, open_repo, put
from tests.interop.nodes import GROUP, array_json

Pair = tuple[Any, Any]
NODES = 40


def grow(repo: Any, steps: range) -> None:
    """Commits that each add, change and delete a node among many, with messages and metadata."""
    for step in steps:
        session = repo.writable_session("main")
        attributes = b'{"zarr_format":3,"node_type":"group","attributes":{"step":%d}}' % step
        changes = {
            f"group{step % NODES}/zarr.json": attributes,
            f"array{step}/zarr.json": array_json((10, step % 5 + 1), (2, 2)),
        }
        put(session, changes)
        if step % 3 == 0:
            put(session, {f"array{step}/c/0/0": b"some bytes"})
        if step % 7 == 0:
            delete(session, [f"array{step - 3}/zarr.json"])
        session.commit(f"step {step}", metadata={"step": step} if step % 2 else None)


def test_long_histories_and_many_nodes(pair: Pair, spec_version: int, tmp_path: Path) -> None:
    """Both see the same nodes, chunks, history and log, whoever wrote the commits before."""
    first, second = pair
    root = tmp_path / "repo"
    repo = create(first, root, spec_version=spec_version)
    session = repo.writable_session("main")
    put(session, {f"group{number}/zarr.json": GROUP for number in range(NODES)})
    session.commit("groups")
    grow(repo, range(1, 30))
    grow(open_repo(second, root), range(30, 36))
    grow(open_repo(first, root), range(36, 42))
    seen = [everything(open_repo(ic, root)) for ic in pair]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("side", [40])
def test_virtual_refs_set_as_columns(pair: Pair, spec_version: int, tmp_path: Path, side: int) -> None:
    """Refs with shared and compressed locations, changed by the other, are read by both."""
    first, second = pair
    root = tmp_path / "repo"
    repo = create(first, root, spec_version=spec_version)
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="a", shape=(side, side), chunks=(1, 1), dtype="i4", fill_value=0)
    count = side * side
    numbers = np.arange(count, dtype=np.uint64)
    session.store.set_virtual_refs_arr(
        "a",
        (side, side),
        [f"s3://bucket/a/long/enough/path/{number % 13}.nc" for number in range(count)],
        numbers,
        numbers + np.uint64(1),
        validate_containers=False,
        checksum="tag",
    )
    session.commit("refs")
    session = open_repo(second, root).writable_session("main")
    zarr.open_array(session.store, path="a", mode="r+")[3, 4] = 7
    session.store.set_virtual_ref(
        "a/c/5/6", "s3://bucket/other", offset=3, length=4, validate_container=False
    )
    session.commit("changed")
    found = []
    for ic in pair:
        session = open_repo(ic, root).readonly_session("main")
        chunks = session.all_virtual_chunk_locations()
        found.append((sorted(chunks), zarr.open_array(session.store, path="a", mode="r")[3, 4]))
    assert found[0] == found[1]
    assert len(found[0][0]) == count - 1
    assert OURS in pair
