"""Many processes commit to one place on an object store: nothing that was acknowledged is ever missing."""

from __future__ import annotations

import pytest

from icechunk_conformance.proxy import FaultProxy
from tests.concurrency import committers, under_faults
from tests.servers.catalogue import Server

pytestmark = pytest.mark.slow
WRITERS = 8


@pytest.fixture(params=["ministack", "fake_gcs", "azurite"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each server whose commits are safe, and that lets 8 writers race in reasonable time."""
    running: Server = request.getfixturevalue(request.param)
    return running


def test_eight_processes_lose_no_commit(server: Server) -> None:
    """8 processes with 10 commits each, rebasing: 80 acknowledged, 80 in the history, 80 values."""
    commits = 10
    url = server.url(server.new_bucket(), "repo")
    committers.prepare(url, WRITERS, commits)
    processes = [committers.start(url, writer, commits) for writer in range(WRITERS)]
    acknowledged = []
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert (process.returncode, errors) == (0, "")
        acknowledged += committers.acknowledgements(output)
    assert committers.check(url, acknowledged) == WRITERS * commits


def test_what_processes_are_told_is_true_when_requests_and_answers_are_lost(server: Server) -> None:
    """A tenth of all requests of 8 processes goes wrong, before or after the server has acted: every commit
    reported as success is there, every conflict is real, and nothing is committed twice."""
    bucket, commits = server.new_bucket(), 5
    committers.prepare(server.url(bucket, "repo"), WRITERS, commits)
    proxy = FaultProxy(server.endpoint).start()
    try:
        done = under_faults.struck_at_random(proxy, seed=1, share=0.1)
        told = under_faults.race(server.url(bucket, "repo", proxy.url), WRITERS, commits)
    finally:
        proxy.stop()
    outcomes = under_faults.judge(server.url(bucket, "repo"), told)
    assert outcomes.total() == WRITERS * commits
    assert outcomes["success"] >= 35
    assert sum(done.values()) - done["passed on"] > 50
