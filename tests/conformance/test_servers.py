"""The suite on real servers: those that keep their promises pass, those that do not are caught.

Only the groups that tell servers apart run here; ``python -m tests.conformance.on_servers`` runs all of them.
"""

from __future__ import annotations

import pytest

from icechunk_conformance import SMALL, run_suite
from tests.conformance.on_servers import location_on

CAUGHT_BY = {
    "moto": ({"E10"}, "E10"),
    "localbucket": ({"E04"}, "E"),
    "s3rver": ({"E02", "E04"}, "E"),
    "gcp_emulator": ({"E02", "E04"}, "E"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("ministack", "A,B,E,F01,F05,F13,F16,G,H"),
        ("seaweedfs", "A,E,F05,F16,G"),
        ("fake_gcs", "A,B,E,F01,F05,F13,F16,G,H"),
        ("azurite", "A,B,E,F01,F05,F13,F16,G,H"),
        ("static", "A,B,C,H"),
    ],
)
def test_good_servers_pass(name: str, groups: str) -> None:
    """Every check that is called for passes: conditions, races, lost answers, faults of the transport."""
    with location_on(name, SMALL) as location:
        report = run_suite(location, only=groups.split(","))
    assert [(result.check.id, result.message) for result in report.failures] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CAUGHT_BY)
def test_broken_servers_are_caught(name: str) -> None:
    """Servers that ignore conditions, or lose them in uploads of parts, fail the checks that say so."""
    caught_by, groups = CAUGHT_BY[name]
    with location_on(name, SMALL) as location:
        report = run_suite(location, only=groups.split(","))
    assert caught_by <= {result.check.id for result in report.failures}
