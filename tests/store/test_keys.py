"""Keys: one reading each, and a reason for each that has none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import ErrorKind, InvalidInputError
from icechunk_core.store.keys import (
    chunk_key,
    metadata_key,
    normalize_directory,
    parse_chunk_directory,
    parse_key,
)

segments = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1).filter(
    lambda text: text not in (".", "..")
)
paths = st.lists(st.one_of(segments, st.sampled_from(["c", "0", "zarr.json"])), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
coordinates = st.lists(st.integers(0, 2**32 - 1), max_size=4).map(tuple)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("zarr.json", ("/", None)),
        ("a/zarr.json", ("/a", None)),
        ("a/b c/é/zarr.json", ("/a/b c/é", None)),
        ("c/zarr.json", ("/c", None)),
        ("c/0/zarr.json", ("/c/0", None)),
        ("c", ("/", ())),
        ("c/0", ("/", (0,))),
        ("c/0/0", ("/", (0, 0))),
        ("a/c", ("/a", ())),
        ("a/c/1/22/333", ("/a", (1, 22, 333))),
        ("a/c/4294967295", ("/a", (4294967295,))),
        ("c/c/0", ("/c", (0,))),
        ("a/c/0/c/1", ("/a/c/0", (1,))),
        ("a/c/0/c", ("/a/c/0", ())),
        ("/a/c/0", ("/a", (0,))),
        ("/zarr.json", ("/", None)),
    ],
)
def test_reading_of_keys(key: str, expected: tuple[str, tuple[int, ...] | None]) -> None:
    """Each form of key of FORMAT.md, section 10, is read as written there, also with awkward node names."""
    assert parse_key(key) == expected


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "a",
        "a/",
        "a/c/",
        "a/c/0/",
        "a/c//0",
        "a/c/01",
        "a/c/00",
        "a/c/-1",
        "a/c/+1",
        "a/c/1_0",
        "a/c/1.0",
        "a/c/ 1",
        "a/c/1 ",
        "a/c/1\n",
        "a/c/0x1",
        "a/c/١",  # ARABIC-INDIC DIGIT ONE
        "a/c/²",
        "a/c/1e3",
        "a/0/0",
        "a/0.0",
        "a/c.0.0",
        "zarr.jsonx",
        "a/Zarr.json",
        "a//zarr.json",
        "//zarr.json",
        "a/./zarr.json",
        "../zarr.json",
        "a/../zarr.json",
        "a\ud800/zarr.json",
    ],
)
def test_malformed_keys(key: str) -> None:
    """Keys that name no node and no chunk are refused with their reason, not read as something near."""
    with pytest.raises(InvalidInputError, match="invalid key") as caught:
        parse_key(key)
    assert caught.value.kind == ErrorKind.INVALID_KEY


@pytest.mark.parametrize("name", [".zarray", ".zgroup", ".zattrs", ".zmetadata", "a/.zarray", "c/0/.zattrs"])
def test_keys_of_zarr_2(name: str) -> None:
    """Metadata keys of zarr format 2 are refused with a message that names the format."""
    with pytest.raises(InvalidInputError, match="zarr format 2"):
        parse_key(name)


@pytest.mark.parametrize("number", ["4294967296", "99999999999999999999999", "9" * 5000])
def test_coordinates_beyond_32_bits(number: str) -> None:
    """A coordinate that manifests cannot hold is an invalid chunk index, however long it is."""
    with pytest.raises(InvalidInputError, match="32 bits") as caught:
        parse_key(f"a/c/{number}")
    assert caught.value.kind == ErrorKind.INVALID_CHUNK_INDEX


@given(path=paths, coords=coordinates)
def test_chunk_keys_round_trip(path: str, coords: tuple[int, ...]) -> None:
    """The key made for a chunk is read back as that chunk, whatever the nodes are called."""
    assert parse_key(chunk_key(path, coords)) == (path, coords)


@given(path=paths)
def test_metadata_keys_round_trip(path: str) -> None:
    """The key made for a node's metadata is read back as that node, whatever it is called."""
    assert parse_key(metadata_key(path)) == (path, None)


@given(key=st.text(st.sampled_from("c/0129zarr.json -+_.é"), max_size=20))
def test_every_key_has_one_spelling(key: str) -> None:
    """A text that is accepted is the one spelling of what it names, but for one leading slash."""
    try:
        path, coords = parse_key(key)
    except InvalidInputError:
        return
    if coords is None:
        assert metadata_key(path) == key.removeprefix("/")
    else:
        assert chunk_key(path, coords) == key.removeprefix("/")


def test_messages_are_short() -> None:
    """A very long key does not flood the message."""
    with pytest.raises(InvalidInputError) as caught:
        parse_key("x" * 100_000)
    assert len(str(caught.value)) < 500


def test_directories() -> None:
    """Directories lose their outer slashes; those under a ``c`` tell array and leading coordinates."""
    assert normalize_directory("") == normalize_directory("/") == ""
    assert normalize_directory("/a/b/") == "a/b"
    assert parse_chunk_directory("a/c/1/2") == ("/a", (1, 2))
    assert parse_chunk_directory("a/c") == ("/a", ())
    assert parse_chunk_directory("a/b") is None
    assert parse_chunk_directory("a/zarr.json") is None
    assert parse_chunk_directory("") is None
