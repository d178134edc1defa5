"""Keys that the contract allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.contract.keys import check_key
from icechunk_core.errors import InvalidKey


@pytest.mark.parametrize(
    "key", ["a", "a/b", "ünï/码/🧊", "a b", "%2F", "..a", "a..", "...", ".hidden", "a\\b", "-"]
)
def test_allowed_keys(key: str) -> None:
    """Anything that is not explicitly forbidden is allowed and returned as it is."""
    assert check_key(key) is key


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "cannot be empty"),
        ("/", "empty segment"),
        ("/a", "empty segment"),
        ("a/", "empty segment"),
        ("a//b", "empty segment"),
        (".", "a segment '.'"),
        ("a/./b", "a segment '.'"),
        ("..", "a segment '..'"),
        ("a/..", "a segment '..'"),
        ("../a", "a segment '..'"),
        ("a\0b", "NUL"),
        ("a\ud800", "lone surrogate"),
        (b"a", "text, not bytes"),
        (None, "text, not NoneType"),
    ],
)
def test_forbidden_keys(key: Any, message: str) -> None:
    """Each forbidden key is InvalidKey and says what is wrong."""
    with pytest.raises(InvalidKey, match=message):
        check_key(key)


@given(st.text())
def test_any_text_is_allowed_or_invalid(text: str) -> None:
    """An allowed key encodes as UTF-8 and cannot climb out of a directory; others are InvalidKey."""
    try:
        check_key(text)
    except InvalidKey:
        return
    assert text.encode().decode() == text
    assert all(segment not in ("", ".", "..") for segment in text.split("/"))
