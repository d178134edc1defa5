"""Reading through the store: values, parts of values, sizes, and keys that name nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from icechunk_core.contract import Buffer, ByteRange
from icechunk_core.errors import ErrorKind, InvalidInputError, InvalidRange, StorageError
from icechunk_core.store import IcechunkStore
from tests.store.conftest import GROUP, buffer
from tests.store.fake_session import FakeSession

PROTOTYPE = default_buffer_prototype()
NOWHERE = ["nothing", "", "g/c/0/0", "g/.zarray", ".zgroup", "g/a/c/01/0", "g/a/c/1/1", "g/a/c/0", "x/c/0"]


async def read(store: IcechunkStore, key: str, byte_range: object = None) -> bytes | None:
    value = await store.get(key, PROTOTYPE, byte_range)  # type: ignore[arg-type]
    return None if value is None else value.to_bytes()


async def test_values(filled: IcechunkStore) -> None:
    """Metadata comes back verbatim, chunks of any dimension with their bytes."""
    assert await read(filled, "zarr.json") == GROUP
    assert await read(filled, "g/c/zarr.json") == GROUP
    for key in ("g/a/c/0/1", "g/scalar/c", "g/c/0/c/1"):
        assert await read(filled, key) == key.encode()
        assert await read(filled, "/" + key) == key.encode()


@pytest.mark.parametrize("key", NOWHERE)
async def test_keys_that_name_nothing(filled: IcechunkStore, key: str) -> None:
    """A key without a value, possible or not, is not found: ``None``, ``False``, FileNotFoundError."""
    assert await read(filled, key) is None
    assert filled.get_sync(key) is None
    assert await filled.exists(key) is False
    with pytest.raises(FileNotFoundError):
        await filled.getsize(key)


@pytest.mark.parametrize("key", ["g/a/c/0/1", "zarr.json"])
@pytest.mark.parametrize(
    ("request_", "part"),
    [
        (RangeByteRequest(1, 4), slice(1, 4)),
        (RangeByteRequest(2, 10_000), slice(2, None)),
        (OffsetByteRequest(0), slice(0, None)),
        (OffsetByteRequest(3), slice(3, None)),
        (SuffixByteRequest(2), slice(-2, None)),
        (SuffixByteRequest(10_000), slice(0, None)),
        (RangeByteRequest(0, 0), slice(0, 0)),
        (RangeByteRequest(3, 3), slice(0, 0)),
        (RangeByteRequest(1000, 2000), slice(0, 0)),
        (OffsetByteRequest(1000), slice(0, 0)),
        (SuffixByteRequest(0), slice(0, 0)),
    ],
)
async def test_parts(filled: IcechunkStore, key: str, request_: object, part: slice) -> None:
    """Ranges are clamped to the value, and one without a byte of it is empty; metadata is no exception."""
    whole = await read(filled, key)
    assert whole is not None
    assert await read(filled, key, request_) == whole[part]
    sync_value = filled.get_sync(key, byte_range=request_)  # type: ignore[arg-type]
    assert sync_value is not None
    assert sync_value.to_bytes() == whole[part]


async def test_range_at_the_exact_end(filled: IcechunkStore) -> None:
    """A range that starts at the last byte has one byte, one that starts behind it has none."""
    size = await filled.getsize("g/a/c/0/0")
    assert await read(filled, "g/a/c/0/0", OffsetByteRequest(size - 1)) == b"0"
    assert await read(filled, "g/a/c/0/0", OffsetByteRequest(size)) == b""


@pytest.mark.parametrize("key", ["g/a/c/0/0", "zarr.json"])
@pytest.mark.parametrize(
    "request_",
    [
        (0, 2),
        "bytes=0-2",
        RangeByteRequest(-1, 2),
        RangeByteRequest(4, 2),
        OffsetByteRequest(-1),
        SuffixByteRequest(-1),
    ],
)
async def test_ranges_that_are_refused(filled: IcechunkStore, key: str, request_: object) -> None:
    """What is no byte request, is negative or reversed is an error that names it, never other bytes."""
    with pytest.raises(InvalidInputError, match="Unexpected byte_range, got") as caught:
        await read(filled, key, request_)
    assert caught.value.kind == ErrorKind.INVALID_BYTE_RANGE


async def test_range_of_a_missing_chunk(filled: IcechunkStore) -> None:
    """A part of a chunk that does not exist is ``None``, also where the range holds nothing."""
    assert await read(filled, "g/a/c/1/1", RangeByteRequest(0, 2)) is None
    assert await read(filled, "g/a/c/1/1", RangeByteRequest(0, 0)) is None


async def test_short_objects_are_not_hidden() -> None:
    """If the session cannot read a range that the chunk's length allows, the error comes through."""

    class Truncated(FakeSession):
        async def read_chunk(
            self, path: str, coords: tuple[int, ...], byte_range: ByteRange
        ) -> Buffer | None:
            raise InvalidRange("object has 3 bytes")

        async def chunk_size(self, path: str, coords: tuple[int, ...]) -> int | None:
            return 100

    store = IcechunkStore(Truncated())
    with pytest.raises(InvalidRange, match="3 bytes"):
        await read(store, "a/c/0", RangeByteRequest(50, 60))


async def test_partial_values(filled: IcechunkStore) -> None:
    """Several reads, from any iterable, come back in the order asked; ``None`` for what is missing."""
    asked = [
        ("g/a/c/0/1", RangeByteRequest(0, 3)),
        ("nothing", None),
        ("g/a/c/0/1", None),
        ("zarr.json", SuffixByteRequest(1)),
    ]
    got = await filled.get_partial_values(PROTOTYPE, (pair for pair in asked))
    assert [None if value is None else value.to_bytes() for value in got] == [
        b"g/a",
        None,
        b"g/a/c/0/1",
        b"}",
    ]


