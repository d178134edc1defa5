"""Genuine repositories, continued with icechunk-core, are read by Icechunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core
from tests.interop.implementations import OURS, contents, everything, history, open_repo, put
from tests.vectors_support import VECTOR_NAMES, load_vector

# Targets outside the archives: `test_vectors` covers reading what can be read of these.
VIRTUAL = {"v1-virtual-split", "v21-chunk-kinds", "v21-migrated-keep-refs"}

GROUP = b'{"zarr_format":3,"node_type":"group","attributes":{"by":"icechunk-core"}}'


def work(ic: Any, root: Path, mark: str) -> str:
    """A commit on ``main``: a group, an array, a changed chunk of it; then a branch and a tag."""
    repo = open_repo(ic, root)
    session = repo.writable_session("main")
    put(session, {f"by-{mark}/zarr.json": GROUP})
    array = zarr.create_array(
        session.store, name=f"by-{mark}/values", shape=(6, 5), chunks=(2, 3), dtype="i4", fill_value=-1
    )
    array[1:5, 1:] = np.arange(16).reshape(4, 4)
    snapshot: str = session.commit(f"by {mark}", {"mark": mark})
    repo.create_branch(f"branch-{mark}", snapshot)
    repo.create_tag(f"tag-{mark}", snapshot)
    session = repo.writable_session(f"branch-{mark}")
    zarr.open_array(session.store, path=f"by-{mark}/values", mode="r+")[0, 0] = 77
    session.commit(f"on the branch of {mark}")
    return snapshot


@pytest.mark.parametrize("name", sorted(set(VECTOR_NAMES) - VIRTUAL))
def test_both_continue_a_vector(name: str, tmp_path: Path, peer: Any) -> None:
    """We commit, then the peer does: at the end both see the same refs, histories and contents."""
    root = load_vector(name).copy_to(tmp_path / "repo")
    old = history(open_repo(OURS, root), branch="main")
    if name == "v21-basic":
        with pytest.raises(icechunk_core.ReadOnlyError, match="maintenance"):
            work(OURS, root, "ours")
        open_repo(peer, root).set_status(peer.RepoStatus(peer.RepoAvailability.online))
    first = work(OURS, root, "ours")
    second = work(peer, root, "peer")
    if name == "v21-long":  # 1,200 versions: the latest are enough
        ours, theirs = open_repo(OURS, root), open_repo(peer, root)
        assert history(ours, branch="main") == history(theirs, branch="main")
        assert contents(ours.readonly_session("main").store) == contents(
            theirs.readonly_session("main").store
        )
    else:
        assert everything(open_repo(OURS, root)) == everything(open_repo(peer, root))
    new = history(open_repo(peer, root), branch="main")
    assert [entry[0] for entry in new[:2]] == [second, first]
    assert new[2:] == old


@pytest.mark.parametrize("name", sorted(VIRTUAL))
def test_both_continue_a_vector_with_virtual_chunks(name: str, tmp_path: Path, peer: Any) -> None:
    """Commits by both keep the virtual refs: the peer lists the same locations before and after."""
    root = load_vector(name).copy_to(tmp_path / "repo")

    def locations() -> list[str]:
        session = open_repo(peer, root).readonly_session("main")
        return sorted(session.all_virtual_chunk_locations())

    before = locations()
    assert before
    work(OURS, root, "ours")
    assert locations() == before
    work(peer, root, "peer")
    assert locations() == before
    for ic in (OURS, peer):
        store = open_repo(ic, root).readonly_session("branch-peer").store
        for mark in ("ours", "peer"):
            values = np.asarray(zarr.open_array(store, path=f"by-{mark}/values", mode="r")[1:5, 1:])
            assert values.tolist() == np.arange(16).reshape(4, 4).tolist()
