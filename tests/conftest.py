"""What all tests share."""

from __future__ import annotations

import sys

import pytest
from hypothesis import settings

pytest_plugins = ["tests.servers.fixtures"]

# Durations are measured by benchmarks, never asserted by tests: machines differ.
settings.register_profile("icechunk-core", deadline=None)
settings.load_profile("icechunk-core")


def _reason(report: pytest.TestReport) -> str:
    """Why a test was skipped, without the path of the file that says so."""
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """On Python 3.11, where icechunk 2 cannot be installed, say which tests that left out."""
    if sys.version_info >= (3, 12):
        return
    skipped = terminalreporter.stats.get("skipped", [])
    left_out = sorted({report.nodeid.split("::")[0] for report in skipped if "icechunk" in _reason(report)})
    if left_out:
        terminalreporter.section("left out: tests against icechunk 2.3, which needs Python 3.12")
        for path in left_out:
            terminalreporter.line(path)
