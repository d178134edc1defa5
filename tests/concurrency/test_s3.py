"""Many processes commit to one bucket: nothing that was acknowledged is ever missing."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from icechunk_conformance.proxy import FaultProxy
from tests.concurrency import committers, under_faults
from tests.servers.s3 import S3Server

WRITERS, COMMITS = 8, 10


@pytest.mark.slow
def test_eight_processes_lose_no_commit(ministack: S3Server) -> None:
    """8 processes with 10 commits each, rebasing: 80 acknowledged, 80 in the history, 80 values."""
    url = f"s3://{ministack.new_bucket()}/repo?{urlencode(ministack.options())}"
    committers.prepare(url, WRITERS, COMMITS)
    processes = [committers.start(url, writer, COMMITS) for writer in range(WRITERS)]
    acknowledged = []
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        acknowledged += committers.acknowledgements(output)
    assert committers.check(url, acknowledged) == WRITERS * COMMITS


@pytest.mark.slow
def test_what_processes_are_told_is_true_when_requests_and_answers_are_lost(
    ministack: S3Server,
) -> None:
    """A tenth of all requests of 8 processes goes wrong, before or after the server has acted: every commit
    reported as success is there, every conflict is real, and nothing is committed twice."""
    bucket, commits = ministack.new_bucket(), 5

    def url(endpoint: str) -> str:
        options = {**ministack.options(), "endpoint_url": endpoint}
        return f"s3://{bucket}/repo?{urlencode(options)}"

    committers.prepare(url(ministack.endpoint), WRITERS, commits)
    proxy = FaultProxy(ministack.endpoint).start()
    try:
        done = under_faults.struck_at_random(proxy, seed=1, share=0.1)
        told = under_faults.race(url(proxy.url), WRITERS, commits)
    finally:
        proxy.stop()
    outcomes = under_faults.judge(url(ministack.endpoint), told)
    assert outcomes.total() == WRITERS * commits
    assert outcomes["success"] >= 35
    assert sum(done.values()) - done["passed on"] > 50
