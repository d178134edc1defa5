"""Manifests that several arrays share: written by us, read, continued and tidied up by the peer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tests.interop.implementations import OURS, create, everything, open_repo

ARRAYS = 30
FUTURE = datetime.fromtimestamp(4_000_000_000, UTC)


def written_by_us(root: Path, spec_version: int, **options: Any) -> Any:
    """Thirty arrays of three chunks in two shared manifests: ten are new, twenty were written twice."""
    repo = create(OURS, root, spec_version=spec_version, **options)
    session = repo.writable_session("main")
    group = zarr.create_group(session.store)
    for number in range(20):
        group.create_array(name(number), shape=(600,), chunks=(200,), dtype="f8", compressors=None)
        group[name(number)][:] = number + 0.5  # type: ignore[index]
    session.commit("twenty")
    session = repo.writable_session("main")
    group = zarr.open_group(session.store, mode="r+")
    for number in range(20):
        group[name(number)][200:] = number  # type: ignore[index]
    for number in range(20, ARRAYS):
        group.create_array(name(number), shape=(3, 2), chunks=(2, 1), dtype="i4")[:] = number + 1
    session.commit("thirty")
    assert len(manifests(repo)) == 2
    return repo


def name(number: int) -> str:
    return f"{'inner/' if number % 3 else ''}array{number}"


def manifests(repo: Any) -> dict[str, int]:
    """Refs by manifest of the latest version."""
    return {found.id: found.num_chunk_refs for found in repo.list_manifest_files(repo.lookup_branch("main"))}


def same(root: Path, *implementations: Any) -> dict[str, Any]:
    """What all of them see, the same."""
    first, *others = [everything(open_repo(ic, root)) for ic in implementations]
    assert others == [first] * len(others)
    return first


def change(ic: Any, root: Path, by: int) -> None:
    """Change a part of two arrays, all of another, delete one, add one."""
    session = open_repo(ic, root).writable_session("main")
    group: Any = zarr.open_group(session.store, mode="r+")
    group[name(0)][0:10] = by
    group[name(25)][0, 0] = by
    group[name(1)][:] = -by
    del group[name(by)]
    group.create_array(f"more{by}", shape=(4,), chunks=(2,), dtype="i4")[:] = by
    session.commit(f"change {by}")


def test_each_goes_on_where_the_other_was(tmp_path: Path, peer: Any, spec_version: int) -> None:
    """Both see the same after each commit of either; the arrays that nobody touched keep their manifests."""
    root = tmp_path / "repo"
    before = manifests(written_by_us(root, spec_version))
    same(root, OURS, peer)
    for turn, ic in enumerate([peer, OURS, peer, OURS], start=5):
        change(ic, root, turn)
        seen = same(root, OURS, peer)
    assert before.keys() <= manifests(open_repo(OURS, root)).keys()
    tip = seen["contents"][seen["branches"]["main"]]
    assert tip[f"{name(10)}/c/0"] == np.full(200, 10.5).tobytes()
    assert tip[f"{name(10)}/c/1"] == np.full(200, 10.0).tobytes()
    assert open_repo(OURS, root).verify(data=True).ok


@pytest.mark.parametrize("tidy_first", ["ours", "peer"])
def test_expiry_and_garbage(tmp_path: Path, peer: Any, spec_version: int, tidy_first: str) -> None:
    """After expiry and garbage collection by either, all that is in use can be read by both."""
    root = tmp_path / "repo"
    written_by_us(root, spec_version)
    change(OURS, root, 5)
    change(peer, root, 6)
    tip = same(root, OURS, peer)["branches"]["main"]
    content = same(root, OURS, peer)["contents"][tip]
    for ic in (OURS, peer) if tidy_first == "ours" else (peer, OURS):
        repo = open_repo(ic, root)
        repo.expire_snapshots(older_than=FUTURE)
        repo.garbage_collect(delete_object_older_than=FUTURE)
        assert same(root, OURS, peer)["contents"][tip] == content
        assert open_repo(OURS, root).verify(data=True).ok


def test_rewriting_by_both(tmp_path: Path, peer: Any, spec_version: int) -> None:
    """The peer gives each array a manifest of its own again, we gather them, and nothing else changes."""
    root = tmp_path / "repo"
    written_by_us(root, spec_version)
    change(OURS, root, 5)
    content = list(same(root, OURS, peer)["contents"].values())
    open_repo(peer, root).rewrite_manifests("apart", branch="main")
    assert len(manifests(open_repo(OURS, root))) == ARRAYS
    open_repo(OURS, root).rewrite_manifests("together", branch="main")
    assert len(manifests(open_repo(peer, root))) == 1
    after = same(root, OURS, peer)
    assert after["contents"][after["branches"]["main"]] in content


def test_statistics(tmp_path: Path, peer: Any) -> None:
    """Both count the chunks of shared manifests alike; of packs Icechunk counts one chunk each."""
    root = tmp_path / "repo"
    written_by_us(root, 2, packs=False)
    change(peer, root, 5)
    ours, theirs = (open_repo(ic, root).chunk_storage_stats() for ic in (OURS, peer))
    for figure in ("native_bytes", "inlined_bytes", "virtual_bytes"):
        assert getattr(ours, figure) == getattr(theirs, figure)
