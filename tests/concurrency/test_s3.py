"""Many processes commit to one bucket: nothing that was acknowledged is ever missing."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.concurrency import committers
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
