"""Many processes commit to one bucket of Google Cloud Storage: nothing acknowledged is ever missing."""

from __future__ import annotations

import pytest

from tests.concurrency import committers
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
