"""Many processes commit to one container of Azure Blob Storage: nothing acknowledged is ever missing."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from icechunk_conformance.proxy import FaultProxy
from tests.concurrency import committers, under_faults
from tests.servers.azure import AzureServer

WRITERS = 8


def _url(server: AzureServer, bucket: str, endpoint: str) -> str:
    key = quote(server.account_key, safe="")
    return f"az://{bucket}/repo?account={server.account}&endpoint_url={endpoint}&access_key={key}"


@pytest.mark.slow
def test_eight_processes_lose_no_commit(azurite: AzureServer) -> None:
    """8 processes with 10 commits each, rebasing: 80 acknowledged, 80 in the history, 80 values."""
    url = _url(azurite, azurite.new_bucket(), azurite.endpoint)
    committers.prepare(url, WRITERS, 10)
    processes = [committers.start(url, writer, 10) for writer in range(WRITERS)]
    acknowledged = []
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert errors == ""
        acknowledged += committers.acknowledgements(output)
    assert committers.check(url, acknowledged) == 80


@pytest.mark.slow
def test_what_processes_are_told_is_true_when_requests_and_answers_are_lost(azurite: AzureServer) -> None:
    """A tenth of all requests of 8 processes goes wrong, before or after the server has acted: every commit
    reported as success is there, every conflict is real, and nothing is committed twice."""
    bucket, commits = azurite.new_bucket(), 5
    committers.prepare(_url(azurite, bucket, azurite.endpoint), WRITERS, commits)
    proxy = FaultProxy(azurite.endpoint).start()
    try:
        done = under_faults.struck_at_random(proxy, seed=1, share=0.1)
        told = under_faults.race(_url(azurite, bucket, proxy.url), WRITERS, commits)
    finally:
        proxy.stop()
    outcomes = under_faults.judge(_url(azurite, bucket, azurite.endpoint), told)
    assert outcomes.total() == WRITERS * commits
    assert outcomes["success"] >= 35
    assert sum(done.values()) - done["passed on"] > 50
