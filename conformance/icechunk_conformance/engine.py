"""Small repositories on the storage under test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from icechunk_core.contract import Storage
from icechunk_core.repository import Repository
from icechunk_core.session import Session

__all__ = ["changed", "commit", "create", "history", "open"]

_GROUP = b'{"zarr_format":3,"node_type":"group","attributes":{}}'


async def create(client: Storage, *, spec_version: int = 2) -> Repository:
    """A new repository with nothing but its first snapshot."""
    make = cast("Callable[..., Awaitable[Repository]]", Repository.create_async)
    return await make(client, spec_version=spec_version)


async def open(client: Storage) -> Repository:
    """The repository that is there."""
    make = cast("Callable[..., Awaitable[Repository]]", Repository.open_async)
    return await make(client)


async def changed(repo: Repository, name: str) -> Session:
    """A session of ``main`` with a new group."""
    from zarr.core.buffer import default_buffer_prototype

    session = await repo.writable_session_async("main")
    text = default_buffer_prototype().buffer.from_bytes(_GROUP)
    await session.store.set(f"{name}/zarr.json", text)
    return session


async def commit(repo: Repository, name: str, **options: Any) -> str:
    """Commit a new group to ``main``; the snapshot's id."""
    session = await changed(repo, name)
    return await session.commit_async(name, **options)


async def history(client: Storage) -> list[str]:
    """Ids of the snapshots of ``main``, newest first, read anew."""
    repo = await open(client)
    return [info.id async for info in repo.async_ancestry(branch="main")]
