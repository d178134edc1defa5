"""Ceph's object gateway over a cluster of one monitor and one daemon that keeps its objects in memory.

It comes from the system's packages, not from `tests.servers.install`, so its tests run on request only::

    apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common
    ICECHUNK_TEST_CEPH=1 python -m pytest -m "" tests/backends/s3/test_ceph.py
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from icechunk_core.contract import Storage
from icechunk_core.storage import storage_from_url
from tests.servers.process import MissingServerError, free_ports, running
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server, ready

__all__ = ["radosgw"]

PACKAGES = "radosgw ceph-mon ceph-osd ceph-common"
MEMORY = 2 << 30
"""Bytes of objects that the cluster can hold."""


@frozen
class Cluster:
    """The files and ports of a cluster.

    The second port after ``port`` is the gateway's, those before it belong to the monitor.
    """

    directory: Path
    port: int
    fsid: str

    @property
    def addresses(self) -> str:
        return f"[v2:127.0.0.1:{self.port},v1:127.0.0.1:{self.port + 1}]"

    @property
    def conf(self) -> Path:
        return self.directory / "ceph.conf"

    @property
    def gateway(self) -> int:
        return self.port + 2

    def write_conf(self) -> None:
        """Without keys between the daemons, and with one copy of everything."""
        where = self.directory
        self.conf.write_text(
            "[global]\n"
            f"fsid = {self.fsid}\n"
            f"mon host = {self.addresses}\n"
            "public addr = 127.0.0.1\ncluster addr = 127.0.0.1\n"
            "auth cluster required = none\nauth service required = none\nauth client required = none\n"
            "ms mon client mode = crc\nms bind port min = 32000\nms bind port max = 32767\n"
            "osd pool default size = 1\nosd pool default min size = 1\nosd crush chooseleaf type = 0\n"
            "osd pool default pg num = 4\nosd pool default pgp num = 4\nmon max pg per osd = 1000\n"
            f"osd objectstore = memstore\nmemstore device bytes = {MEMORY}\n"
            f"run dir = {where}\nadmin socket = {where}/$name.asok\n"
            f"log file = {where}/$name.log\ncrash dir = {where}\n"
            f"[mon]\nmon data = {where}/mon\n"
            f"[osd]\nosd data = {where}/osd\n"
            f"[client.rgw]\nrgw frontends = beast endpoint=127.0.0.1:{self.gateway}\nrgw data = {where}/rgw\n"
        )

    def make_monitor(self) -> None:
        monmap = str(self.directory / "monmap")
        self.run("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", self.addresses, monmap)
        self.run("ceph-mon", "--mkfs", "--id", "a", "--monmap", monmap)

    def command(self, name: str, *arguments: str) -> list[str]:
        path = shutil.which(name)
        if path is None:
            raise MissingServerError(
                f"no {name}; install: apt-get install --no-install-recommends {PACKAGES}"
            )
        return [path, "--conf", str(self.conf), *arguments]

    def run(self, name: str, *arguments: str) -> str:
        """Run a command to its end; its output."""
        command = self.command(name, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


class CephServer(S3Server):
    """As it has to be opened: what is special about Ceph cannot be told from its address."""

    def storage(self, bucket: str, prefix: str = "", **options: Any) -> Storage:
        return storage_from_url(f"s3://{bucket}/{prefix}", **{"quirks": "ceph", **self.options(), **options})


@contextmanager
def radosgw(directory: Path) -> Iterator[S3Server]:
    """Ceph: real signatures; one winner always, but losers get 500; If-Match without quotes."""
    cluster = Cluster(directory, free_ports(range(3)), str(uuid.uuid4()))
    cluster.write_conf()
    for name in ("mon", "osd", "rgw"):
        (directory / name).mkdir()
    cluster.make_monitor()
    with running(
        cluster.command("ceph-mon", "-f", "--id", "a"), port=cluster.port, log=directory / "mon.out"
    ):
        number = cluster.run("ceph", "osd", "new", osd := str(uuid.uuid4())).strip()
        cluster.run("ceph-osd", "--id", number, "--mkfs", "--osd-uuid", osd)
        # It listens on several ports of its own choice; the gateway waits until it serves.
        with (
            running(
                cluster.command("ceph-osd", "-f", "--id", number),
                port=cluster.port,
                log=directory / "osd.out",
            ),
            _gateway(cluster) as server,
        ):
            yield server


@contextmanager
def _gateway(cluster: Cluster) -> Iterator[S3Server]:
    user = [
        "--uid",
        "tests",
        "--display-name",
        "tests",
        "--access-key",
        ACCESS_KEY,
        "--secret-key",
        SECRET_KEY,
    ]
    cluster.run("radosgw-admin", "--name", "client.rgw", "user", "create", *user)
    with running(
        cluster.command("radosgw", "-f", "--name", "client.rgw"),
        port=cluster.gateway,
        log=cluster.directory / "rgw.out",
    ):
        yield ready(CephServer("Ceph radosgw", f"http://127.0.0.1:{cluster.gateway}"))
