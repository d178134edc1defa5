"""Install the test distributions of this directory: on ``sys.path``, as pip would leave them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DISTRIBUTIONS = Path(__file__).parent / "distributions"


def modules_of(case: str) -> set[str]:
    """Top-level modules of a test distribution."""
    return {path.stem for path in (DISTRIBUTIONS / case).iterdir() if path.is_dir() or path.suffix == ".py"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Make test distributions visible for one test; what was imported of them is forgotten afterwards."""

    def install(*names: str) -> None:
        for name in names:
            monkeypatch.syspath_prepend(DISTRIBUTIONS / name)

    yield install
    theirs = set().union(*(modules_of(case.name) for case in DISTRIBUTIONS.iterdir()))
    for module in list(sys.modules):
        if module.partition(".")[0] in theirs:
            del sys.modules[module]


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loaded, failed, registered or disabled by other tests."""
    from icechunk_core.plugins import DISABLE_VARIABLE, registry, wrapping

    monkeypatch.delenv(DISABLE_VARIABLE, raising=False)
    for name in ("_registered", "_registered_wrappers", "_loaded", "_loaded_wrappers", "_failed"):
        monkeypatch.setattr(registry, name, {})
    monkeypatch.setattr(wrapping, "_wrappers", {})
