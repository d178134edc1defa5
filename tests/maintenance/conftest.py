"""The peer, and both spec versions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.implementations import load_peer


@pytest.fixture
def peer() -> Any:
    """Icechunk."""
    return load_peer()


@pytest.fixture(params=[2, 1], ids=["spec2", "spec1"])
def spec_version(request: pytest.FixtureRequest) -> int:
    """Both versions of the format."""
    return int(request.param)
