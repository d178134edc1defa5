"""The pytest class, as somebody else's test suite uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SUITE = """
import asyncio
import pytest
from icechunk_conformance import Location
from icechunk_conformance.broken import gallery
from icechunk_conformance.pytest import StorageConformance


class TestGood(StorageConformance):
    url = "memory:"


class TestBroken(StorageConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def location(cls):
        (entry,) = [entry for entry in gallery() if entry.name == "inclusive-end"]
        location = Location(entry.backend.opener())
        yield location
        asyncio.run(location.cleanup())
"""


def test_a_test_per_check(tmp_path: Path) -> None:
    """A subclass has one test per check; a broken storage fails the right ones, with the promise."""
    (tmp_path / "test_suite.py").write_text(SUITE, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "B0 or A0", "test_suite.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "FAILED test_suite.py::TestBroken::test_conformance[B01]" in run.stdout
    assert "FAILED test_suite.py::TestGood" not in run.stdout
    assert "Range(start, end)" in run.stdout
