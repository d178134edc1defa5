"""What the tests of Google Cloud Storage share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from icechunk_core.contract import Storage
from icechunk_core.storage import storage_from_url
from tests.backends.gcs.scripted import ScriptedServer, scripted_server

_VARIABLES = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"),
)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither proxies nor credentials of the machine that runs the tests."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that answers as the test tells it to."""
    with scripted_server() as running:
        yield running


@pytest.fixture(params=[True, False], ids=["lean", "session"])
def lean(request: pytest.FixtureRequest) -> bool:
    """Both ways of sending requests."""
    return bool(request.param)


@pytest.fixture
async def open_gcs(server: ScriptedServer, lean: bool) -> AsyncIterator[Callable[..., Storage]]:
    """Opens storages on the scripted server, closed after the test."""
    async with AsyncExitStack() as stack:

        def open_one(**options: Any) -> Storage:
            given = {"endpoint_url": server.endpoint, "lean": lean, "max_attempts": 3, **options}
            storage = storage_from_url("gs://bucket", **given)
            stack.push_async_callback(storage.close)
            return storage

        yield open_one
