"""A commit that returned survives power loss, with every chunk: the engine on a recorded filesystem."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.drive import run_direct
from tests.backends.filesystem.crash import Recorder, states_after_power_loss
from tests.backends.filesystem.support import open_with

HIDDEN = "/.icechunk-core/"
# Every chunk fills a pack: all but the last of a commit are written and synced in the background.
PACKS = {
    "plain": False,
    "background": ic.PackConfig(max_chunk_bytes=1024, target_bytes=1024, buffered_bytes=0),
}
LAYOUTS = pytest.mark.parametrize("packs", PACKS.values(), ids=PACKS.keys())


def commit_value(repo: ic.Repository, value: int) -> str:
    """One commit with two chunks in objects of its own."""
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="x", mode="r+")[value * 512 : (value + 1) * 512] = value
    return session.commit(f"value {value}")


def record(
    root: Path, spec_version: int, *, durable: bool, packs: ic.PackConfig | bool
) -> tuple[Recorder, list[tuple[int, str]]]:
    """Create a repository and commit to it; gives the journal and after which event each commit returned."""
    recorder = Recorder()
    storage = open_with(recorder, root, durable=durable)
    repo = ic.Repository.create(storage, spec_version=spec_version, packs=packs)
    acknowledged = [(len(recorder.journal), repo.lookup_branch("main"))]
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="x", shape=(2048,), chunks=(256,), dtype="i4", compressors=None, filters=None
    )
    acknowledged.append((0, session.commit("array")))
    acknowledged[-1] = (len(recorder.journal), acknowledged[-1][1])
    for value in (1, 2, 3):
        snapshot = commit_value(repo, value)
        acknowledged.append((len(recorder.journal), snapshot))
    return recorder, acknowledged


def lost_commits(recorder: Recorder, acknowledged: list[tuple[int, str]], root: Path) -> set[str]:
    """Acknowledged commits that are not fully there after some power loss."""
    lost: set[str] = set()
    seen: set[frozenset[tuple[str, bytes]]] = set()
    for done, files in states_after_power_loss(recorder.journal):
        left = {
            path.removeprefix(f"{root}/"): data
            for path, data in files.items()
            if path.startswith(f"{root}/") and HIDDEN not in path
        }
        due = [snapshot for since, snapshot in acknowledged if since <= done]
        state = frozenset({**left, "due": str(due).encode()}.items())
        if state not in seen:
            seen.add(state)
            lost |= missing(left, due)
    return lost


def missing(files: dict[str, bytes], due: list[str]) -> set[str]:
    """Which of the commits cannot be read back whole from these files."""
    if not due:
        return set()
    storage = ic.in_memory_storage()
    for key, data in files.items():
        run_direct(storage.put(key, data))
    try:
        repo = ic.Repository.open(storage)
        history = [info.id for info in repo.ancestry(branch="main")][::-1]
        expected = np.zeros(2048, dtype="i4")
        for value in range(1, len(due) - 1):
            expected[value * 512 : (value + 1) * 512] = value
        if len(due) > 1:
            store = repo.readonly_session(snapshot_id=due[-1]).store
            assert (zarr.open_array(store, path="x", mode="r")[:] == expected).all()
    except (ic.IcechunkError, AssertionError):
        return set(due)
    return set(due) - set(history)


@LAYOUTS
def test_acknowledged_commits_survive(tmp_path: Path, spec_version: int, packs: ic.PackConfig | bool) -> None:
    """Whenever the power fails, every commit that returned is in the history and reads back whole."""
    recorder, acknowledged = record(tmp_path / "repo", spec_version, durable=True, packs=packs)
    assert len(acknowledged) == 5
    assert lost_commits(recorder, acknowledged, tmp_path / "repo") == set()


@LAYOUTS
@pytest.mark.parametrize("spec_version", [2])
def test_without_syncing_they_would_not(
    tmp_path: Path, spec_version: int, packs: ic.PackConfig | bool
) -> None:
    """With syncing switched off the same check finds losses, so it can see them."""
    recorder, acknowledged = record(tmp_path / "repo", spec_version, durable=False, packs=packs)
    assert lost_commits(recorder, acknowledged, tmp_path / "repo")
