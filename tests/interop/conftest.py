"""Pairs of implementations."""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.implementations import OURS, load_peer
from tests.layouts import layout

__all__ = ["layout", "pair", "peer", "spec_version"]


@pytest.fixture
def peer() -> Any:
    """Icechunk."""
    return load_peer()


@pytest.fixture(params=["ours first", "peer first"])
def pair(request: pytest.FixtureRequest, peer: Any) -> tuple[Any, Any]:
    """Both implementations, in both orders."""
    return (OURS, peer) if request.param == "ours first" else (peer, OURS)


@pytest.fixture(params=[2, 1], ids=["spec2", "spec1"])
def spec_version(request: pytest.FixtureRequest) -> int:
    """Both versions of the format."""
    return int(request.param)
