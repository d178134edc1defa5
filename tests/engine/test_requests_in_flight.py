"""What a commit sends side by side on storages that wait, in which order, and how often it looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import zarr
from attrs import define, evolve, field

import icechunk_core as ic
from icechunk_core.contract import IfVersion, Storage
from icechunk_core.contract.wrappers import around_each

TURNS = 40  # of the event loop, for which each request is on its way


@define
class Traffic:
    """The requests of a storage: what was sent and answered, in order, and what was on its way together."""

    events: list[tuple[str, str]] = field(factory=list)
    together: list[frozenset[str]] = field(factory=list)
    on_their_way: list[str] = field(factory=list)

    async def around(
        self, operation: str, arguments: tuple[Any, ...], perform: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Let a request take a while, and write it down."""
        key = arguments[0] if isinstance(arguments[0], str) else ",".join(arguments[0])
        name = f"{operation} {key}"
        if operation == "put" and isinstance(arguments[2], IfVersion):
            name = f"swap {key}"
        self.on_their_way.append(name)
        self.together.append(frozenset(self.on_their_way))
        for _ in range(TURNS):
            await asyncio.sleep(0)
        try:
            return await perform()
        finally:
            self.on_their_way.remove(name)
            self.events.append((name.partition(" ")[0], key))

    def most(self, start: str) -> int:
        """How many requests that start like this were on their way at once."""
        return max((sum(name.startswith(start) for name in some) for some in self.together), default=0)

    def count(self, operation: str, key: str) -> int:
        """How many such requests there were."""
        return self.events.count((operation, key))


def waiting(storage: Storage) -> tuple[Storage, Traffic]:
    """The storage behind one that suspends."""
    traffic = Traffic()

    async def around_list(arguments: tuple[Any, ...], inner: Any) -> Any:
        async for info in inner(*arguments):
            yield info

    capabilities = evolve(storage.capabilities, may_suspend=True)
    return (
        around_each(storage, traffic.around, around_list=around_list, capabilities=capabilities),
        traffic,
    )


async def repository(
    spec_version: int, config: ic.RepositoryConfig | None = None
) -> tuple[ic.Repository, Traffic]:
    """A new repository on such a storage."""
    storage, traffic = waiting(ic.in_memory_storage())
    return await ic.Repository.create_async(storage, config, spec_version=spec_version), traffic


async def changed(repo: ic.Repository, names: str, value: int) -> ic.Session:
    """A session that has written arrays of these names."""
    session = await repo.writable_session_async("main")

    def write() -> None:
        for name in names:
            array = zarr.create_array(
                session.store, name=name, shape=(64,), chunks=(1,), dtype="i4", overwrite=True
            )
            array[:] = np.arange(64) + value

    await asyncio.to_thread(write)
    return session


SPLIT = ic.RepositoryConfig(
    manifest=ic.ManifestConfig(
        splitting=ic.ManifestSplittingConfig.from_dict(
            {ic.ManifestSplitCondition.AnyArray(): {ic.ManifestSplitDimCondition.Any(): 8}}
        )
    )
)


@pytest.mark.parametrize("spec_version", [2, 1])
async def test_manifests_are_written_side_by_side(spec_version: int) -> None:
    """Those of one array, of which there are eight, and those of several arrays."""
    repo, traffic = await repository(spec_version, SPLIT)
    session = await changed(repo, "a", 1)
    traffic.together.clear()
    await session.commit_async("one array")
    assert traffic.most("put manifests/") == 8
    session = await changed(repo, "bcd", 1)
    traffic.together.clear()
    await session.commit_async("three arrays")
    assert traffic.most("put manifests/") == 24


async def test_snapshot_log_and_backup_are_written_side_by_side() -> None:
    """The swap comes after all of them, alone."""
    repo, traffic = await repository(2)
    session = await changed(repo, "a", 1)
    traffic.events.clear()
    traffic.together.clear()
    await session.commit_async("a")
    snapshot = next(some for some in traffic.together if any(name.startswith("put snap") for name in some))
    assert {name.partition("/")[0] for name in snapshot} <= {
        "get_range repo",
        "put snapshots",
        "put transactions",
    }
    files = [some for some in traffic.together if any(name.startswith("put over") for name in some)]
    assert any(name.startswith(("put snapshots", "head snapshots")) for some in files for name in some)
    assert frozenset({"swap repo"}) in traffic.together
    assert traffic.events[-1] == ("swap", "repo")
    before = {key.partition("/")[0] for operation, key in traffic.events[:-1] if operation == "put"}
    assert before == {"manifests", "overwritten", "snapshots", "transactions"}


async def test_how_often_the_repo_object_is_read() -> None:
    """Once to open a session; for a commit once beside the chunks, for the status, and once for the swap."""
    repo, traffic = await repository(2)
    traffic.events.clear()
    session = await repo.writable_session_async("main")
    assert traffic.count("get_range", "repo") == 1
    await asyncio.to_thread(lambda: zarr.create_group(session.store))
    traffic.events.clear()
    await session.commit_async("a group")
    assert traffic.count("get_range", "repo") == 2


@pytest.mark.parametrize("spec_version", [2, 1])
async def test_after_a_lost_race_manifests_are_not_written_again(spec_version: int) -> None:
    """The rebased commit has a snapshot of its own and the manifests of the first try."""
    repo, traffic = await repository(spec_version)
    await (await changed(repo, "a", 0)).commit_async("a")
    session = await repo.writable_session_async("main")

    def write() -> None:
        zarr.open_array(session.store, path="a", mode="r+")[:] = np.arange(64) + 1

    await asyncio.to_thread(write)
    for name in "bcdefghijk":
        await (await changed(repo, name, 2)).commit_async(name)
    traffic.events.clear()
    traffic.together.clear()
    await session.commit_async("a again", rebase_with=ic.ConflictDetector())
    written = [key.partition("/")[0] for operation, key in traffic.events if operation == "put"]
    assert written.count("manifests") == 1
    assert traffic.most("get_range transactions/") == 8
    assert sum(operation == "get_range" and key == "repo" for operation, key in traffic.events) <= 4
    store = (await repo.readonly_session_async("main")).store

    def read() -> list[int]:
        return [int(np.asarray(zarr.open_array(store, path=name, mode="r")[3])) for name in "abk"]

    assert await asyncio.to_thread(read) == [4, 5, 5]


async def test_a_repository_that_was_set_read_only_meanwhile() -> None:
    """A session from before cannot commit, and writes neither snapshot nor log."""
    repo, traffic = await repository(2)
    session = await repo.writable_session_async("main")
    await asyncio.to_thread(lambda: zarr.create_group(session.store))
    await repo.set_status_async(
        ic.RepoStatus(ic.RepoAvailability.read_only, limited_availability_reason="no more")
    )
    traffic.events.clear()
    with pytest.raises(ic.ReadOnlyError, match="no more"):
        await session.commit_async("too late")
    assert not [
        key for operation, key in traffic.events if operation == "put" and key.startswith(("snap", "trans"))
    ]
