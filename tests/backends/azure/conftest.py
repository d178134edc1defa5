"""A container on Azurite, and a server that answers as a script says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from icechunk_core.contract import Storage
from tests.backends.azure.scripted import ScriptedService
from tests.servers.azure import AzureServer

Open = Callable[..., Storage]


@pytest.fixture(autouse=True)
def no_azure_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine's environment has does not matter."""
    for name in ("ACCOUNT_NAME", "ACCOUNT", "ACCOUNT_KEY", "ACCESS_KEY", "SAS_TOKEN", "CONNECTION_STRING"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)


@pytest.fixture(scope="session")
def container(azurite: AzureServer) -> str:
    """One container for all tests; each opens a prefix of its own."""
    return azurite.new_bucket()


@pytest.fixture(params=[True, False], ids=["lean", "sdk"])
def lean(request: pytest.FixtureRequest) -> bool:
    """Both ways to the service."""
    return bool(request.param)


@pytest.fixture
def open_azurite(azurite: AzureServer, container: str, request: pytest.FixtureRequest) -> Open:
    """Opens this test's prefix of the container, with options."""

    def open(**options: Any) -> Storage:
        prefix = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
        return azurite.storage(container, prefix, **options)

    return open


@pytest.fixture
async def service() -> AsyncIterator[ScriptedService]:
    """A service that answers as told."""
    async with ScriptedService() as service:
        yield service
