"""The methods of a zarr store, on stores with version control."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, cpu, default_buffer_prototype

from icechunk_core import IcechunkStore, InvalidInputError, ReadOnlyError, StorageConfig
from tests.classic.helpers import make_array, values, write_chunk

PROTOTYPE = default_buffer_prototype()


def buffer(data: bytes) -> Buffer:
    """A zarr buffer."""
    return cpu.Buffer.from_bytes(data)


async def read(store: IcechunkStore, key: str, *args: Any) -> bytes | None:
    """The bytes under a key."""
    value = await store.get(key, PROTOTYPE, *args)
    return None if value is None else value.to_bytes()


@pytest.fixture
def filled(store: IcechunkStore) -> IcechunkStore:
    """A group with an array of which two chunks are there, partly committed."""
    zarr.create_group(store)
    make_array(store)
    write_chunk(store, "x/c/0", b"0123")
    store.commit("filled")
    write_chunk(store, "x/c/2", b"ab")
    return store


async def test_get(filled: IcechunkStore) -> None:
    """Values, parts of them, and ``None`` for every key that has none."""
    assert await read(filled, "x/c/0") == b"0123"
    assert await read(filled, "x/c/0", RangeByteRequest(1, 3)) == b"12"
    assert await read(filled, "x/c/0", OffsetByteRequest(2)) == b"23"
    assert await read(filled, "x/c/0", SuffixByteRequest(1)) == b"3"
    for missing in ("x/c/1", "x/c/9", "y/zarr.json", "y/c/0", "nothing", ""):
        assert await read(filled, missing) is None


async def test_exists(filled: IcechunkStore) -> None:
    """True for metadata and chunks that are there, committed or not."""
    for key in ("zarr.json", "x/zarr.json", "x/c/0", "x/c/2"):
        assert await filled.exists(key)
    for key in ("x/c/1", "y/zarr.json", "nothing"):
        assert not await filled.exists(key)


async def test_get_partial_values(filled: IcechunkStore) -> None:
    """Pairs of start and length, or zarr's requests; in the order asked, ``None`` for missing keys."""
    asked: list[tuple[str, Any]] = [
        ("x/c/0", (1, 2)),
        ("x/c/1", (0, 1)),
        ("x/c/2", (1, None)),
        ("x/c/0", (None, 1)),
        ("x/c/0", (None, None)),
        ("x/c/0", SuffixByteRequest(2)),
        ("x/c/0", None),
    ]
    got = await filled.get_partial_values(PROTOTYPE, iter(asked))
    assert [value and value.to_bytes() for value in got] == [b"12", None, b"b", b"0", b"0123", b"23", b"0123"]


async def test_set_and_delete(filled: IcechunkStore) -> None:
    """Values are replaced and removed; deleting what is not there does nothing."""
    await filled.set("x/c/0", buffer(b"new"))
    assert await read(filled, "x/c/0") == b"new"
    await filled.delete("x/c/0")
    await filled.delete("x/c/1")
    assert await read(filled, "x/c/0") is None
    await filled.delete("x/zarr.json")
    assert not await filled.exists("x/c/2")


async def test_set_if_not_exists(filled: IcechunkStore) -> None:
    """A value that is there stays."""
    await filled.set_if_not_exists("x/c/0", buffer(b"other"))
    await filled.set_if_not_exists("x/c/1", buffer(b"other"))
    assert (await read(filled, "x/c/0"), await read(filled, "x/c/1")) == (b"0123", b"other")


async def test_set_partial_values(filled: IcechunkStore) -> None:
    """Parts of values are replaced from their positions on; overlapping ones are refused."""
    await filled.set_partial_values([("x/c/0", 3, b"XY"), ("x/c/0", 0, b"A"), ("x/c/3", 0, b"new")])
    assert (await read(filled, "x/c/0"), await read(filled, "x/c/3")) == (b"A12XY", b"new")
    with pytest.raises(InvalidInputError, match="overlap"):
        await filled.set_partial_values([("x/c/0", 0, b"AB"), ("x/c/0", 1, b"C")])


