"""Listing by prefix and by directory."""

from __future__ import annotations

import pytest

from icechunk_core.store import IcechunkStore
from tests.store.conftest import GROUP, array_json, buffer, collect
from tests.store.fake_session import FakeSession

ALL = [
    "zarr.json",
    "g/zarr.json",
    "g/a/zarr.json",
    "g/a/c/0/0",
    "g/a/c/0/1",
    "g/a/c/2/1",
    "g/c/zarr.json",
    "g/c/0/zarr.json",
    "g/c/0/c/1",
    "g/scalar/zarr.json",
    "g/scalar/c",
    "gg/zarr.json",
]


async def test_list(filled: IcechunkStore) -> None:
    """All keys, each once: metadata, chunks, and the chunk of a 0-d array."""
    assert await collect(filled.list()) == ALL


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "g",
        "g/",
        "gg",
        "g/a",
        "g/a/",
        "g/a/c",
        "g/a/c/",
        "g/a/c/0",
        "g/a/c/0/",
        "g/a/c/2/1",
        "g/s",
        "x",
        "g/c/0",
    ],
)
async def test_list_prefix(filled: IcechunkStore, prefix: str) -> None:
    """The keys that begin with a prefix, taken as a string."""
    assert sorted(await collect(filled.list_prefix(prefix))) == sorted(k for k in ALL if k.startswith(prefix))


@pytest.mark.parametrize(
    "directory",
    ["", "/", "g", "g/", "/g", "g/a", "g/a/c", "g/a/c/0", "g/a/c/1", "g/a/c/2/1", "g/c", "g/c/0", "g/c/0/c",
     "g/scalar", "g/scalar/c", "gg", "x", "g/a/zarr.json", "g/a/c/01", "a//b", "../x"],
)  # fmt: skip
async def test_list_dir(filled: IcechunkStore, directory: str) -> None:
    """The distinct names that follow a directory, as a plain store of keys would have them."""
    stem = directory.strip("/")
    stem = stem + "/" if stem else ""
    expected = {key[len(stem) :].partition("/")[0] for key in ALL if key.startswith(stem)}
    got = await collect(filled.list_dir(directory))
    assert sorted(got) == sorted(expected)
    assert await filled.is_empty(directory) == (not expected)


async def test_list_dir_of_a_group_asks_for_its_children_only(
    filled: IcechunkStore, session: FakeSession
) -> None:
    """Listing a group neither walks its subtree nor looks at chunks of its arrays."""
    session.calls.clear()
    assert sorted(await collect(filled.list_dir("g"))) == ["a", "c", "scalar", "zarr.json"]
    assert session.calls == [("children", "/g")]


async def test_list_dir_of_an_array_takes_one_batch(session: FakeSession) -> None:
    """To show that an array has chunks, the first batch of coordinates is enough."""
    store = IcechunkStore(session)
    await store.set("a/zarr.json", buffer(array_json((100,), (1,))))
    for at in range(50):
        await store.set(f"a/c/{at}", buffer(b"x"))
    taken = 0
    chunk_coords = session.chunk_coords

    async def counting(path: str, prefix: tuple[int, ...] = ()):  # type: ignore[no-untyped-def]
        nonlocal taken
        async for batch in chunk_coords(path, prefix):
            taken += 1
            yield batch

    session.chunk_coords = counting  # type: ignore[method-assign]
    assert sorted(await collect(store.list_dir("a"))) == ["c", "zarr.json"]
    assert taken == 1
    assert not await store.is_empty("a/c")
    assert taken == 2


async def test_directories_without_a_group(store: IcechunkStore) -> None:
    """Nodes whose parent is missing are found under their path, in listings of keys and of that path."""
    await store.set("a/b/zarr.json", buffer(GROUP))
    assert await collect(store.list_dir("a")) == ["b"]
    assert await collect(store.list_prefix("a")) == ["a/b/zarr.json"]
    assert await collect(store.list()) == ["a/b/zarr.json"]
    assert not await store.is_empty("a")


async def test_chunks_outside_the_grid_are_not_listed(filled: IcechunkStore) -> None:
    """After an array was made smaller, chunks beyond its grid are not shown."""
    await filled.set("g/a/zarr.json", buffer(array_json((2, 4), (2, 2))))
    assert await collect(filled.list_dir("g/a/c")) == ["0"]
    assert "g/a/c/2/1" not in await collect(filled.list())


async def test_listing_may_stop_early(filled: IcechunkStore) -> None:
    """An iteration that is left early can be closed and leaves nothing behind."""
    for listing in (filled.list(), filled.list_prefix("g"), filled.list_dir("g")):
        assert await anext(listing)
        await listing.aclose()  # type: ignore[attr-defined]
