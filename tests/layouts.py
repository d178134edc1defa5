"""How chunks and references are laid out in storage: a fixture for tests that run with both ways."""

from __future__ import annotations

import pytest

from icechunk_core.assets.pack_config import PLAIN_LAYOUT_VARIABLE

__all__ = ["layout"]


@pytest.fixture(params=["packs", "plain"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Packs and automatic splitting on, as by default, or both off."""
    if request.param == "plain":
        monkeypatch.setenv(PLAIN_LAYOUT_VARIABLE, "1")
    else:
        monkeypatch.delenv(PLAIN_LAYOUT_VARIABLE, raising=False)
    return str(request.param)
