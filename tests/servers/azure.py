"""Azurite, the emulator of Azure Blob Storage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from attrs import field, frozen

from icechunk_core.contract import Storage
from icechunk_core.storage import storage_from_url
from tests.servers.process import free_port, node_script, running

__all__ = ["AzureServer", "azurite"]

ACCOUNT = "devstoreaccount1"
# The key that the emulator's documentation publishes.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_numbers = count(1)


@frozen
class AzureServer:
    """A running server.

    Attributes
    ----------
    endpoint
        ``http://127.0.0.1:port/devstoreaccount1``.
    """

    name: str
    endpoint: str
    account: str = ACCOUNT
    account_key: str = field(default=ACCOUNT_KEY, repr=False)

    def new_bucket(self) -> str:
        """Make an empty container and return its name."""
        from azure.storage.blob import BlobServiceClient

        name = f"container-{next(_numbers)}-{time.time_ns():x}"
        with BlobServiceClient(self.endpoint, credential=self.account_key) as service:
            service.create_container(name)
        return name

    def url(self, bucket: str, prefix: str, endpoint: str | None = None) -> str:
        """A URL with all that opening it needs, for other processes; by another address if one is given."""
        options = {
            "account": self.account,
            "endpoint_url": endpoint or self.endpoint,
            "access_key": self.account_key,
        }
        return f"az://{bucket}/{prefix}?{urlencode(options)}"

    def storage(self, bucket: str, prefix: str = "", **options: Any) -> Storage:
        """Open a container with this project."""
        defaults: dict[str, Any] = {
            "account": self.account,
            "endpoint_url": self.endpoint,
            "allow_http": True,
            "access_key": self.account_key,
        }
        return storage_from_url(f"az://{bucket}/{prefix}", **{**defaults, **options})


@contextmanager
def azurite(directory: Path) -> Iterator[AzureServer]:
    """Azurite: conditions hold, ETags are unique to each write, signatures are checked."""
    port = free_port()
    command = [
        *node_script("azurite/dist/src/blob/main.js"),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port)),
        *("--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
    ]
    with running(command, port=port, log=directory / "azurite.log", directory=directory):
        yield AzureServer("Azurite", f"http://127.0.0.1:{port}/{ACCOUNT}")
