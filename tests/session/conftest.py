"""Repositories of both specs in a directory, with a small hierarchy."""

from __future__ import annotations

from pathlib import Path

import pytest

import icechunk_core as ic
from tests.session.support import create, populate


@pytest.fixture(params=[2, 1], ids=["spec2", "spec1"])
def spec_version(request: pytest.FixtureRequest) -> int:
    """Both versions of the format."""
    return int(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the repository is."""
    return tmp_path / "repo"


@pytest.fixture
def repo(root: Path, spec_version: int) -> ic.Repository:
    """``/g`` with the array ``a`` and the group ``h``, and the array ``/b``; in both specs."""
    made: ic.Repository = populate(create(ic, root, spec_version))
    return made


@pytest.fixture
def repo2(root: Path) -> ic.Repository:
    """The same in spec 2 only."""
    made: ic.Repository = populate(create(ic, root, 2))
    return made
