"""Processes that the tests of the suite share: starting an interpreter takes longer than most checks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from icechunk_conformance.workers import WorkerPool


@pytest.fixture(scope="session")
def workers() -> Iterator[WorkerPool]:
    """Started on first use, stopped at the end."""
    pool = WorkerPool(3, timeout=60.0)
    yield pool
    pool.stop()