async def test_list(filled: IcechunkStore) -> None:
    """All keys, keys with a prefix, and the names in a directory."""
    keys = ["x/c/0", "x/c/2", "x/zarr.json", "zarr.json"]
    assert sorted([key async for key in filled.list()]) == keys
    assert sorted([key async for key in filled.list_prefix("")]) == keys
    assert sorted([key async for key in filled.list_prefix("x/c/")]) == keys[:2]
    assert sorted([name async for name in filled.list_dir("")]) == ["x", "zarr.json"]
    assert sorted([name async for name in filled.list_dir("x")]) == ["c", "zarr.json"]
    assert sorted([name async for name in filled.list_dir("x/c")]) == ["0", "2"]
    assert [name async for name in filled.list_dir("nothing")] == []


async def test_is_empty(filled: IcechunkStore) -> None:
    """Whether there is something below a prefix."""
    assert not await filled.is_empty("")
    assert not await filled.is_empty("x/c")
    assert await filled.is_empty("y")
    await filled.clear()
    assert await filled.is_empty("")


@pytest.mark.parametrize("form", ["clear", "sync_clear"])
async def test_clear(filled: IcechunkStore, form: str) -> None:
    """Everything is gone from the session and, once committed, from the branch, never from the history."""
    before = filled.snapshot_id
    if form == "clear":
        await filled.clear()
    else:
        filled.sync_clear()
    assert [key async for key in filled.list()] == []
    assert filled.snapshot_id == before
    assert len(filled.ancestry()) == 2
    filled.commit("cleared")
    assert [key async for key in filled.list()] == []
    filled.checkout(snapshot_id=before)
    assert await read(filled, "x/c/0") == b"0123"


async def test_clear_can_be_reset(filled: IcechunkStore) -> None:
    """Resetting after clearing brings back what was committed."""
    await filled.clear()
    filled.reset()
    assert await read(filled, "x/c/0") == b"0123"


def test_supports(filled: IcechunkStore) -> None:
    """Writes and listing are supported, read-only or not; writing parts in place is not."""
    for store in (filled, filled.as_read_only()):
        assert store.supports_writes is True
        assert store.supports_listing is True
        assert store.supports_partial_writes is False
        assert store.supports_deletes is True


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.set("x/c/0", buffer(b"n")),
        lambda store: store.set_if_not_exists("x/c/1", buffer(b"n")),
        lambda store: store.set_partial_values([("x/c/0", 0, b"n")]),
        lambda store: store.delete("x/c/0"),
        lambda store: store.delete_dir("x"),
        lambda store: store.clear(),
        lambda store: store.async_set_virtual_ref("x/c/0", "s3://b/k", offset=0, length=1),
    ],
    ids=["set", "set_if_not_exists", "set_partial_values", "delete", "delete_dir", "clear", "virtual"],
)
async def test_read_only_stores_refuse(filled: IcechunkStore, act: Callable[[IcechunkStore], Any]) -> None:
    """Each way of writing is refused, says how to allow it, and changes nothing."""
    filled.set_read_only()
    before = filled.change_set_bytes()
    with pytest.raises(ReadOnlyError, match="set_writeable"):
        await act(filled)
    assert filled.change_set_bytes() == before


def test_a_storage_that_suspends(directory: StorageConfig) -> None:
    """Blocking methods and zarr work as well where requests run beside the caller."""
    root = directory._options["root"]
    store = IcechunkStore.create({"scheme": "file", "root": root, "threaded": True})
    assert store._may_suspend
    make_array(store)
    snapshot = store.commit("array")
    zarr.open_array(store, path="x", mode="r+")[:] = np.arange(4)
    store.merge(store.reset())
    store.commit("values")
    assert values(IcechunkStore.open_existing(directory)) == [0, 1, 2, 3]
    store.checkout(snapshot_id=snapshot)
    assert values(store) == [0, 0, 0, 0]
    assert len(store.ancestry()) == 2
