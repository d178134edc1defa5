"""zarr's own store tests, on a session in dictionaries and on memory and filesystem repositories.

They run unchanged except for the overrides below. Every override has one of these reasons:

* **keys**: zarr's test writes under a key that is neither ``zarr.json`` nor a chunk key, or
  under a chunk key without an array for it. The format stores nodes and chunks, not
  arbitrary keys; the override states the same law for keys of the format.
* **values**: zarr's test writes bytes that are no metadata document as ``zarr.json``, or an
  empty chunk. The format refuses both.
* **pickling**: zarr's test pickles a writable store, which is refused by intention.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, cpu, default_buffer_prototype
from zarr.core.sync import _collect_aiterator, sync
from zarr.storage._utils import _normalize_byte_range_index
from zarr.testing.store import StoreTests
from zarr.testing.utils import assert_bytes_equal

from icechunk_core.errors import InvalidInputError
from icechunk_core.store import IcechunkStore, StoreSession
from icechunk_core.store.keys import metadata_key, parse_key
from tests.store.conftest import array_json
from tests.store.fake_session import FakeSession
from tests.store.repositories import filesystem_repository, memory_repository

PROTOTYPE = default_buffer_prototype()
DATA = b"\x01\x02\x03\x04"
CHUNKS = ["c/0", "foo/c/0", "foo/bar/c/0/0", "scalar/c"]
RANGES = [None, RangeByteRequest(1, 4), OffsetByteRequest(1), SuffixByteRequest(1)]


def document(ndim: int = 1, name: str = "") -> bytes:
    """Metadata of an array of ten chunks per dimension."""
    attributes = json.loads(array_json((10,) * ndim, (1,) * ndim))
    extra = {"data_type": "uint8", "fill_value": 0, "attributes": {"name": name}}
    return json.dumps({**attributes, **extra}).encode()


def buffer(data: bytes) -> Buffer:
    return cpu.Buffer.from_bytes(data)


class FormatStoreTests(StoreTests[IcechunkStore, cpu.Buffer]):
    """`StoreTests` with the keys and values that the format has."""

    store_cls = IcechunkStore
    buffer_cls = cpu.Buffer

    @pytest.fixture
    def state(self) -> StoreSession:
        """An empty writable session."""
        raise AssertionError("each subclass has its own")

    @pytest.fixture
    def store_kwargs(self, state: StoreSession) -> dict[str, Any]:
        return {"store": state}

    @pytest.fixture
    async def store_not_open(self, store_kwargs: dict[str, Any]) -> IcechunkStore:
        """With an array at the root, for the chunks that the tests write."""
        await store_kwargs["store"].write_metadata("/", document())
        return self.store_cls(**store_kwargs)

    async def set(self, store: IcechunkStore, key: str, value: Buffer) -> None:
        """Write behind the store's back: a document for metadata keys, and arrays for chunks as needed."""
        path, coords = parse_key(key)
        session = store._session
        if await session.get_node(path) is None:
            await session.write_metadata(path, document(1 if coords is None else len(coords)))
        if coords is not None:
            await session.write_chunk(path, coords, value.to_bytes())

    async def get(self, store: IcechunkStore, key: str) -> Buffer:
        """Read behind the store's back."""
        path, coords = parse_key(key)
        if coords is None:
            data: Any = await store._session.read_metadata(path)
        else:
            data = await store._session.read_chunk(path, coords, None)
        assert data is not None
        return buffer(data)

    async def prepare(self, store: IcechunkStore, *keys: str) -> dict[str, bytes]:
        """Values for these keys, with the arrays made that the chunks among them need."""
        values = {}
        for key in keys:
            path, coords = parse_key(key)
            values[key] = document(name=key) if coords is None else key.encode()
            if coords is not None and metadata_key(path) not in keys:
                await store._session.write_metadata(path, document(len(coords)))
        return values

    async def write(self, store: IcechunkStore, *keys: str) -> dict[str, bytes]:
        """Write values under these keys through the store."""
        values = await self.prepare(store, *keys)
        for key in sorted(keys, key=lambda key: not key.endswith("zarr.json")):
            await store.set(key, buffer(values[key]))
        return values

    # --- what `StoreTests` leaves to its users

    def test_store_repr(self, store: IcechunkStore) -> None:
        """The text names the class."""
        assert "IcechunkStore" in repr(store)

    def test_store_supports_writes(self, store: IcechunkStore) -> None:
        """Stores support writes."""
        assert store.supports_writes

    def test_store_supports_listing(self, store: IcechunkStore) -> None:
        """Stores support listing."""
        assert store.supports_listing

    # --- overrides: pickling

    async def test_serializable_store(self, store: IcechunkStore) -> None:
        """A writable store says to fork; the copy of a read-only one shows the same values. (pickling)"""
        with pytest.raises(InvalidInputError, match="fork"):
            pickle.dumps(store)

    # --- overrides: keys and values

    async def test_with_read_only_store(self, open_kwargs: dict[str, Any]) -> None:
        """A read-only store has a writable twin on the same session, and the other way round. (keys)"""
        store = await self.store_cls.open(**{**open_kwargs, "read_only": True})
        writer = store.with_read_only(read_only=False)
        assert not writer._is_open
        assert not writer.read_only
        await writer.set("foo/zarr.json", buffer(document()))
        assert await store.exists("foo/zarr.json")
        for reader in (store, writer.with_read_only(read_only=True)):
            assert reader.read_only
            with pytest.raises(ValueError, match="store was opened in read-only mode"):
                await reader.set("foo/zarr.json", buffer(document()))
            with pytest.raises(ValueError, match="store was opened in read-only mode"):
                await reader.delete("foo/zarr.json")
        await writer.delete("foo/zarr.json")
        assert not await store.exists("foo/zarr.json")

    @pytest.mark.parametrize("key", CHUNKS)
    @pytest.mark.parametrize("byte_range", RANGES)
    @pytest.mark.parametrize("data", [DATA])
    async def test_get(self, store: IcechunkStore, key: str, data: bytes, byte_range: ByteRequest) -> None:
        """Values and parts of them are read. (keys, values)"""
        await super().test_get(store, key, data, byte_range)

    async def test_get_many(self, store: IcechunkStore) -> None:
        """Several values are read by one call. (keys)"""
        keys = [f"c/{at}" for at in range(10)]
        for key in keys:
            await self.set(store, key, buffer(key.encode()))
        got = await _collect_aiterator(store._get_many([(key, PROTOTYPE, None) for key in keys]))
        assert {key: value.to_bytes() for key, value in got if value} == {k: k.encode() for k in keys}

    @pytest.mark.parametrize("key", CHUNKS)
    @pytest.mark.parametrize("data", [DATA])
    async def test_getsize(self, store: IcechunkStore, key: str, data: bytes) -> None:
        """Sizes of values. (keys, values)"""
        await super().test_getsize(store, key, data)

    async def test_getsize_prefix(self, store: IcechunkStore) -> None:
        """The size of a directory counts what is in it, not what is beside it. (keys)"""
        keys = ["a/c/0/0", "a/c/0/1", "a/c/1/0", "a/c/1/1"]
        await self.write(store, *keys, "aa/c/0")
        assert await store.getsize_prefix("a/c") == sum(map(len, keys))
        assert await store.getsize_prefix("a") == sum(map(len, keys)) + len(document(2))

    @pytest.mark.parametrize("key", [*CHUNKS, "zarr.json"])
    @pytest.mark.parametrize("data", [DATA])
    async def test_set(self, store: IcechunkStore, key: str, data: bytes) -> None:
        """Values are written. (keys, values)"""
        values = await self.write(store, key)
        assert (await self.get(store, key)).to_bytes() == values[key]

    async def test_set_many(self, store: IcechunkStore) -> None:
        """Several values are written by one call. (keys, values)"""
        values = await self.prepare(store, "zarr.json", "bar/zarr.json", "foo/c/0", "foo/c/1")
        await store._set_many([(key, buffer(value)) for key, value in values.items()])
        for key, value in values.items():
            assert (await self.get(store, key)).to_bytes() == value

    async def test_exists(self, store: IcechunkStore) -> None:
        """A key exists once it is written, also the synchronous way. (values)"""
        assert not await store.exists("foo")
        assert not await store.exists("foo/zarr.json")
        await self.write(store, "foo/zarr.json")
        assert await store.exists("foo/zarr.json")
        assert not await store.exists("foo")

    async def test_delete(self, store: IcechunkStore) -> None:
        """A deleted key does not exist. (values)"""
        await self.write(store, "foo/zarr.json", "foo/c/0")
        await store.delete("foo/c/0")
        assert not await store.exists("foo/c/0")
        await store.delete("foo/zarr.json")
        assert not await store.exists("foo/zarr.json")

    async def test_delete_dir(self, store: IcechunkStore) -> None:
        """A directory is deleted with what is in it and nothing beside it. (values)"""
        await self.write(store, "zarr.json", "foo-bar/zarr.json", "foo/zarr.json", "foo/c/0")
        await store.delete_dir("foo")
        assert sorted(await _collect_aiterator(store.list())) == ["foo-bar/zarr.json", "zarr.json"]

    async def test_is_empty(self, store: IcechunkStore) -> None:
        """Directories are empty unless keys are in them; a common beginning is not enough. (keys)"""
        assert await store.is_empty("")
        await self.set(store, "foo/bar/c/0", buffer(DATA))
        assert not await store.is_empty("")
        assert await store.is_empty("fo")
        assert not await store.is_empty("foo/")
        assert not await store.is_empty("foo")
        assert not await store.is_empty("foo/bar/c")
        assert await store.is_empty("spam/")

    async def test_clear(self, store: IcechunkStore) -> None:
        """A cleared store is empty. (keys)"""
        await self.set(store, "foo/c/0", buffer(DATA))
        await store.clear()
        assert await store.is_empty("")

    async def test_list(self, store: IcechunkStore) -> None:
        """All keys are listed. (values)"""
        assert await _collect_aiterator(store.list()) == ()
        values = await self.write(store, "foo/zarr.json", *(f"foo/c/{at}" for at in range(10)))
        assert sorted(await _collect_aiterator(store.list())) == sorted(values)

    async def test_list_prefix(self, store: IcechunkStore) -> None:
        """The keys that begin with a prefix are listed. (values)"""
        keys = ["zarr.json", "a/zarr.json", "a/b/zarr.json", "a/b/c/zarr.json", "ab/zarr.json"]
        for key in keys:
            await store.set(key, buffer(b'{"zarr_format": 3, "node_type": "group"}'))
        for prefix in ("", "a", "a/", "a/b/", "a/b/c/"):
            observed = await _collect_aiterator(store.list_prefix(prefix))
            assert sorted(observed) == sorted(key for key in keys if key.startswith(prefix))

    async def test_list_empty_path(self, store: IcechunkStore) -> None:
        """An empty prefix lists all, and keys come back whole. (values)"""
        values = await self.write(
            store, "foo/bar/zarr.json", "foo/bar/c/1", "foo/baz/zarr.json", "foo/baz/c/0"
        )
        assert sorted(await _collect_aiterator(store.list())) == sorted(values)
        assert sorted(await _collect_aiterator(store.list_prefix(""))) == sorted(values)
        below = await _collect_aiterator(store.list_prefix("foo/bar/"))
        assert sorted(below) == ["foo/bar/c/1", "foo/bar/zarr.json"]

    async def test_list_dir(self, store: IcechunkStore) -> None:
        """The names in a directory are listed, with and without a slash at its end. (keys, values)"""
        assert await _collect_aiterator(store.list_dir("")) == ()
        assert await _collect_aiterator(store.list_dir("foo")) == ()
        await self.write(store, "foo/zarr.json", "foo/c/1")
        await store.set("bar/first/zarr.json", buffer(document()))
        await store.set("bar/second/third/zarr.json", buffer(document()))
        for directory, names in [
            ("", ["foo"]),
            ("foo", ["c", "zarr.json"]),
            ("bar", ["first"]),
            ("bar/second", ["third"]),
            ("foo/c", ["1"]),
        ]:
            assert sorted(await _collect_aiterator(store.list_dir(directory))) == names
            assert sorted(await _collect_aiterator(store.list_dir(f"{directory}/"))) == names

    async def test_set_if_not_exists(self, store: IcechunkStore) -> None:
        """Only a missing key is written. (keys)"""
        await self.set(store, "c/0", buffer(b"0000"))
        await store.set_if_not_exists("c/0", buffer(b"1111"))
        await store.set_if_not_exists("c/1", buffer(b"1111"))
        assert (await self.get(store, "c/0")).to_bytes() == b"0000"
        assert (await self.get(store, "c/1")).to_bytes() == b"1111"

    def test_get_sync(self, store: IcechunkStore) -> None:
        """What is stored is read synchronously. (keys)"""
        sync(self.set(store, "foo/c/0", buffer(DATA)))
        value = store.get_sync("foo/c/0")
        assert value is not None
        assert_bytes_equal(value, buffer(DATA))

    def test_set_sync(self, store: IcechunkStore) -> None:
        """What is written synchronously is stored. (keys)"""
        sync(self.prepare(store, "foo/c/0"))
        store.set_sync("foo/c/0", buffer(DATA))
        assert_bytes_equal(sync(self.get(store, "foo/c/0")), buffer(DATA))

    def test_delete_sync(self, store: IcechunkStore) -> None:
        """What is deleted synchronously is gone. (keys)"""
        sync(self.set(store, "foo/c/0", buffer(DATA)))
        store.delete_sync("foo/c/0")
        assert store.get_sync("foo/c/0") is None

    @pytest.mark.parametrize("direction", ["set_async_get_sync", "set_sync_get_async"])
    async def test_sync_async_set_get_parity(self, store: IcechunkStore, direction: str) -> None:
        """Synchronous and asynchronous methods see the same values. (keys)"""
        await self.prepare(store, "foo/c/0")
        if direction == "set_async_get_sync":
            await store.set("foo/c/0", buffer(DATA))
            value = store.get_sync("foo/c/0")
        else:
            store.set_sync("foo/c/0", buffer(DATA))
            value = await store.get("foo/c/0", PROTOTYPE)
        assert value is not None
        assert_bytes_equal(value, buffer(DATA))

    async def test_delete_sync_visible_to_async_get(self, store: IcechunkStore) -> None:
        """A synchronous deletion is seen asynchronously. (keys)"""
        await self.set(store, "foo/c/0", buffer(DATA))
        store.delete_sync("foo/c/0")
        assert await store.get("foo/c/0", PROTOTYPE) is None

    @pytest.mark.parametrize("byte_range", [*RANGES, RangeByteRequest(10, 20), OffsetByteRequest(4)])
    async def test_get_sync_byte_range_parity(
        self, store: IcechunkStore, byte_range: ByteRequest | None
    ) -> None:
        """Ranges give the same both ways, and the same as in zarr's MemoryStore. (keys)"""
        await self.set(store, "foo/c/0", buffer(DATA))
        start, stop = _normalize_byte_range_index(buffer(DATA), byte_range)
        sync_value = store.get_sync("foo/c/0", byte_range=byte_range)
        async_value = await store.get("foo/c/0", PROTOTYPE, byte_range)
        assert sync_value is not None
        assert async_value is not None
        assert sync_value.to_bytes() == async_value.to_bytes() == DATA[start:stop]

    if hasattr(Store, "_get_bytes"):  # helpers that zarr 3.1 has

        async def test_get_bytes(self, store: IcechunkStore) -> None:
            """Bytes of a value; a missing key is a FileNotFoundError. (values)"""
            await self.set(store, "c/0", buffer(DATA))
            assert await store._get_bytes("c/0", prototype=PROTOTYPE) == DATA
            with pytest.raises(FileNotFoundError):
                await store._get_bytes("nonexistent_key", prototype=PROTOTYPE)

        def test_get_bytes_sync(self, store: IcechunkStore) -> None:
            """Bytes of a value, blocking. (values)"""
            sync(self.set(store, "c/0", buffer(DATA)))
            assert store._get_bytes_sync("c/0", prototype=PROTOTYPE) == DATA

        async def test_get_json(self, store: IcechunkStore) -> None:
            """A document as JSON. (values)"""
            await self.write(store, "zarr.json")
            expected = json.loads(document(name="zarr.json"))
            assert await store._get_json("zarr.json", prototype=PROTOTYPE) == expected

        def test_get_json_sync(self, store: IcechunkStore) -> None:
            """A document as JSON, blocking. (values)"""
            sync(self.write(store, "zarr.json"))
            expected = json.loads(document(name="zarr.json"))
            assert store._get_json_sync("zarr.json", prototype=PROTOTYPE) == expected


class TestFakeSession(FormatStoreTests):
    """The store alone."""

    @pytest.fixture
    def state(self) -> StoreSession:
        return FakeSession()  # type: ignore[return-value]


class TestMemoryRepository(FormatStoreTests):
    """A repository in memory."""

    @pytest.fixture
    def state(self) -> StoreSession:
        return memory_repository().writable_session("main").store._session


class TestFilesystemRepository(FormatStoreTests):
    """A repository in a local directory."""

    @pytest.fixture
    def state(self, tmp_path: Path) -> StoreSession:
        return filesystem_repository(tmp_path / "repository").writable_session("main").store._session
