"""Many processes commit to one bucket of Google Cloud Storage: nothing acknowledged is ever missing."""

from __future__ import annotations

import pytest

from icechunk_conformance.proxy import FaultProxy
from tests.concurrency import committers, under_faults
from tests.servers.gcs import GcsServer

WRITERS = 8


@pytest.mark.slow
def test_eight_processes_lose_no_commit(fake_gcs: GcsServer) -> None:
    """8 processes with 10 commits each, rebasing: 80 acknowledged, 80 in the history, 80 values."""
    url = f"gs://{fake_gcs.new_bucket()}/repo?endpoint_url={fake_gcs.endpoint}&anonymous=true"
    committers.prepare(url, WRITERS, 10)
    processes = [committers.start(url, writer, 10) for writer in range(WRITERS)]
    acknowledged = []
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        acknowledged += committers.acknowledgements(output)
    assert committers.check(url, acknowledged) == 80


@pytest.mark.slow
def test_what_processes_are_told_is_true_when_requests_and_answers_are_lost(fake_gcs: GcsServer) -> None:
    """A tenth of all requests of 8 processes goes wrong, before or after the server has acted: every commit
    reported as success is there, every conflict is real, and nothing is committed twice."""
    place = f"gs://{fake_gcs.new_bucket()}/repo?anonymous=true&endpoint_url="
    committers.prepare(place + fake_gcs.endpoint, WRITERS, 5)
    proxy = FaultProxy(fake_gcs.endpoint).start()
    try:
        done = under_faults.struck_at_random(proxy, seed=1, share=0.1)
        told = under_faults.race(place + proxy.url, WRITERS, 5)
    finally:
        proxy.stop()
    outcomes = under_faults.judge(place + fake_gcs.endpoint, told)
    assert outcomes.total() == 40
    assert outcomes["success"] >= 35
    assert sum(done.values()) - done["passed on"] > 50
