"""Whole repositories on web servers: written in a directory, by us or by Icechunk, read over HTTP."""

from __future__ import annotations

import asyncio
import gc
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import icechunk_core
from icechunk_core.errors import (
    ErrorKind,
    IcechunkError,
    ReadOnlyError,
    RefNotFoundError,
    RepositoryNotFoundError,
    Unsupported,
)
from tests.backends.http.server import plain_server, web_server
from tests.interop.implementations import load_peer

VALUES = np.arange(1000.0).reshape(10, 100)


def write_repository(ic: Any, root: Path, spec_version: int) -> str:
    """A repository with an array of two commits, a branch and a tag; the tagged snapshot."""
    repo = ic.Repository.create(ic.local_filesystem_storage(str(root)), spec_version=spec_version)
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="group/array", data=VALUES, chunks=(5, 50), dimension_names=["y", "x"]
    )
    tagged: str = session.commit("first")
    repo.create_tag("v1", snapshot_id=tagged)
    repo.create_branch("dev", snapshot_id=tagged)
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="group/array")[0] = -1.0
    session.commit("second")
    return tagged


def writers() -> list[Any]:
    """Us, and the peer where it can be installed."""
    return [pytest.param(lambda: icechunk_core, id="ours"), pytest.param(load_peer, id="peer")]


@pytest.mark.parametrize("serve", [plain_server, web_server], ids=["http.server", "ranges"])
@pytest.mark.parametrize("spec_version", [1, 2])
@pytest.mark.parametrize("writer", writers())
def test_shared_repositories_open(
    tmp_path: Path, writer: Callable[[], Any], spec_version: int, serve: Any
) -> None:
    """A directory put behind any web server is a repository for reading: data, versions, xarray, pickles."""
    tagged = write_repository(writer(), tmp_path / "repo", spec_version)
    with serve(tmp_path) as server:
        url = f"{server if isinstance(server, str) else server.url}/repo"
        repo = icechunk_core.Repository.open(url)
        latest = zarr.open_array(repo.readonly_session("main").store, path="group/array", mode="r")
        assert (latest[1:] == VALUES[1:]).all()
        assert (latest[0] == -1).all()
        for session in (
            repo.readonly_session(tag="v1"),
            repo.readonly_session("dev"),
            repo.readonly_session(snapshot_id=tagged),
        ):
            assert (zarr.open_array(session.store, path="group/array", mode="r")[:] == VALUES).all()
        assert [info.message for info in repo.ancestry(branch="main")][:2] == ["second", "first"]
        copy = pickle.loads(pickle.dumps(repo)).readonly_session(tag="v1")
        with xr.open_zarr(copy.store, group="group", consolidated=False) as dataset:
            assert (dataset["array"].sel(y=3) == VALUES[3]).all()
        with pytest.raises(RefNotFoundError):
            repo.readonly_session("no-such-branch")
        with pytest.raises(ReadOnlyError, match="read-only"):
            repo.writable_session("main")


@pytest.mark.parametrize("spec_version", [1, 2])
def test_names_of_branches(tmp_path: Path, spec_version: int) -> None:
    """Spec 2 keeps its branches and tags in one object; spec 1 needs a list, and says so."""
    write_repository(icechunk_core, tmp_path / "repo", spec_version)
    with plain_server(tmp_path) as url:
        repo = icechunk_core.Repository.open(f"{url}/repo")
        if spec_version == 2:
            assert repo.list_branches() == {"main", "dev"}
            assert repo.list_tags() == {"v1"}
        else:
            assert repo.lookup_branch("dev") == repo.lookup_tag("v1")
            with pytest.raises(Unsupported, match="by their names"):
                repo.list_branches()


def test_nothing_there(tmp_path: Path) -> None:
    """An address without a repository is the usual error; none can be created over HTTP."""
    with plain_server(tmp_path) as url:
        with pytest.raises(RepositoryNotFoundError):
            icechunk_core.Repository.open(url)
        with pytest.raises(ReadOnlyError) as caught:
            icechunk_core.Repository.create(url)
        assert caught.value.kind == ErrorKind.READ_ONLY_STORAGE


@pytest.mark.parametrize("spec_version", [1, 2])
def test_the_peer_reads_ours(tmp_path: Path, spec_version: int) -> None:
    """Icechunk's own HTTP storage reads what we wrote (it needs a server with ranges)."""
    peer = load_peer()
    tagged = write_repository(icechunk_core, tmp_path / "repo", spec_version)
    with web_server(tmp_path) as web:
        repo = peer.Repository.open(peer.http_storage(f"{web.url}/repo"))
        session = repo.readonly_session(snapshot_id=tagged)
        assert (zarr.open_array(session.store, path="group/array", mode="r")[:] == VALUES).all()


async def test_many_loops_and_no_leaks(tmp_path: Path) -> None:
    """One storage serves loops one after another; each loop's connections are closed with it."""
    (tmp_path / "a").write_bytes(b"data")
    with plain_server(tmp_path) as url:
        storage = icechunk_core.storage_from_url(url)

        async def read() -> bytes:
            return bytes((await storage.get_range("a"))[0])

        # A connection that stays open is a ResourceWarning when it is collected, and an error here.
        assert await asyncio.to_thread(asyncio.run, read()) == b"data"
        assert await asyncio.to_thread(asyncio.run, read()) == b"data"
        gc.collect()
        assert await read() == b"data"
        await storage.close()


def test_a_collected_storage_leaves_nothing_open(tmp_path: Path) -> None:
    """A storage that is dropped, not closed, closes its connections on the loop that has them."""
    (tmp_path / "a").write_bytes(b"data")

    async def use(url: str) -> None:
        storage = icechunk_core.storage_from_url(url)
        assert await storage.exists("a")
        del storage
        gc.collect()
        await asyncio.sleep(0)

    with plain_server(tmp_path) as url:
        asyncio.run(use(url))
    gc.collect()


async def test_a_repository_in_a_running_loop(tmp_path: Path) -> None:
    """The async API reads over HTTP as the blocking one does."""
    write_repository(icechunk_core, tmp_path / "repo", 2)
    with web_server(tmp_path) as web:
        repo = await icechunk_core.Repository.open_async(f"{web.url}/repo")
        session = await repo.readonly_session_async("main")
        array = await zarr.api.asynchronous.open_array(store=session.store, path="group/array")
        assert (await array.getitem((0, slice(None))) == -1).all()
        with pytest.raises(IcechunkError):
            await repo.create_branch_async("new", snapshot_id=session.snapshot_id)


def test_a_program_ends_quietly(tmp_path: Path) -> None:
    """Connections that are open when a program ends are closed: nothing is written to stderr."""
    write_repository(icechunk_core, tmp_path / "repo", 2)
    program = (
        "import sys, zarr, icechunk_core\n"
        "for _ in range(3):\n"
        "    repo = icechunk_core.Repository.open(sys.argv[1])\n"
        "    array = zarr.open_array(repo.readonly_session('main').store, path='group/array', mode='r')\n"
        "    print(array[0, 0])\n"
    )
    with plain_server(tmp_path) as url:
        ended = subprocess.run(
            [sys.executable, "-X", "dev", "-c", program, f"{url}/repo"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    assert ended.stdout.count("\n") == 3
    assert ended.stderr == ""
