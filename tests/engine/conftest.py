"""Repositories of both specs on both built-in storages."""

from __future__ import annotations

from pathlib import Path

import pytest

import icechunk_core
from icechunk_core.contract import Storage


@pytest.fixture(params=["memory", "filesystem", "threaded"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A fresh storage: two that never suspend, and one that does its I/O in threads."""
    if request.param == "memory":
        return icechunk_core.in_memory_storage()
    if request.param == "threaded":
        return icechunk_core.storage_from_url(f"file://{tmp_path}/repo?threaded=true")
    return icechunk_core.local_filesystem_storage(str(tmp_path / "repo"))


@pytest.fixture(params=[2, 1], ids=["spec2", "spec1"])
def spec_version(request: pytest.FixtureRequest) -> int:
    """Both versions of the format."""
    return int(request.param)


@pytest.fixture
def repo(storage: Storage, spec_version: int) -> icechunk_core.Repository:
    """A fresh repository."""
    return icechunk_core.Repository.create(storage, spec_version=spec_version)
