"""Keys and file names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.contract.errors import InvalidKey
from icechunk_filesystem._paths import KeyCodec, encode_segment
from tests.backends.filesystem.support import keys_of, open_at, read

POSIX = KeyCodec(windows=False)
WINDOWS = KeyCodec(windows=True)

segments = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text not in (".", "..")
)


def test_encodes_what_the_format_says() -> None:
    """Exactly the characters of FORMAT.md, section 2 (and control characters) become %XX."""
    printable = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "/")
    encoded = "".join(char for char in printable if encode_segment(char) != char)
    assert sorted(encoded) == sorted('"#%*<>?[\\]^{|}~`')
    assert POSIX.path("refs/tag.étiquette/ref.json") == "refs/tag.%C3%A9tiquette/ref.json"
    assert POSIX.path("a\n\x7f") == "a%0A%7F"


def test_leaves_the_keys_of_the_format_alone() -> None:
    """The keys that Icechunk uses are their own paths."""
    for key in (
        "repo",
        "config.yaml",
        "chunks/MQ21M6ENMAXQBHM551R0",
        "overwritten/repo.30708258566743.MQ21M6ENMAXQBHM551R0",
        "refs/branch.main/ref.json",
        "refs/tag.v1 (final)!$&'()+,-.:;=@_/ref.json.deleted",
    ):
        assert POSIX.path(key) == key


@given(st.lists(segments, min_size=1, max_size=4))
def test_a_path_leads_back_to_its_key(parts: list[str]) -> None:
    """File names decode to the segments they were made from, on every system that can hold them."""
    key = "/".join(parts)
    try:
        path = POSIX.path(key)
    except InvalidKey:
        assert parts[0].casefold() == ".icechunk-core"
        return
    assert path.isascii()
    assert [POSIX.segment(name) for name in path.split("/")] == parts


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1))
def test_a_file_name_stands_for_one_segment_or_none(name: str) -> None:
    """A name that decodes encodes to itself, so that no listed key leads to another file."""
    segment = POSIX.segment(name)
    assert segment is None or encode_segment(segment) == name


@pytest.mark.parametrize("name", ["é", "a%2fb", "a%2Fb", "a%41", "%", "%C3", "a~b", "%00", "x\udcff"])
def test_foreign_file_names_stand_for_no_key(name: str) -> None:
    """Names that no key maps to are not listed under a key that would not find them."""
    assert POSIX.segment(name) is None


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "../../etc/passwd", "a\0b", "\ud800"]
)
def test_refuses_keys_that_the_contract_forbids(key: str) -> None:
    """No key is empty, leads upwards or is not text."""
    with pytest.raises(InvalidKey):
        POSIX.path(key)


@pytest.mark.parametrize("key", [".icechunk-core", ".icechunk-core/locks/00.lock", ".Icechunk-CORE/x"])
def test_refuses_the_hidden_directory(key: str) -> None:
    """The bookkeeping cannot be read or overwritten through a key, whatever the case."""
    with pytest.raises(InvalidKey, match="reserved"):
        POSIX.path(key)


def test_allows_the_hidden_name_deeper_down() -> None:
    """Only the first segment is reserved."""
    assert POSIX.path("a/.icechunk-core") == "a/.icechunk-core"


@pytest.mark.parametrize(
    "key",
    [
        "a:b",
        "C:/x",
        "x/file:stream",
        "a.",
        "a ",
        "a./b",
        "con",
        "x/NUL",
        "aux.json",
        "Com1",
        "lpt9.x",
        "nul .a",
    ],
)
def test_refuses_what_windows_would_change(key: str) -> None:
    """On Windows, device names, streams and trailing dots and spaces are errors, not other files."""
    with pytest.raises(InvalidKey, match="Windows"):
        WINDOWS.path(key)
    assert POSIX.path(key) == key


@pytest.mark.parametrize("key", ["a\\b", "..\\x", "\\\\host\\share"])
def test_a_backslash_is_no_separator(key: str) -> None:
    """Backslashes are encoded, on Windows too."""
    assert "\\" not in WINDOWS.path(key)
    assert "/" not in WINDOWS.path(key)


def test_windows_takes_ordinary_keys() -> None:
    """The keys of the format are fine on Windows."""
    for key in ("repo", "chunks/MQ21M6ENMAXQBHM551R0", "refs/branch.main/ref.json", "console/comma"):
        assert WINDOWS.path(key) == key


def test_verbatim_names(root: Path) -> None:
    """Files that other programs named are found under their names, and keys never leave the root."""
    names = ["a%20b.nc", "größe/wind.nc", "plain.nc", "{x}~.nc"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    storage = open_at(root, verbatim=True)
    assert keys_of(storage) == sorted(names)
    assert keys_of(storage, "größe/w") == ["größe/wind.nc"]
    assert [read(storage, name) for name in names] == [name.encode() for name in names]
    for key in ("../secret", "größe/../../secret", ".icechunk-core/x"):
        with pytest.raises(InvalidKey):
            read(storage, key)
