"""What the tests of the pipeline share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import zarr
from zarr.core import codec_pipeline

import icechunk_core.codec_pipeline
from tests.interop.implementations import load_peer

BULK = "icechunk_core.codec_pipeline.BulkCodecPipeline"
HAS_FUSED = hasattr(codec_pipeline, "FusedCodecPipeline")


@pytest.fixture
def bulk() -> Iterator[None]:
    """The bulk pipeline is chosen."""
    if not HAS_FUSED:
        pytest.skip("this zarr has no fused codec pipeline")
    with zarr.config.set({"codec_pipeline.path": BULK}):
        yield


@pytest.fixture
def only_bulk(bulk: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bulk pipeline is chosen, and must not leave anything to zarr's."""

    async def refused(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("left to zarr's pipeline")

    base = icechunk_core.codec_pipeline.BulkCodecPipeline.__mro__[1]
    monkeypatch.setattr(base, "read", refused)
    monkeypatch.setattr(base, "write", refused)


@pytest.fixture
def peer() -> Any:
    """Icechunk."""
    return load_peer()
