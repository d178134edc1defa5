"""Comparisons are exact: neither side packs chunks or splits manifests unless a test asks for it."""

from __future__ import annotations

import pytest

from icechunk_core.assets.pack_config import PLAIN_LAYOUT_VARIABLE


@pytest.fixture(autouse=True)
def plain_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects are laid out as Icechunk lays them out."""
    monkeypatch.setenv(PLAIN_LAYOUT_VARIABLE, "1")
