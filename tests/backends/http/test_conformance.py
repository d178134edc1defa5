"""The conformance suite on HTTP storage, whose objects a directory writes (its writable twin)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from icechunk_conformance.report import Report, Status
from icechunk_conformance.runner import run_suite
from icechunk_conformance.target import Location
from tests.backends.http.server import plain_server, web_server

READING = ("A", "B", "C", "D", "I", "J")


async def checked(url: str, root: Path) -> Report:
    """The checks of reading and of what every client has to do."""
    location = Location.from_url(url, twin=f"file://{root}?verbatim=true&durable=false")
    return await asyncio.to_thread(run_suite, location, only=READING)


def failed(report: Report) -> list[str]:
    """Ids of the checks that failed."""
    return [result.check.id for result in report.results if result.status is Status.FAILED]


@pytest.mark.slow
async def test_a_server_with_ranges_and_etags(tmp_path: Path) -> None:
    """Nothing that a reader relies on is missing."""
    with web_server(tmp_path) as web:
        report = await checked(web.url, tmp_path)
    assert failed(report) == []
    assert sum(result.status is Status.PASSED for result in report.results) > 30


@pytest.mark.slow
async def test_pythons_own_server(tmp_path: Path) -> None:
    """All but a read of a certain version: times of whole seconds cannot tell two writes apart."""
    with plain_server(tmp_path) as url:
        report = await checked(url, tmp_path)
    assert failed(report) == ["B10"]