@pytest.mark.parametrize(
    ("pair", "part"),
    [
        ((0, None), slice(None)),
        ((None, None), slice(None)),
        ((2, None), slice(2, None)),
        ((2, 3), slice(2, 5)),
        ((None, 4), slice(4)),
        ((2, 1_000), slice(2, None)),
        ((3, 0), slice(0, 0)),
    ],
)
@pytest.mark.parametrize("key", ["g/a/c/0/1", "zarr.json"])
async def test_pairs_as_ranges(
    filled: IcechunkStore, key: str, pair: tuple[int | None, int | None], part: slice
) -> None:
    """A pair is start and length; ``None`` is the beginning, or everything that follows."""
    whole = (await filled.get(key, PROTOTYPE)).to_bytes()  # type: ignore[union-attr]
    (value,) = await filled.get_partial_values(PROTOTYPE, [(key, pair)])
    assert value is not None
    assert value.to_bytes() == whole[part]


@pytest.mark.parametrize("pair", [(-1, 2), (0, -2), (1, 2, 3), ("0", 1)])
async def test_pairs_that_are_no_ranges(filled: IcechunkStore, pair: Any) -> None:
    """Negative numbers, other lengths and other types are refused."""
    with pytest.raises(InvalidInputError, match="byte_range") as raised:
        await filled.get_partial_values(PROTOTYPE, [("g/a/c/0/1", pair)])
    assert raised.value.kind == ErrorKind.INVALID_BYTE_RANGE


async def test_errors_name_the_key(session: FakeSession) -> None:
    """What fails below the store comes up with the key and is otherwise the same error, also blocking."""
    failure = StorageError("the object is gone", key="chunks/1", kind=ErrorKind.VIRTUAL_CHUNK_FETCH)

    async def fail(*_: Any) -> None:
        raise failure

    session.read_chunk = fail  # type: ignore[assignment,method-assign]
    store = IcechunkStore(session)
    for _ in range(2):
        with pytest.raises(StorageError, match=r"^reading 'a/c/0': the object is gone$") as raised:
            await store.get("a/c/0", PROTOTYPE)
        assert (raised.value.kind, raised.value.key) == (failure.kind, "chunks/1")
    with pytest.raises(StorageError, match=r"^reading 'a/c/0': the object is gone$"):
        store.get_sync("a/c/0")


async def test_so_many_values_are_read_at_once() -> None:
    """As many as the session says are read at a time, no more, in the order asked."""

    class Counting(FakeSession):
        reading = most = 0

        async def read_chunk(self, path: str, coords: tuple[int, ...], byte_range: ByteRange = None) -> bytes:
            self.reading += 1
            self.most = max(self.most, self.reading)
            for _ in range(10):  # lets every read begin that may
                await asyncio.sleep(0)
            self.reading -= 1
            return b"%d" % coords

    for limit in (1, 3):
        session = Counting(may_suspend=True)
        session.read_concurrency = limit
        asked: list[tuple[str, None]] = [(f"a/c/{at}", None) for at in range(8)]
        values = await IcechunkStore(session).get_partial_values(PROTOTYPE, asked)
        assert [value and value.to_bytes() for value in values] == [b"%d" % at for at in range(8)]
        assert session.most == limit


async def test_sizes(filled: IcechunkStore) -> None:
    """Sizes are those of the values; of a directory, of all below it and of nothing beside it."""
    assert await filled.getsize("g/a/c/0/1") == len("g/a/c/0/1")
    assert await filled.getsize("g/zarr.json") == len(GROUP)
    for directory in ("", "/", "g", "g/", "g/a", "g/a/c", "g/a/c/0", "g/c", "gg", "g/scalar", "nothing"):
        stem = directory.strip("/")
        keys = [key async for key in filled.list() if not stem or key.startswith(stem + "/")]
        assert await filled.getsize_prefix(directory) == sum([await filled.getsize(key) for key in keys])
    assert await filled.getsize_prefix("g/a/c/0") == len("g/a/c/0/0") + len("g/a/c/0/1")


async def test_sizes_read_no_chunks(session: FakeSession) -> None:
    """Sizes and existence come from refs: no chunk is read for them."""
    store = IcechunkStore(session)
    await store.set("zarr.json", buffer(GROUP))

    async def refuse(*args: object) -> None:
        raise AssertionError("a chunk was read")

    session.read_chunk = refuse  # type: ignore[assignment]
    assert await store.getsize_prefix("") == len(GROUP)
    assert not await store.exists("a/c/0")


async def test_get_ranges(filled: IcechunkStore) -> None:
    """Where zarr has ``get_ranges``, each asked range comes back under its position."""
    if not hasattr(filled, "get_ranges"):
        pytest.skip("this zarr has no get_ranges")
    asked = [RangeByteRequest(0, 1), SuffixByteRequest(1), None, RangeByteRequest(2, 3)]
    got = {}
    async for group in filled.get_ranges("g/a/c/0/1", asked, prototype=PROTOTYPE):
        got.update({at: value.to_bytes() for at, value in group if value is not None})
    assert got == {0: b"g", 1: b"1", 2: b"g/a/c/0/1", 3: b"a"}
    sync_got = filled.get_ranges_sync("g/a/c/0/1", asked, prototype=PROTOTYPE)
    assert {at: value.to_bytes() for at, value in sync_got if value is not None} == got
