"""The first-party backends and the reference storages keep every promise of the suite."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from icechunk_conformance import Level, Location, run_suite
from icechunk_conformance.pytest import StorageConformance
from icechunk_conformance.reference import ReferenceStorage
from icechunk_conformance.reference_http import HttpReference
from icechunk_conformance.reference_shared import SharedStorage
from icechunk_conformance.workers import WorkerPool
from tests.conformance.support import SuspendingReference


class TestMemory(StorageConformance):
    """Memory storage."""

    url = "memory:"


class TestFilesystem(StorageConformance):
    """Filesystem storage, in its direct mode."""

    options = ""

    @pytest.fixture(scope="class")
    @classmethod
    def location(cls, tmp_path_factory: pytest.TempPathFactory, workers: WorkerPool) -> Iterator[Location]:
        """A directory of its own."""
        folder = tmp_path_factory.mktemp("objects")
        location = Location.from_url(f"{folder.as_uri()}{cls.options}", budget=cls.budget, workers=workers)
        yield location
        asyncio.run(location.cleanup())


class TestThreadedFilesystem(TestFilesystem):
    """Filesystem storage whose operations run in threads."""

    options = "?threaded=true"


class TestReadOnlyMemory(StorageConformance):
    """Memory storage that was opened read-only."""

    url = "memory:?read_only=true"


@pytest.mark.parametrize("backend", [ReferenceStorage, SuspendingReference, SharedStorage, HttpReference])
def test_the_reference_storages_pass(
    backend: type[ReferenceStorage] | type[HttpReference], workers: WorkerPool
) -> None:
    """The storages that the gallery is derived from have no mistake of their own."""
    report = run_suite(Location(backend.opener("a-secret-to-keep"), workers=workers))
    assert [(result.check.id, result.message) for result in report.failures] == []
    assert report.level is Level.COMMIT_SAFE
