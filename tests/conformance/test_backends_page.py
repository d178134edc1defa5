"""The generated table of backends and servers, and the reports that it is made from."""

from __future__ import annotations

import json

import pytest

from icechunk_conformance import all_checks
from icechunk_conformance.backends_page import backends_page, read_servers
from tests.conformance.on_servers import FOLDER, NAMES, PAGE

COMMIT_SAFE = ("memory", "filesystem", "ministack", "seaweedfs", "fake_gcs", "azurite")
BROKEN = ("moto", "localbucket", "s3rver", "gcp_emulator")


def test_the_page_is_current() -> None:
    """``docs/reference/backends.md`` is what the reports say; the page itself says how to renew it."""
    assert PAGE.read_text(encoding="utf-8") == backends_page(FOLDER)


def test_every_server_has_a_report() -> None:
    """No server is left out, and no report is without a server."""
    assert [server.name for server in read_servers(FOLDER)] == list(NAMES)
    assert {path.stem for path in FOLDER.glob("*.json")} == {*NAMES, "servers"}


@pytest.mark.parametrize("name", NAMES)
def test_reports_are_of_this_suite(name: str) -> None:
    """A report has a result for every check; where one is missing, run the suite on the server again."""
    report = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert [each["id"] for each in report["checks"]] == [check.id for check in all_checks()]


def test_levels() -> None:
    """Servers that keep their promises are Commit-safe at least, those that are known not to are below."""
    levels = {server.name: server.report["level"] for server in read_servers(FOLDER)}
    assert {levels[name] for name in COMMIT_SAFE} <= {"Commit-safe", "Production"}
    assert {levels[name] for name in BROKEN} <= {"None", "Read", "Single-writer"}
    assert levels["static"] == "Read"
