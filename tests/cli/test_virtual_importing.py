"""`import-virtual` refers to real NetCDF files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("virtualizarr", reason="needs VirtualiZarr, which needs Python 3.12 or later")
pytest.importorskip("iris_sample_data")

import icechunk_core as ic
from icechunk_core.cli.exit_codes import ExitCode
from icechunk_core.cli.virtual_importing import store_for
from icechunk_core.xarray import open_dataset
from tests.servers.s3 import S3Server
from tests.virtual.places import Place, in_directory, on_s3, on_web_server
from tests.virtual.test_virtualizarr import assert_equals_files

pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")
Command = Callable[..., str]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Place]:
    """The files in a directory."""
    with in_directory(tmp_path / "files") as found:
        yield found


def check(root: Path, place: Place, months: int = 3) -> None:
    """The repository shows the files."""
    access = place.authorized()
    with open_dataset(root, authorize_virtual_chunk_access=access, decode_times=False) as found:
        assert_equals_files(found, months=months)


def test_files_of_a_directory(command: Command, local: Place, tmp_path: Path) -> None:
    """Paths: two at once, a third later; the prefix to authorise is told."""
    paths = [url.removeprefix("file://") for url in local.urls]
    root = tmp_path / "repo"
    assert "--append-dim" in command("import-virtual", *paths, root, code=ExitCode.USAGE)
    printed = command("import-virtual", *paths[:2], root, "--concat", "time_counter")
    assert "referred to 2 files" in printed
    assert local.prefix in printed
    check(root, local, months=2)
    command("import-virtual", paths[2], root, "-d", "time_counter", "-m", "March")
    check(root, local)
    messages = [entry["message"] for entry in json.loads(command("log", root, "--json"))]
    assert messages[0] == "March"
    assert len(messages) == 3
    containers = ic.Repository.open(root).config.virtual_chunk_containers
    assert containers is not None
    assert list(containers) == [local.prefix]


def test_files_of_several_places(command: Command, ministack: S3Server, local: Place, tmp_path: Path) -> None:
    """URLs of a web server and of S3, into groups of one repository; no secret is stored."""
    root = tmp_path / "repo"
    with on_web_server(tmp_path / "web") as web, on_s3(ministack) as s3:
        command("import-virtual", web.urls[0], root, "-g", "web")
        options = [f"-s{name}={value}" for name, value in s3.options.items()]
        command("import-virtual", s3.urls[0], root, "-g", "s3", *options)
        command("import-virtual", local.urls[0], root, "-g", "local")
        access: dict[str, Any] = {**web.authorized(), **s3.authorized(), **local.authorized()}
        for group in ("web", "s3", "local"):
            with open_dataset(
                root, group=group, authorize_virtual_chunk_access=access, decode_times=False
            ) as found:
                assert_equals_files(found, months=1)
    everything = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert ministack.secret_key.encode() not in everything
    assert ministack.secret_key not in repr(ic.Repository.open(root).config)


def test_what_cannot_be_referred_to(command: Command, tmp_path: Path) -> None:
    """Missing files, and such that are no HDF5, are told before a repository is made."""
    (tmp_path / "text.nc").write_text("no data")
    assert "gone.nc" in command(
        "import-virtual", tmp_path / "gone.nc", tmp_path / "repo", code=ExitCode.NOT_FOUND
    )
    assert "HDF5" in command("import-virtual", tmp_path / "text.nc", tmp_path / "repo", code=ExitCode.FAILED)
    assert not (tmp_path / "repo").exists()


def test_what_the_configuration_says() -> None:
    """The kind of store by the scheme, options without secrets, nothing for schemes of plugins."""
    s3 = store_for("s3://b/", {"region": "r", "anonymous": "true", "secret_access_key": "hush"})
    assert isinstance(s3, ic.ObjectStoreConfig.S3)
    assert (s3.options.region, s3.options.anonymous) == ("r", True)
    assert "hush" not in repr(s3)
    assert isinstance(store_for("https://h/", {}), ic.ObjectStoreConfig.Http)
    assert isinstance(store_for("gs://b/", {}), ic.ObjectStoreConfig.Gcs)
    assert isinstance(store_for("az://c/", {"account": "a"}), ic.ObjectStoreConfig.Azure)
    assert store_for("plugin://x/", {}) is None
