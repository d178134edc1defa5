"""Repositories of both specs, in memory and in directories."""

from __future__ import annotations

from pathlib import Path

import pytest

import icechunk_core as ic
from icechunk_core.contract import Storage


@pytest.fixture(params=["memory", "filesystem", "threaded"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A fresh storage: two that never suspend, and one that does its I/O in threads."""
    if request.param == "memory":
        return ic.in_memory_storage()
    if request.param == "threaded":
        return ic.storage_from_url(f"file://{tmp_path}/repo?threaded=true")
    return ic.local_filesystem_storage(str(tmp_path / "repo"))


@pytest.fixture(params=[2, 1], ids=["spec2", "spec1"])
def spec_version(request: pytest.FixtureRequest) -> int:
    """Both versions of the format."""
    return int(request.param)


@pytest.fixture
def repo(storage: Storage, spec_version: int) -> ic.Repository:
    """A fresh repository of either spec."""
    return ic.Repository.create(storage, spec_version=spec_version)


@pytest.fixture
def repo2(storage: Storage) -> ic.Repository:
    """A fresh repository of spec 2."""
    return ic.Repository.create(storage)
