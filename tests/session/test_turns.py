"""Commits in turns, where the storage has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zarr

import icechunk_core as ic
from icechunk_core.contract.wrappers import with_concurrency_limit
from icechunk_core.drive import run_direct
from icechunk_core.errors import ConflictError, Unavailable
from icechunk_core.format import layout
from icechunk_core.session import turns
from icechunk_core.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A directory, which has turns."""
    return ic.local_filesystem_storage(str(tmp_path / "repo"))


def repository(storage: Storage) -> ic.Repository:
    repo = ic.Repository.create(storage)
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="data", shape=(40,), chunks=(1,), dtype="i4", fill_value=0)
    session.commit("array")
    return repo


def changed(repo: ic.Repository, place: int, value: int = 1) -> ic.Session:
    session = repo.writable_session("main")
    array = zarr.open_array(session.store, path="data", mode="r+")
    array[place] = value
    return session


def values(repo: ic.Repository) -> list[int]:
    found: Any = zarr.open_array(repo.readonly_session("main").store, path="data", mode="r")[:]
    return list(found.tolist())


def test_a_commit_that_comes_later_writes_its_files_once(storage: Storage) -> None:
    """Who finds in his turn that the branch moved rebases before he writes: no file is written in vain."""
    repo = repository(storage)
    late = changed(repo, 0)
    changed(repo, 1).commit("first")
    puts: list[str] = []
    late._state.context.storage.put_hook = noted(late._state.context.storage.put_hook, puts)
    late.commit("second", rebase_with=ic.ConflictDetector())
    assert sorted(key.partition("/")[0] for key in puts) == [
        "manifests", "overwritten", "repo", "snapshots", "transactions",
    ]  # fmt: skip
    assert values(repo)[:2] == [1, 1]


def noted(put: Callable[..., Any], keys: list[str]) -> Callable[..., Any]:
    async def noting(key: str, *arguments: Any) -> Any:
        keys.append(key)
        return await put(key, *arguments)

    return noting


def test_a_turn_that_does_not_come_is_not_needed(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody keeps the turn for ever: a commit waits for its time, and goes through without."""
    monkeypatch.setattr(turns, "_LONGEST_WAIT_SECONDS", 0.02)
    repo = repository(storage)
    end = run_direct(storage.take_turn(layout.REPO_KEY, 1))
    assert end is not None
    late = changed(repo, 0)
    changed(repo, 1).commit("first")
    late.commit("second", rebase_with=ic.ConflictDetector())
    end()
    assert values(repo)[:2] == [1, 1]


def test_a_turn_that_cannot_be_had_is_not_needed(storage: Storage) -> None:
    """A storage that fails to give a turn costs nothing but the turn."""

    async def failing(*arguments: Any) -> None:
        raise Unavailable("no locks today")

    repo = repository(storage.with_hooks(take_turn=failing))
    changed(repo, 3, 7).commit("without")
    assert values(repo)[3] == 7


@pytest.mark.parametrize("solver", [None, ic.ConflictDetector()], ids=["no rebase", "conflict"])
def test_a_refused_commit_ends_its_turn(storage: Storage, solver: ic.ConflictSolver | None) -> None:
    """A commit that fails does not keep the others waiting."""
    repo = repository(storage)
    late = changed(repo, 0, 5)
    changed(repo, 0, 6).commit("first")
    with pytest.raises((ConflictError, ic.RebaseFailedError)):
        late.commit("second", rebase_with=solver)
    end = run_direct(storage.take_turn(layout.REPO_KEY, 0.01))
    assert end is not None
    end()


@pytest.mark.parametrize("limit", [None, 1])
async def test_tasks_of_one_loop_take_turns(tmp_path: Path, limit: int | None) -> None:
    """Many tasks of an event loop commit at once, on a storage that works in threads and allows
    one call at a time: those who wait do not keep the one whose turn it is from working."""
    storage = ic.storage_from_url(f"{(tmp_path / 'repo').as_uri()}?threaded=yes")
    if limit is not None:
        storage = with_concurrency_limit(storage, limit)
    repo = await ic.Repository.create_async(storage)
    session = await repo.writable_session_async("main")
    await asyncio.to_thread(
        zarr.create_array, session.store, name="data", shape=(40,), chunks=(1,), dtype="i4", fill_value=0
    )
    await session.commit_async("array")

    async def commit(place: int) -> None:
        session = await repo.writable_session_async("main")
        array = await asyncio.to_thread(zarr.open_array, session.store, path="data", mode="r+")
        await asyncio.to_thread(array.__setitem__, place, 1)
        await session.commit_async(f"chunk {place}", rebase_with=ic.ConflictDetector())

    await asyncio.gather(*(commit(place) for place in range(12)))
    assert sum(await asyncio.to_thread(values, repo)) == 12
    assert len([info async for info in repo.async_ancestry(branch="main")]) == 14
