"""Writing and deleting through the store, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from zarr.core.buffer import default_buffer_prototype

from icechunk_core.errors import (
    ErrorKind,
    InvalidInputError,
    NodeNotFoundError,
    ReadOnlyError,
    SessionStateError,
)
from icechunk_core.store import IcechunkStore
from tests.store.conftest import GROUP, array_json, buffer, collect
from tests.store.fake_session import FakeSession

PROTOTYPE = default_buffer_prototype()


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("nothing", b"x", ErrorKind.INVALID_KEY),
        ("g/.zarray", b"{}", ErrorKind.UNIMPLEMENTED),
        ("g/a/c/01/0", b"x", ErrorKind.INVALID_KEY),
        ("g/a/c/4294967296/0", b"x", ErrorKind.INVALID_CHUNK_INDEX),
        ("g/a/c/0/0", b"", ErrorKind.ZERO_LENGTH_CHUNK),
        ("g/scalar/c", b"", ErrorKind.ZERO_LENGTH_CHUNK),
        ("zarr.json", b"", ErrorKind.BAD_METADATA),
        ("g/a/c/3/0", b"x", ErrorKind.INVALID_CHUNK_INDEX),
        ("g/a/c/0", b"x", ErrorKind.INVALID_CHUNK_INDEX),
        ("g/c/0/0", b"x", ErrorKind.NOT_AN_ARRAY),
        ("g/a/c/zarr.json", GROUP, ErrorKind.INVALID_PATH),
        ("g/a/c/0/x/zarr.json", GROUP, ErrorKind.INVALID_PATH),
    ],
)
async def test_refused_writes(filled: IcechunkStore, key: str, value: bytes, kind: ErrorKind) -> None:
    """A write that the format cannot hold is refused with its reason, and changes nothing."""
    before = await collect(filled.list())
    for write in (filled.set, filled.set_if_not_exists):
        if write == filled.set_if_not_exists and key == "g/a/c/0/0":
            continue  # it exists, so nothing is written
        if write == filled.set_if_not_exists and key in ("g/scalar/c", "zarr.json"):
            continue
        with pytest.raises((InvalidInputError, SessionStateError)) as caught:
            await write(key, buffer(value))
        assert caught.value.kind == kind
    with pytest.raises((InvalidInputError, SessionStateError)):
        filled.set_sync(key, buffer(value))
    assert await collect(filled.list()) == before


async def test_chunk_of_a_missing_array(filled: IcechunkStore) -> None:
    """A chunk needs its array."""
    with pytest.raises(NodeNotFoundError):
        await filled.set("missing/c/0", buffer(b"x"))


async def test_value_must_be_a_buffer(filled: IcechunkStore) -> None:
    """Plain bytes are a TypeError, as in zarr's own stores."""
    with pytest.raises(TypeError, match="must be a Buffer instance"):
        await filled.set("g/a/c/0/0", b"x")  # type: ignore[arg-type]


async def test_nodes_named_c(store: IcechunkStore) -> None:
    """Groups and arrays may be named ``c`` wherever no array claims that name for its chunks."""
    await store.set("zarr.json", buffer(GROUP))
    await store.set("c/zarr.json", buffer(GROUP))
    await store.set("c/c/zarr.json", buffer(array_json((2,), (1,))))
    await store.set("c/c/c/1", buffer(b"x"))
    assert await collect(store.list()) == ["zarr.json", "c/zarr.json", "c/c/zarr.json", "c/c/c/1"]
    assert await collect(store.list_dir("c")) == ["zarr.json", "c"]
    assert await collect(store.list_dir("c/c")) == ["zarr.json", "c"]
    assert await collect(store.list_dir("c/c/c")) == ["1"]


async def test_set_if_not_exists(filled: IcechunkStore) -> None:
    """Only a key without a value is written."""
    await filled.set_if_not_exists("g/a/c/0/0", buffer(b"new"))
    await filled.set_if_not_exists("g/a/c/1/1", buffer(b"new"))
    assert (await filled.get("g/a/c/0/0", PROTOTYPE)).to_bytes() == b"g/a/c/0/0"  # type: ignore[union-attr]
    assert (await filled.get("g/a/c/1/1", PROTOTYPE)).to_bytes() == b"new"  # type: ignore[union-attr]


async def test_large_values_are_not_copied(session: FakeSession) -> None:
    """The session is handed a view of the caller's buffer, so that it decides on the one copy."""
    seen = []

    async def keep(path: str, coords: tuple[int, ...], data: memoryview) -> None:
        seen.append(data)

    session.write_chunk = keep  # type: ignore[assignment,method-assign]
    array = np.zeros(100, dtype="B")
    await IcechunkStore(session).set("a/c/0", PROTOTYPE.buffer.from_array_like(array))
    array[7] = 9
    assert seen[0][7] == 9


