"""What both implementations do by turns in one place on an object store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import zarr

from tests.interop.implementations import OURS, everything, load_peer

__all__ = ["Storage", "commit_in_turns", "write_in_turns"]

Storage: TypeAlias = Callable[[Any], Any]
"""Opens the place with the implementation that it is given."""


def write_in_turns(pair: tuple[Any, Any], spec: int, storage: Storage) -> None:
    """One creates a repository with inline, small and large chunks, the other adds a commit, a branch and
    a tag, the first goes on; both see the same all the time."""
    first, second = pair

    def agree() -> dict[str, Any]:
        seen = [everything(ic.Repository.open(storage(ic))) for ic in pair]
        assert seen[0] == seen[1]
        return seen[0]

    version = getattr(first.SpecVersion, f"v{spec}")
    repo = first.Repository.create(storage(first), spec_version=version)
    session = repo.writable_session("main")
    group = zarr.create_group(session.store, attributes={"title": "Übersicht"})
    group.create_array("small", shape=(40,), chunks=(10,), dtype="i4")[:] = np.arange(40)
    large = np.random.default_rng(1).integers(0, 255, 3 << 20, dtype="u1")
    group.create_array("large", data=large, chunks=(1 << 20,), compressors=None)
    session.commit("first")

    other = second.Repository.open(storage(second))
    session = other.writable_session("main")
    group = zarr.open_group(session.store, mode="r+")
    assert np.array_equal(np.asarray(group["large"][:]), large)  # type: ignore[index]
    group["small"][5:15] = 7  # type: ignore[index]
    group["small"].attrs["unit"] = "°C"
    snapshot = session.commit("second")
    other.create_tag("v1", snapshot_id=snapshot)
    other.create_branch("side", snapshot_id=snapshot)
    agree()

    session = repo.writable_session("side")
    del zarr.open_group(session.store, mode="r+")["large"]
    session.commit("third")
    seen = agree()
    assert set(seen["branches"]) == {"main", "side"}
    assert len(seen["histories"][seen["branches"]["side"]]) == 4


def commit_in_turns(storage: Storage) -> None:
    """Commits of both, each on top of the other's, are all in the history that either sees."""
    peer = load_peer()
    OURS.Repository.create(storage(OURS))
    for turn, ic in enumerate([OURS, peer] * 3):
        session = ic.Repository.open(storage(ic)).writable_session("main")
        zarr.create_group(session.store, path=f"group-{turn}")
        session.commit(f"turn {turn}")
    for ic in (OURS, peer):
        history = ic.Repository.open(storage(ic)).ancestry(branch="main")
        assert [info.message for info in history][:6] == [f"turn {turn}" for turn in reversed(range(6))]
