"""A store over a session in dictionaries, with a group, two arrays and a scalar in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from zarr.core.buffer import Buffer, cpu

from icechunk_core.store import IcechunkStore
from tests.store.fake_session import FakeSession

GROUP = json.dumps({"zarr_format": 3, "node_type": "group"}).encode()


def array_json(shape: tuple[int, ...], chunks: tuple[int, ...]) -> bytes:
    """A minimal array document."""
    grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
    return json.dumps({"zarr_format": 3, "node_type": "array", "shape": shape, "chunk_grid": grid}).encode()


def buffer(data: bytes) -> Buffer:
    """A zarr buffer."""
    return cpu.Buffer.from_bytes(data)


async def collect(items: Any) -> list[Any]:
    """All items of an async iterator."""
    return [item async for item in items]


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def store(session: FakeSession) -> IcechunkStore:
    return IcechunkStore(session)


@pytest.fixture
async def filled(store: IcechunkStore) -> IcechunkStore:
    """Groups ``/``, ``/g``, ``/gg``, ``/g/c``, arrays ``/g/a`` (2-d), ``/g/scalar``, ``/g/c/0``; 5 chunks."""
    for path in ("", "g/", "gg/", "g/c/"):
        await store.set(f"{path}zarr.json", buffer(GROUP))
    await store.set("g/a/zarr.json", buffer(array_json((6, 4), (2, 2))))
    await store.set("g/scalar/zarr.json", buffer(array_json((), ())))
    await store.set("g/c/0/zarr.json", buffer(array_json((4,), (2,))))
    for key in ("g/a/c/0/0", "g/a/c/0/1", "g/a/c/2/1", "g/scalar/c", "g/c/0/c/1"):
        await store.set(key, buffer(key.encode()))
    return store
