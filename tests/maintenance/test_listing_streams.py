"""Garbage collection that lists several parts of a kind of object at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import zarr

import icechunk_core as ic
from icechunk_core.contract import Storage
from icechunk_core.errors import InvalidInputError
from icechunk_core.storage import with_latency, with_metrics


class Gauge:
    """How many calls of some kinds are inside at once, and the most there were."""

    def __init__(self) -> None:
        self.now: dict[str, int] = {"list": 0, "delete": 0}
        self.most = dict(self.now)

    async def enter(self, kind: str) -> None:
        self.now[kind] += 1
        self.most[kind] = max(self.most[kind], self.now[kind])
        for _ in range(5):
            await asyncio.sleep(0)

    def leave(self, kind: str) -> None:
        self.now[kind] -= 1

    def around(self, storage: Storage) -> Storage:
        """The storage with its listings and deletions counted."""
        inner_list, inner_delete = storage.hook("list"), storage.hook("delete")

        async def list_(*arguments: Any) -> AsyncIterator[Any]:
            await self.enter("list")
            try:
                async for info in inner_list(*arguments):
                    yield info
            finally:
                self.leave("list")

        async def delete(*arguments: Any) -> Any:
            await self.enter("delete")
            try:
                return await inner_delete(*arguments)
            finally:
                self.leave("delete")

        return storage.with_hooks(list=list_, delete=delete)


def wasteful() -> Storage:
    """A repository most of whose objects nothing leads to any more."""
    storage = ic.in_memory_storage()
    repo = ic.Repository.create(storage, ic.RepositoryConfig(inline_chunk_threshold_bytes=0), packs=False)
    first = next(iter(repo.ancestry(branch="main"))).id
    for number in range(12):
        session = repo.writable_session("main")
        array = zarr.create_array(session.store, name=f"a{number}", shape=(6,), chunks=(1,), dtype="i4")
        array[:] = number + 1
        session.commit(f"commit {number}")
    repo.reset_branch("main", first)
    return storage


@pytest.mark.parametrize(("listings", "deletes", "most"), [(None, 10, 1), (1, 10, 1), (6, 10, 6), (50, 3, 3)])
def test_as_many_as_asked_for(listings: int | None, deletes: int, most: int) -> None:
    """So many listings run side by side, never more deletions than allowed, and the same is deleted."""
    gauge = Gauge()
    storage = gauge.around(with_latency(wasteful(), 0.0))
    summary = ic.Repository.open(storage).garbage_collect(
        datetime.now(UTC) + timedelta(minutes=1),
        max_concurrent_listings=listings,
        max_concurrent_deletes=deletes,
    )
    assert (summary.snapshots_deleted, summary.manifests_deleted, summary.chunks_deleted) == (12, 12, 72)
    assert gauge.most["list"] == most
    assert 1 <= gauge.most["delete"] <= deletes


def test_parts_cover_everything() -> None:
    """A listing in parts asks for each first digit of an id, and finds what one listing finds."""
    counted, metrics = with_metrics(wasteful())
    repo = ic.Repository.open(counted)
    limit = datetime.now(UTC) + timedelta(minutes=1)
    whole = repo.garbage_collect(limit, dry_run=True)
    one_stream = metrics.calls["list"]
    parts = repo.garbage_collect(limit, dry_run=True, max_concurrent_listings=4)
    assert parts == whole
    assert metrics.calls["list"] == one_stream + 32 * one_stream


def test_a_number_of_listings_is_positive() -> None:
    """Zero is refused."""
    with pytest.raises(InvalidInputError):
        ic.Repository.create("memory:").garbage_collect(datetime.now(UTC), max_concurrent_listings=0)
