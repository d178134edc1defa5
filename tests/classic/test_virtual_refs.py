"""Virtual refs in stores with version control."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult

import pytest
from attrs import field, frozen
from zarr.core.buffer import default_buffer_prototype

from icechunk_core import (
    ErrorKind,
    IcechunkStore,
    InvalidInputError,
    NodeNotFoundError,
    ReadOnlyError,
    Repository,
    S3Credentials,
    SessionStateError,
    StorageConfig,
    StorageError,
    StoreConfig,
    VirtualRefConfig,
    storage_from_url,
)
from icechunk_core.contract import BackendSpec
from icechunk_core.plugins import register_backend, unregister_backend
from icechunk_memory._config import MemoryConfig
from icechunk_memory._storage import CAPABILITIES, MemoryStorage
from tests.classic.conftest import Call
from tests.classic.helpers import make_array, values

PROTOTYPE = default_buffer_prototype()
SEEN: list[Bucket] = []
"""Configurations that the stand-in for S3 was opened with."""


@frozen
class Bucket:
    """What the S3 backend is given for virtual refs."""

    bucket: str
    credentials: Any = field(default=None, repr=False)
    endpoint_url: str | None = None
    allow_http: bool = False
    region: str | None = None


def _open(config: Bucket) -> Any:
    SEEN.append(config)
    return MemoryStorage(MemoryConfig(name=f"bucket-{config.bucket}"))


def _options(url: SplitResult) -> dict[str, Any]:
    return {"bucket": url.netloc}


@pytest.fixture
def s3() -> Iterator[None]:
    """A stand-in for S3 whose buckets are in memory."""
    SEEN.clear()
    spec = BackendSpec(
        name="buckets in memory",
        schemes=("s3",),
        config=Bucket,
        capabilities=CAPABILITIES,
        factory=_open,
        options_from_url=_options,
    )
    register_backend(spec, replace=True)
    yield
    unregister_backend("s3")


CONFIG = StoreConfig(
    virtual_ref_config=VirtualRefConfig.s3_from_config(S3Credentials("id", "hidden-key"), region="here")
)


@pytest.fixture
def readable(storage: StorageConfig) -> IcechunkStore:
    """A store that may read from S3, with an array."""
    store = IcechunkStore.create(storage, config=CONFIG)
    make_array(store)
    return store


async def test_any_location_is_accepted(storage: StorageConfig, store: IcechunkStore, call: Call) -> None:
    """Without any configuration an ``s3://`` location becomes a chunk; sizes and listings know it."""
    make_array(store)
    await call(store, "set_virtual_ref", "x/c/1", "s3://bucket/a file.nc", offset=3, length=4)
    assert await store.exists("x/c/1")
    assert await store.getsize("x/c/1") == 4
    store.commit("virtual")
    again = IcechunkStore.open_existing(storage)
    assert [key async for key in again.list_prefix("x/c/")] == ["x/c/1"]


async def test_what_is_refused(store: IcechunkStore, call: Call) -> None:
    """Metadata keys, chunks outside the grid, missing arrays, other texts, read-only stores."""
    make_array(store)
    with pytest.raises(SessionStateError, match="metadata"):
        await call(store, "set_virtual_ref", "x/zarr.json", "s3://b/k", offset=0, length=4)
    for key, location in (("x/c/9", "s3://b/k"), ("x/c/0", "no location")):
        with pytest.raises(InvalidInputError):
            await call(store, "set_virtual_ref", key, location, offset=0, length=4)
    with pytest.raises(NodeNotFoundError):
        await call(store, "set_virtual_ref", "y/c/0", "s3://b/k", offset=0, length=4)
    store.set_read_only()
    with pytest.raises(ReadOnlyError):
        await call(store, "set_virtual_ref", "x/c/0", "s3://b/k", offset=0, length=4)


@pytest.mark.usefixtures("s3")
async def test_reading(readable: IcechunkStore) -> None:
    """The bytes of the referenced objects are the chunks, in several buckets, with the given options."""
    await storage_from_url("memory:bucket-one").put("dir/a", b"..." + (5).to_bytes(4, "little"))
    await storage_from_url("memory:bucket-two").put("b", (6).to_bytes(4, "little"))
    readable.set_virtual_ref("x/c/0", "s3://one/dir/a", offset=3, length=4)
    readable.set_virtual_ref("x/c/1", "s3://two/b", offset=0, length=4)
    assert values(readable) == [5, 6, 0, 0]
    readable.commit("virtual")
    assert values(pickle.loads(pickle.dumps(readable))) == [5, 6, 0, 0]
    assert {config.bucket for config in SEEN} == {"one", "two"}
    assert {(config.region, config.credentials) for config in SEEN} == {
        ("here", S3Credentials("id", "hidden-key"))
    }


@pytest.mark.usefixtures("s3")
async def test_an_object_that_is_gone(readable: IcechunkStore) -> None:
    """The error names key and location, not the credentials; it is not taken for a missing chunk."""
    readable.set_virtual_ref("x/c/2", "s3://gone/file.nc", offset=0, length=4)
    with pytest.raises(StorageError, match=r"reading 'x/c/2'.*'s3://gone/file\.nc'") as raised:
        await readable.get("x/c/2", PROTOTYPE)
    assert raised.value.kind == ErrorKind.VIRTUAL_CHUNK_FETCH
    assert "hidden-key" not in str(raised.value)
    with pytest.raises(StorageError, match=r"x/c/2.*s3://gone/file\.nc"):
        values(readable)
    with pytest.raises(StorageError, match=r"x/c/2.*s3://gone/file\.nc"):
        readable.get_sync("x/c/2")


@pytest.mark.usefixtures("s3")
async def test_an_object_that_is_too_short(readable: IcechunkStore) -> None:
    """So does the error for a ref that reaches past the end of its object."""
    await storage_from_url("memory:bucket-short").put("k", b"12")
    readable.set_virtual_ref("x/c/0", "s3://short/k", offset=0, length=4)
    with pytest.raises(StorageError, match=r"reading 'x/c/0'.*'s3://short/k'"):
        await readable.get("x/c/0", PROTOTYPE)


async def test_without_a_plugin(readable: IcechunkStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the SDK for ``s3://`` is missing, reading names key and location and says what to install."""
    monkeypatch.setitem(sys.modules, "aiobotocore", None)
    readable.set_virtual_ref("x/c/0", "s3://bucket/k", offset=0, length=4)
    with pytest.raises(StorageError, match=r"'x/c/0'.*'s3://bucket/k'.*icechunk-core\[s3\]") as raised:
        await readable.get("x/c/0", PROTOTYPE)
    assert "hidden-key" not in str(raised.value)


async def test_without_a_configuration(store: IcechunkStore) -> None:
    """A store without `VirtualRefConfig` reads nothing from elsewhere, and says what to pass."""
    make_array(store)
    store.set_virtual_ref("x/c/0", "s3://bucket/k", offset=0, length=4)
    with pytest.raises(InvalidInputError, match=r"'x/c/0'.*'s3://bucket/k'.*virtual_ref_config"):
        await store.get("x/c/0", PROTOTYPE)


def test_nothing_of_it_is_stored(readable: IcechunkStore, storage: StorageConfig) -> None:
    """Credentials and endpoints stay with the store: another one that opens the repository has none."""
    readable.commit("array")
    assert not Repository.open(storage.open()).config.virtual_chunk_containers
    other = IcechunkStore.open_existing(storage)
    assert "hidden-key" not in repr(other) + repr(readable) + repr(readable._session.context.config)
    assert other._session.context.open_schemes == {}
