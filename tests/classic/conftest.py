"""Stores with version control in memory and on the filesystem."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from icechunk_core import IcechunkStore, StorageConfig

Call = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["memory", "filesystem"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> StorageConfig:
    """Where nothing is yet."""
    if request.param == "memory":
        return StorageConfig.memory("test")
    return StorageConfig.filesystem(str(tmp_path / "repository"))


@pytest.fixture
def directory(tmp_path: Path) -> StorageConfig:
    """A directory, which other processes can open, too."""
    return StorageConfig.filesystem(str(tmp_path / "repository"))


@pytest.fixture
def store(storage: StorageConfig) -> IcechunkStore:
    """A store on a new repository."""
    return IcechunkStore.create(storage)


@pytest.fixture(params=["blocking", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Calls a method of a store in one of its two forms: ``await call(store, "commit", "message")``."""

    async def blocking(store: IcechunkStore, name: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(store, name)(*args, **kwargs)

    async def awaited(store: IcechunkStore, name: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(store, f"async_{name}")(*args, **kwargs)
        return [item async for item in result] if hasattr(result, "__aiter__") else await result

    return blocking if request.param == "blocking" else awaited
