"""Two implementations of one API: icechunk-core and Icechunk, the peer.

Both have the same public names, so a test program takes the module as its argument and
runs with either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from zarr.core.buffer import cpu, default_buffer_prototype

import icechunk_core

OURS = icechunk_core


def load_peer() -> Any:
    """Icechunk 2.3, its log switched off; skips the test where it cannot be installed."""
    peer = pytest.importorskip("icechunk", minversion="2.3", reason="needs icechunk 2.3")
    peer.set_logs_filter("off")
    return peer


def create(ic: Any, root: Path, *, spec_version: int = 2, **options: Any) -> Any:
    """A new repository in a directory."""
    return ic.Repository.create(
        ic.local_filesystem_storage(str(root)),
        spec_version=getattr(ic.SpecVersion, f"v{spec_version}"),
        **options,
    )


def open_repo(ic: Any, root: Path, **options: Any) -> Any:
    """The repository in a directory, opened anew."""
    return ic.Repository.open(ic.local_filesystem_storage(str(root)), **options)


def contents(store: Any) -> dict[str, bytes]:
    """Every key of a store with its bytes."""

    async def read() -> dict[str, bytes]:
        prototype = default_buffer_prototype()
        found = {}
        async for key in store.list():
            value = await store.get(key, prototype)
            assert value is not None, f"{key} is listed and not there"
            found[key] = value.to_bytes()
        return found

    return asyncio.run(read())


def keys_of(store: Any) -> set[str]:
    """Every key of a store."""

    async def collect(keys: AsyncIterator[str]) -> set[str]:
        return {key async for key in keys}

    return asyncio.run(collect(store.list()))


def put(session: Any, items: dict[str, bytes]) -> None:
    """Set keys of a session's store."""

    async def write() -> None:
        for key, value in items.items():
            await session.store.set(key, cpu.Buffer.from_bytes(value))

    asyncio.run(write())


def get(session: Any, key: str) -> bytes | None:
    """The bytes of one key."""
    value = asyncio.run(session.store.get(key, default_buffer_prototype()))
    return None if value is None else value.to_bytes()


def delete(session: Any, keys: Iterable[str]) -> None:
    """Delete keys of a session's store."""

    async def remove() -> None:
        for key in keys:
            await session.store.delete(key)

    asyncio.run(remove())


def history(repo: Any, **where: str) -> list[tuple[str, str | None, str, Any]]:
    """Id, parent, message and metadata of a version and its ancestors."""
    return [(s.id, s.parent_id, s.message, s.metadata) for s in repo.ancestry(**where)]


def everything(repo: Any) -> dict[str, Any]:
    """All that a repository holds: refs, histories, and the contents of every reachable version."""
    branches = {name: repo.lookup_branch(name) for name in repo.list_branches()}
    # On local files the listings of icechunk leave out spec 1 names that are escaped (FORMAT.md, section 2).
    names = {name for name in repo.list_tags() if int(repo.spec_version) > 1 or name.isascii()}
    tags = {name: repo.lookup_tag(name) for name in names}
    histories = {tip: history(repo, snapshot_id=tip) for tip in {*branches.values(), *tags.values()}}
    reachable = {entry[0] for entries in histories.values() for entry in entries}
    return {
        "branches": branches,
        "tags": tags,
        "histories": histories,
        "contents": {
            snapshot: contents(repo.readonly_session(snapshot_id=snapshot).store) for snapshot in reachable
        },
    }
