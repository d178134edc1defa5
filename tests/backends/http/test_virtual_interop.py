"""Virtual chunks on a web server: recorded by one implementation, read by the other."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core
from tests.backends.http.server import WebServer
from tests.interop.implementations import load_peer

COUNT = 50
VALUES = np.arange(COUNT * 4, dtype="<i4")


def record(ic: Any, root: Path, prefix: str, checksum: Any, name: str | None) -> None:
    """A repository with a container on the server; if that has a name, every other location uses it."""
    config = ic.RepositoryConfig.default()
    store = ic.http_store(opts={"allow_http": "true"})
    config.set_virtual_chunk_container(ic.VirtualChunkContainer(prefix, store, name=name))
    repo = ic.Repository.create(ic.local_filesystem_storage(str(root)), config)
    repo.save_config()
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="x", shape=VALUES.shape, chunks=(4,), dtype="<i4", compressors=None, filters=None
    )
    relative = f"vcc://{name}/" if name else prefix
    locations = [(relative if number % 2 else prefix) + "dir/raw file.bin" for number in range(COUNT)]
    offsets = np.arange(COUNT, dtype="u8") * 16
    session.store.set_virtual_refs_arr(
        "x", (COUNT,), locations, offsets, np.full(COUNT, 16, dtype="u8"), checksum=checksum
    )
    session.commit("virtual")


def opened(ic: Any, root: Path, prefix: str) -> Any:
    """The repository with access to the server."""
    access = ic.containers_credentials({prefix: ic.Credentials.HttpAccess()})
    return ic.Repository.open(ic.local_filesystem_storage(str(root)), authorize_virtual_chunk_access=access)


def columns(repo: Any) -> list[tuple[Any, ...]]:
    """What `array_chunk_iterator` tells about the array, row by row."""

    async def collect() -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        store = repo.readonly_session("main").store
        async for coords, kinds, paths, offsets, lengths, inlined in store.array_chunk_iterator("/x", 7):
            assert not inlined
            rows += zip(
                map(tuple, np.asarray(coords).tolist()), np.asarray(kinds).tolist(), list(paths),
                np.asarray(offsets).tolist(), np.asarray(lengths).tolist(), strict=True,
            )  # fmt: skip
        return rows

    return asyncio.run(collect())


@pytest.mark.parametrize("checksum", [None, "etag", "time"])
@pytest.mark.parametrize("name", [None, "data"])
@pytest.mark.parametrize("first", ["ours", "peer"])
def test_both_read_both(
    web: WebServer, tmp_path: Path, first: str, name: str | None, checksum: str | None
) -> None:
    """Values, locations and columns are the same; a file that changed is refused by both."""
    peer = load_peer()
    file = web.root / "files" / "dir" / "raw file.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(VALUES.tobytes())
    given = {None: None, "etag": web.etag(file.read_bytes()), "time": datetime.now(UTC)}[checksum]
    prefix = f"{web.url}/files/"
    record({"ours": icechunk_core, "peer": peer}[first], tmp_path / "repo", prefix, given, name)
    repos = [opened(ic, tmp_path / "repo", prefix) for ic in (icechunk_core, peer)]
    for repo in repos:
        session = repo.readonly_session("main")
        assert (np.asarray(zarr.open_array(session.store, path="x", mode="r")[:]) == VALUES).all()
    assert columns(repos[0]) == columns(repos[1])
    assert len(columns(repos[0])) == COUNT
    locations = [repo.readonly_session("main").all_virtual_chunk_locations() for repo in repos]
    assert sorted(locations[0]) == sorted(locations[1])
    if checksum == "etag":
        file.write_bytes(VALUES[::-1].tobytes())
        for ic in (icechunk_core, peer):
            session = opened(ic, tmp_path / "repo", prefix).readonly_session("main")
            with pytest.raises(ic.IcechunkError):
                zarr.open_array(session.store, path="x", mode="r")[:]
