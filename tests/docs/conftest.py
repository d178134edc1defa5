"""What examples set for the whole process is undone after each page."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import zarr


@pytest.fixture(autouse=True)
def _own_zarr() -> Iterator[None]:
    """zarr's codec pipeline stays what it was, whatever a page chooses."""
    with zarr.config.set({"codec_pipeline.path": zarr.config.get("codec_pipeline.path")}):
        yield


@pytest.fixture(autouse=True)
def _own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging and the tracer provider stay as they were, whatever a page configures."""
    try:
        from opentelemetry import trace
    except ImportError:
        pass
    else:
        known = trace.get_tracer_provider()
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: known)

        def set_provider(provider: trace.TracerProvider) -> None:
            monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)

        monkeypatch.setattr(trace, "set_tracer_provider", set_provider)
    root, ours = logging.getLogger(), logging.getLogger("icechunk_core")
    before = root.level, list(root.handlers), ours.level
    yield
    root.handlers[:] = before[1]
    root.setLevel(before[0])
    ours.setLevel(before[2])