async def test_partial_writes(filled: IcechunkStore) -> None:
    """Parts of several values are replaced, in any order of positions; values grow at their end and begin."""
    await filled.set("g/a/c/0/0", buffer(b"0123456789"))
    await filled.set_partial_values(
        [
            ("g/a/c/0/0", 8, memoryview(b"xyz")),
            ("g/a/c/1/1", 2, bytearray(b"cd")),
            ("g/a/c/0/0", 1, b"ab"),
            ("g/a/c/1/1", 0, b"ab"),
            ("g/a/c/2/0", 0, b""),
        ]
    )
    values = [await filled.get(f"g/a/c/{at}", PROTOTYPE) for at in ("0/0", "1/1", "2/0")]
    assert [value and value.to_bytes() for value in values] == [b"0ab34567xyz", b"abcd", None]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([("g/a/c/0/1", 99, b"x")], "gap"),
        ([("g/a/c/0/1", -1, b"x")], "negative"),
        ([("g/a/c/0/1", 2, b"x"), ("g/a/c/0/1", 0, b"abc")], "overlap"),
    ],
)
async def test_refused_partial_writes(
    filled: IcechunkStore, parts: list[tuple[str, int, bytes]], reason: str
) -> None:
    """Gaps, overlaps and negative positions are refused with the key; nothing is written."""
    before = (await filled.get("g/a/c/0/0", PROTOTYPE)).to_bytes()  # type: ignore[union-attr]
    with pytest.raises(InvalidInputError, match=f"g/a/c/0/1.*{reason}") as raised:
        await filled.set_partial_values([("g/a/c/0/0", 0, b"new"), *parts])
    assert raised.value.kind == ErrorKind.INVALID_BYTE_RANGE
    assert (await filled.get("g/a/c/0/0", PROTOTYPE)).to_bytes() == before  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "key", ["nothing", ".zarray", "g/a/c/1/1", "missing/c/0", "missing/zarr.json", "g/c/1"]
)
async def test_deleting_nothing(filled: IcechunkStore, key: str) -> None:
    """Deleting a key without a value does nothing."""
    before = await collect(filled.list())
    await filled.delete(key)
    filled.delete_sync(key)
    assert await collect(filled.list()) == before


async def test_delete(filled: IcechunkStore) -> None:
    """Deleting a chunk's key deletes the chunk, a group's metadata the group and all below it."""
    await filled.delete("g/a/c/0/0")
    assert not await filled.exists("g/a/c/0/0")
    assert await filled.exists("g/a/c/0/1")
    filled.delete_sync("g/a/c/0/1")
    assert not await filled.exists("g/a/c/0/1")
    await filled.delete("g/zarr.json")
    assert await collect(filled.list()) == ["zarr.json", "gg/zarr.json"]


@pytest.mark.parametrize(
    "directory", ["g", "g/", "/g", "g/a", "g/a/c", "g/a/c/0", "g/c", "g/c/0", "g/scalar/c"]
)
async def test_delete_dir(filled: IcechunkStore, directory: str) -> None:
    """A directory is deleted with all keys below it, and nothing beside it."""
    stem = directory.strip("/") + "/"
    rest = [key for key in await collect(filled.list()) if not key.startswith(stem)]
    await filled.delete_dir(directory)
    assert await collect(filled.list()) == rest


async def test_delete_dir_costs_what_it_deletes(filled: IcechunkStore, session: FakeSession) -> None:
    """Deleting a group is one deletion, not one per key; deleting some chunks asks for those only."""
    session.calls.clear()
    await filled.delete_dir("g/a/c/0")
    assert [call for call in session.calls if call[0] == "chunk_coords"] == [("chunk_coords", "/g/a", (0,))]
    assert len([call for call in session.calls if call[0] == "delete_chunk"]) == 2
    session.calls.clear()
    await filled.delete_dir("g")
    assert [call for call in session.calls if call[0] != "nodes"] == [("delete_node", "/g")]


async def test_delete_dir_without_its_own_group(store: IcechunkStore) -> None:
    """Nodes below a directory that is no node itself are deleted, too."""
    await store.set("a/b/zarr.json", buffer(GROUP))
    await store.set("a/b/d/zarr.json", buffer(GROUP))
    await store.set("a/e/zarr.json", buffer(GROUP))
    await store.set("ab/zarr.json", buffer(GROUP))
    await store.delete_dir("a")
    assert await collect(store.list()) == ["ab/zarr.json"]


async def test_clear(filled: IcechunkStore, session: FakeSession) -> None:
    """``clear``, its blocking twin and deleting the root directory empty the session in one step."""
    for clear in (filled.clear, lambda: filled.delete_dir(""), lambda: filled.delete_dir("/")):
        await filled.set("zarr.json", buffer(GROUP))
        session.calls.clear()
        await clear()
        assert session.calls == [("clear",)]
    await filled.set("zarr.json", buffer(GROUP))
    filled.sync_clear()
    assert await filled.is_empty("")


async def test_read_only_store(session: FakeSession) -> None:
    """A read-only store refuses each way of writing before it looks at the arguments; reading works."""
    writer = IcechunkStore(session)
    await writer.set("zarr.json", buffer(GROUP))
    reader = writer.with_read_only(True)
    assert reader.read_only
    assert not writer.read_only
    assert reader.with_read_only(False).read_only is False
    for attempt in (
        lambda: reader.set("nothing", buffer(b"")),
        lambda: reader.set_if_not_exists("nothing", buffer(b"")),
        lambda: reader.delete("nothing"),
        lambda: reader.delete_dir("nothing"),
        reader.clear,
        lambda: reader.set_virtual_ref_async("nothing", "s3://b/k", offset=0, length=1),
        lambda: reader.set_virtual_refs_async("nothing", []),
    ):
        with pytest.raises(ReadOnlyError, match="read-only mode and does not support writing") as caught:
            await attempt()
        assert caught.value.kind == ErrorKind.READ_ONLY_STORE
    with pytest.raises(ReadOnlyError):
        reader.set_sync("zarr.json", buffer(GROUP))
    assert (await reader.get("zarr.json", PROTOTYPE)).to_bytes() == GROUP  # type: ignore[union-attr]


async def test_session_that_becomes_read_only(session: FakeSession) -> None:
    """When the session becomes read-only, so do its stores, whatever they were made with."""
    store = IcechunkStore(session, read_only=False)
    assert not store.read_only
    session.read_only = True
    assert store.read_only
    assert store.with_read_only(False).read_only
    with pytest.raises(ReadOnlyError):
        await store.set("zarr.json", buffer(GROUP))
