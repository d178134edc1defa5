"""All servers, by name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

from tests.servers import azure, ceph, gcs, s3

__all__ = ["SERVERS", "Server", "running"]

Server: TypeAlias = "s3.S3Server | gcs.GcsServer | azure.AzureServer"

SERVERS: dict[str, Callable[[Path], AbstractContextManager[Server]]] = {
    "ministack": s3.ministack,
    "seaweedfs": s3.seaweedfs,
    "moto": s3.moto,
    "s3rver": s3.s3rver,
    "localbucket": s3.localbucket,
    "radosgw": ceph.radosgw,
    "fake_gcs": gcs.fake_gcs,
    "gcp_emulator": gcs.gcp_emulator,
    "azurite": azure.azurite,
}


@contextmanager
def running(name: str) -> Iterator[Server]:
    """Run a server, in a temporary directory, while the block runs."""
    with (
        tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as directory,
        SERVERS[name](Path(directory)) as server,
    ):
        yield server
