"""Fixtures of the filesystem tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from icechunk_core.contract import Storage
from tests.backends.filesystem.support import open_at


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root that does not exist yet."""
    return tmp_path / "repository"


@pytest.fixture
def storage(root: Path) -> Storage:
    """A storage in direct mode."""
    return open_at(root, threaded=False)


@pytest.fixture(params=[False, True], ids=["direct", "threaded"])
def either(request: pytest.FixtureRequest, root: Path) -> Storage:
    """A storage in each mode."""
    return open_at(root, threaded=request.param)
