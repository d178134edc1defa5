"""Many processes commit to one container of Azure Blob Storage: nothing acknowledged is ever missing."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.concurrency import committers
from tests.servers.azure import AzureServer

WRITERS = 8


@pytest.mark.slow
def test_eight_processes_lose_no_commit(azurite: AzureServer) -> None:
    """8 processes with 10 commits each, rebasing: 80 acknowledged, 80 in the history, 80 values."""
    url = (
        f"az://{azurite.new_bucket()}/repo?account={azurite.account}&endpoint_url={azurite.endpoint}"
        f"&access_key={quote(azurite.account_key, safe='')}"
    )
    committers.prepare(url, WRITERS, 10)
    processes = [committers.start(url, writer, 10) for writer in range(WRITERS)]
    acknowledged = []
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert errors == ""
        acknowledged += committers.acknowledgements(output)
    assert committers.check(url, acknowledged) == 80
