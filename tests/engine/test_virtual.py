"""Virtual chunks: containers, authorisation, checks, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.format.refs import VirtualRef


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """A file of 8 integers behind a 3 byte header."""
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / "raw.bin"
    path.write_bytes(b"abc" + np.arange(8, dtype="<i4").tobytes())
    return path


async def virtual_repo(
    folder: Path, refs: list[VirtualRef], *, authorize: bool = True, name: str | None = None
) -> ic.Repository:
    """An array of 8 integers, two chunks of 16 bytes, whose refs are given."""
    prefix = f"file://{folder}/"
    config = ic.RepositoryConfig()
    config.set_virtual_chunk_container(
        ic.VirtualChunkContainer(prefix, ic.ObjectStoreConfig.LocalFileSystem(str(folder)), name=name)
    )
    allowed = {prefix: ic.Credentials.LocalFileSystemAccess()} if authorize else None
    repo = await ic.Repository.create_async("memory:", config, allowed)
    session = await repo.writable_session_async("main")
    zarr.create_array(
        session.store, name="x", shape=(8,), chunks=(4,), dtype="<i4", compressors=None, filters=None
    )
    for index, ref in enumerate(refs):
        await session._state.write_virtual_ref("/x", (index,), ref, validate_container=True)
    await session.commit_async("refs")
    return repo


def read(repo: ic.Repository) -> list[int]:
    return list(zarr.open_array(repo.readonly_session("main").store, path="x", mode="r")[:].tolist())


async def test_virtual_chunks_are_read_from_files(data_file: Path) -> None:
    """Offsets and lengths point into the file; absolute and relative locations both work."""
    refs = [
        VirtualRef(f"file://{data_file}", 3, 16),
        VirtualRef("vcc://raw/raw.bin", 19, 16),
    ]
    repo = await virtual_repo(data_file.parent, refs, name="raw")
    assert read(repo) == list(range(8))


async def test_nothing_is_read_without_authorisation(data_file: Path) -> None:
    """The error names what to pass."""
    repo = await virtual_repo(data_file.parent, [VirtualRef(f"file://{data_file}", 3, 16)], authorize=False)
    with pytest.raises(ic.InvalidInputError, match="authorize_virtual_chunk_access") as raised:
        read(repo)
    assert raised.value.kind == ic.ErrorKind.UNAUTHORIZED_VIRTUAL_CHUNK_CONTAINER


async def test_a_ref_without_container_is_refused(data_file: Path) -> None:
    """Writing it with validation says that no container covers it."""
    with pytest.raises(ic.InvalidInputError) as raised:
        await virtual_repo(data_file.parent, [VirtualRef("file:///elsewhere/x", 0, 4)])
    assert raised.value.kind == ic.ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK


async def test_a_file_that_is_gone_or_too_short(data_file: Path) -> None:
    """The error names the location."""
    repo = await virtual_repo(data_file.parent, [VirtualRef(f"file://{data_file}", 30, 16)])
    with pytest.raises(ic.StorageError, match=r"raw\.bin") as raised:
        read(repo)
    assert raised.value.kind == ic.ErrorKind.VIRTUAL_CHUNK_FETCH
    data_file.unlink()
    with pytest.raises(ic.StorageError, match=r"raw\.bin"):
        read(repo)


async def test_a_file_that_changed(data_file: Path) -> None:
    """With a recorded time, a newer file is refused."""
    ref = VirtualRef(f"file://{data_file}", 3, 16, last_modified=1_000_000)
    repo = await virtual_repo(data_file.parent, [ref])
    with pytest.raises(ic.StorageError) as raised:
        read(repo)
    assert raised.value.kind == ic.ErrorKind.VIRTUAL_CHUNK_MODIFIED
