"""Servers that speak the JSON protocol of Google Cloud Storage."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from attrs import frozen

from icechunk_core.contract import Storage
from icechunk_core.storage import storage_from_url
from tests.servers.process import INSTALLED, MissingServerError, free_port, program, running

__all__ = ["GcsServer", "fake_gcs", "gcp_emulator"]

_numbers = count(1)


@frozen
class GcsServer:
    """A running server.

    Attributes
    ----------
    endpoint
        ``http://127.0.0.1:port``.
    """

    name: str
    endpoint: str

    def new_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = f"bucket-{next(_numbers)}-{time.time_ns():x}"
        request = urllib.request.Request(
            f"{self.endpoint}/storage/v1/b?project=test",
            json.dumps({"name": name}).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=30).close()
        return name

    def url(self, bucket: str, prefix: str, endpoint: str | None = None) -> str:
        """A URL with all that opening it needs, for other processes; by another address if one is given."""
        return f"gs://{bucket}/{prefix}?anonymous=true&endpoint_url={endpoint or self.endpoint}"

    def storage(self, bucket: str, prefix: str = "", **options: Any) -> Storage:
        """Open a bucket with this project."""
        defaults = {"endpoint_url": self.endpoint, "allow_http": True, "anonymous": True}
        return storage_from_url(f"gs://{bucket}/{prefix}", **{**defaults, **options})


@contextmanager
def fake_gcs(directory: Path) -> Iterator[GcsServer]:
    """fake-gcs-server: generations and their preconditions hold, except on resumable uploads."""
    binaries = sorted(
        INSTALLED.glob("python/lib/python3*/site-packages/fake_gcs_server*/**/fake-gcs-server-*")
    )
    binaries = [path for path in binaries if path.is_file() and os.access(path, os.R_OK)]
    if not binaries:
        raise MissingServerError(
            f"no fake-gcs-server in {INSTALLED}; install the servers with: python -m tests.servers.install"
        )
    binaries[0].chmod(0o755)
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [
        *(str(binaries[0]), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)),
        *("-backend", "memory", "-external-url", f"http://{address}", "-public-host", address),
        *("-log-level", "error"),
    ]
    with running(command, port=port, log=directory / "fake-gcs-server.log"):
        yield GcsServer("fake-gcs-server", f"http://{address}")


@contextmanager
def gcp_emulator(directory: Path) -> Iterator[GcsServer]:
    """gcp-storage-emulator: ignores every precondition."""
    port = free_port()
    command = [
        *(program("gcp-storage-emulator"), "start", "--host", "127.0.0.1", "--port", str(port)),
        "--in-memory",
    ]
    with running(command, port=port, log=directory / "gcp-storage-emulator.log", directory=directory):
        yield GcsServer("gcp-storage-emulator", f"http://127.0.0.1:{port}")
