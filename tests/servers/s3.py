"""Servers that speak S3."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from attrs import field, frozen

from icechunk_core.contract import Storage
from icechunk_core.storage import s3_storage
from tests.servers.process import free_port, free_ports, node_script, program, running

__all__ = ["S3Server", "localbucket", "ministack", "moto", "ready", "s3rver", "seaweedfs"]

ACCESS_KEY = "testaccesskey"
SECRET_KEY = "test-secret-of-the-tests"
REGION = "us-east-1"
_numbers = count(1)


@frozen
class S3Server:
    """A running server.

    Attributes
    ----------
    endpoint
        ``http://127.0.0.1:port``.
    """

    name: str
    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = field(default=SECRET_KEY, repr=False)
    region: str = REGION

    def client(self) -> Any:
        """A client of the SDK, to prepare and to look from outside."""
        import botocore.session
        from botocore.config import Config

        session = botocore.session.Session()
        session.set_credentials(self.access_key, self.secret_key)
        return session.create_client(
            "s3",
            region_name=self.region,
            endpoint_url=self.endpoint,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"max_attempts": 0},
                connect_timeout=10,
                read_timeout=30,
            ),
        )

    def new_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = f"bucket-{next(_numbers)}-{time.time_ns():x}"
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        finally:
            client.close()
        return name

    def options(self) -> dict[str, Any]:
        """Arguments of ``s3_storage`` for this server (ours and icechunk's have the same names)."""
        return {
            "region": self.region,
            "endpoint_url": self.endpoint,
            "allow_http": True,
            "force_path_style": True,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
        }

    def url(self, bucket: str, prefix: str, endpoint: str | None = None) -> str:
        """A URL with all that opening it needs, for other processes; by another address if one is given."""
        options = {**self.options(), "endpoint_url": endpoint or self.endpoint}
        return f"s3://{bucket}/{prefix}?{urlencode(options)}"

    def storage(self, bucket: str, prefix: str = "", **options: Any) -> Storage:
        """Open a bucket with this project."""
        return s3_storage(bucket=bucket, prefix=prefix, **{**self.options(), **options})

    def peer_storage(self, bucket: str, prefix: str = "", **options: Any) -> Any:
        """Open a bucket with icechunk."""
        import icechunk

        return icechunk.s3_storage(bucket=bucket, prefix=prefix, **{**self.options(), **options})


Server = TypeVar("Server", bound=S3Server)


@contextmanager
def ministack(directory: Path) -> Iterator[S3Server]:
    """MiniStack: fast, with AWS's answers to conditions, and clean races."""
    port = free_port()
    environment = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "SERVICES": "s3,iam,sts",
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "TMPDIR": str(directory),
        "LOG_LEVEL": "WARNING",
    }
    with running([program("ministack")], port=port, log=directory / "ministack.log", environment=environment):
        yield ready(S3Server("MiniStack", f"http://127.0.0.1:{port}"))


@contextmanager
def seaweedfs(directory: Path) -> Iterator[S3Server]:
    """SeaweedFS: a real store with real signatures; losers of a race wait for seconds."""
    identities = directory / "identities.json"
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    identities.write_text(
        json.dumps({"identities": [{"name": "tests", "credentials": credentials, "actions": actions}]})
    )
    data = directory / "data"
    data.mkdir()
    port = free_ports(range(8))
    parts = [
        f"-{part}.port{kind}={port + offset + extra}"
        for offset, part in enumerate(("s3", "master", "filer", "volume"))
        for kind, extra in (("", 0), (".grpc", 4))
    ]
    switched_off = ["webdav", "admin.ui", "s3.autoCreateBucket", "master.telemetry"]
    command = [
        *(program("weed"), "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(*parts, f"-s3.config={identities}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-{name}=false" for name in switched_off),
    ]
    with running(command, port=port, log=directory / "seaweedfs.log", directory=directory):
        yield ready(S3Server("SeaweedFS", f"http://127.0.0.1:{port}"))


@contextmanager
def moto(directory: Path) -> Iterator[S3Server]:
    """moto: conditions hold in ordinary runs, but are not atomic."""
    port = free_port()
    command = [program("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with running(command, port=port, log=directory / "moto.log"):
        yield ready(S3Server("moto", f"http://127.0.0.1:{port}"))


@contextmanager
def s3rver(directory: Path) -> Iterator[S3Server]:
    """s3rver: ignores conditions in silence; accepts one fixed key."""
    port = free_port()
    data = directory / "data"
    data.mkdir()
    command = [
        *(*node_script("s3rver/bin/s3rver.js"), "--directory", str(data), "--silent"),
        *("--address", "127.0.0.1", "--port", str(port), "--no-vhost-buckets"),
    ]
    with running(command, port=port, log=directory / "s3rver.log"):
        yield ready(S3Server("s3rver", f"http://127.0.0.1:{port}", "S3RVER", "S3RVER"))


@contextmanager
def localbucket(directory: Path) -> Iterator[S3Server]:
    """LocalBucket: create-only puts work, If-Match is ignored."""
    port = free_port()
    data = directory / "data"
    data.mkdir()
    command = [program("localbucket"), "--host", "127.0.0.1", "--port", str(port), str(data)]
    with running(command, port=port, log=directory / "localbucket.log"):
        yield ready(S3Server("LocalBucket", f"http://127.0.0.1:{port}"))


def ready(server: Server) -> Server:
    """Wait until buckets can be made: a port may listen before the store behind it works."""
    deadline = time.monotonic() + 60
    while True:
        try:
            server.new_bucket()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return server
