"""What a session and its store tell about the chunks of an array."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import icechunk_core as ic
from icechunk_core import ErrorKind as Kind
from icechunk_core.format import base32
from icechunk_core.store.chunk_iteration import _ids_as_text
from tests.session.support import create, make_array, put, tip

CONTAINER = "s3://bucket/data/"


@pytest.fixture
def mixed(root: Path) -> ic.Session:
    """A session with the array ``/m``: chunks 0 native, 2 inline, 4 and 5 virtual; ``/g`` is a group."""
    config = ic.RepositoryConfig.default()
    config.inline_chunk_threshold_bytes = 4
    config.set_virtual_chunk_container(
        ic.VirtualChunkContainer(CONTAINER, ic.s3_store(region="us-east-1"), name="box")
    )
    session: ic.Session = create(ic, root, 2, config=config).writable_session("main")
    zarr.create_group(session.store, path="g")
    array = zarr.create_array(
        session.store, name="m", shape=(16,), chunks=(2,), dtype="i4", fill_value=0, compressors=None
    )
    array[0:2] = 1
    make_array(session.store, "i", 8, [0, 1])
    session.store.set_virtual_ref("m/c/4", CONTAINER + "file.nc", offset=10, length=8)
    session.store.set_virtual_ref("m/c/5", "vcc://box/file.nc", offset=18, length=8)
    return session


async def coordinates(session: ic.Session, path: str, batch_size: int = 1000) -> list[tuple[int, ...]]:
    return [at async for at in session.chunk_coordinates(path, batch_size)]


def test_chunk_type(mixed: ic.Session) -> None:
    """Every kind of chunk is told apart, before and after the commit; outside the grid there is none."""
    for _ in range(2):
        kinds = [mixed.chunk_type("/m", [at]) for at in (0, 2, 4, 5, 99)]
        none = ic.ChunkType.uninitialized
        assert kinds == [ic.ChunkType.native, none, ic.ChunkType.virtual, ic.ChunkType.virtual, none]
        assert mixed.chunk_type("/i/", [np.int64(1).item()]) is ic.ChunkType.inline
        if not mixed.read_only:
            mixed.commit("mixed")
    assert repr(ic.ChunkType.inline) == "ChunkType.inline"


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/g", Kind.NOT_AN_ARRAY), ("/nope", Kind.NODE_NOT_FOUND), ("m", Kind.INVALID_PATH)],
)
def test_no_array(mixed: ic.Session, path: str, kind: str) -> None:
    """Asking for chunks of something else says what is wrong."""
    with pytest.raises(ic.IcechunkError) as caught:
        mixed.chunk_type(path, [0])
    assert caught.value.kind == kind
    with pytest.raises(ic.IcechunkError) as caught:
        asyncio.run(coordinates(mixed, path))
    assert caught.value.kind == kind


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_chunk_coordinates(repo: ic.Repository, batch_size: int) -> None:
    """Each chunk in the grid is listed once; deleted ones and those cut off by a resize are not."""
    session = repo.writable_session("main")
    assert asyncio.run(coordinates(session, "/g/a", batch_size)) == [(0,), (1,), (2,)]
    put(session, "g/a", 1, 11)
    put(session, "g/a", 6, 6)
    asyncio.run(session.store.delete("g/a/c/0"))
    assert sorted(asyncio.run(coordinates(session, "/g/a", batch_size))) == [(1,), (2,), (6,)]
    zarr.open_array(session.store, path="g/a", mode="r+").resize((2,))
    assert asyncio.run(coordinates(session, "/g/a", batch_size)) == [(1,)]
    with pytest.raises(ic.InvalidInputError):
        asyncio.run(coordinates(session, "/g/a", 0))


def test_virtual_locations(mixed: ic.Session) -> None:
    """Every virtual chunk's URL is listed, in full, one entry per chunk."""
    assert mixed.all_virtual_chunk_locations() == [CONTAINER + "file.nc"] * 2
    mixed.commit("mixed")
    assert asyncio.run(mixed.all_virtual_chunk_locations_async()) == [CONTAINER + "file.nc"] * 2


# --- the store's columns


async def batches(session: ic.Session, path: str, batch_size: int = 100_000) -> list[Any]:
    return [batch async for batch in session.store.array_chunk_iterator(path, batch_size)]


def test_columns(mixed: ic.Session) -> None:
    """All columns are aligned, have the documented types, and describe every kind of chunk."""
    mixed.commit("mixed")
    [(coords, kinds, paths, offsets, lengths, inlined)] = asyncio.run(batches(mixed, "m"))
    assert [(column.dtype, column.shape) for column in (coords, kinds, offsets, lengths)] == [
        (np.uint32, (3, 1)),
        (np.uint8, (3,)),
        (np.uint64, (3,)),
        (np.uint64, (3,)),
    ]
    assert coords.tolist() == [[0], [4], [5]]
    assert kinds.tolist() == [ic.ChunkType.native, ic.ChunkType.virtual, ic.ChunkType.virtual]
    assert paths[1:] == [CONTAINER + "file.nc"] * 2
    assert len(paths[0]) == 20
    assert (offsets.tolist(), lengths.tolist(), inlined) == ([0, 10, 18], [8, 8, 8], {})
    [(_, kinds, paths, _, lengths, inlined)] = asyncio.run(batches(mixed, "/i"))
    assert (kinds.tolist(), paths, lengths.tolist()) == ([3, 3], ["", ""], [4, 4])
    assert inlined == {0: np.int32(0).tobytes(), 1: np.int32(1).tobytes()}


def test_batches_span_blocks(repo: ic.Repository) -> None:
    """Uncommitted chunks come first; batches are full across them and the manifests."""
    session = repo.writable_session("main")
    for at in (1, 5, 7):
        put(session, "g/a", at, at)
    found = asyncio.run(batches(session, "/g/a", 2))
    assert [batch[0].ravel().tolist() for batch in found] == [[1, 5], [7, 0], [2]]
    assert all(len(batch[2]) == len(batch[1]) == len(batch[0]) for batch in found)


def test_no_chunks(mixed: ic.Session) -> None:
    """Groups and missing nodes have no chunks; a batch has at least one row."""
    for path in ("/g", "/nope", ""):
        assert asyncio.run(batches(mixed, path)) == []
    with pytest.raises(ic.InvalidInputError):
        asyncio.run(batches(mixed, "/m", 0))


def test_chunk_of_no_dimensions(repo: ic.Repository) -> None:
    """The one chunk of a 0-d array has no coordinates."""
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="s", shape=(), dtype="i4")[()] = 5
    [batch] = asyncio.run(batches(session, "s"))
    assert batch[0].shape == (1, 0)
    assert asyncio.run(coordinates(session, "/s")) == [()]


def test_node_ids(repo: ic.Repository) -> None:
    """Node ids are asked by absolute paths and stay the same."""
    node_id = tip(repo).get_node_id("/g/a/")
    assert node_id == tip(repo).get_node_id("//g/a")
    assert tip(repo).get_node_id("/") != node_id
    with pytest.raises(ic.NodeNotFoundError):
        tip(repo).get_node_id("/nope")
    with pytest.raises(ic.InvalidInputError):
        tip(repo).get_node_id("g/a")


@given(st.lists(st.binary(min_size=12, max_size=12), min_size=1, max_size=20))
def test_many_ids_as_text(ids: list[bytes]) -> None:
    """The columns' chunk ids are the text form of each id."""
    table = np.frombuffer(b"".join(ids), dtype=np.uint8).reshape(-1, 12)
    assert _ids_as_text(table) == [base32.encode(one) for one in ids]
