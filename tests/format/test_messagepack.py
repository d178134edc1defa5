"""MessagePack values of spec 1."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt, FormatError
from icechunk_core.format import messagepack
from tests.format.json_values import json_values


@given(json_values)
def test_round_trip(value: Any) -> None:
    """Every JSON value survives."""
    assert messagepack.decode(messagepack.encode(value), name="x") == value


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (None, "c0"),
        (True, "c3"),
        (5, "05"),
        (-1, "ff"),
        (200, "cc c8"),
        (-200, "d1 ff 38"),
        (1.5, "cb 3f f8 00 00 00 00 00 00"),
        ({"b": 1, "a": [2]}, "82 a1 61 91 02 a1 62 01"),
    ],
)
def test_canonical_form(value: Any, document: str) -> None:
    """Shortest integers, 8-byte floats, sorted keys."""
    assert messagepack.encode(value).hex(" ") == document


@pytest.mark.parametrize("value", [2**64, float("nan"), {1: 2}, b"bytes", "\ud800", object()])
def test_values_that_cannot_be_written(value: Any) -> None:
    """What JSON cannot hold is refused."""
    with pytest.raises(FormatError):
        messagepack.encode(value)


def test_depth_is_limited() -> None:
    """Values nested too deep are neither written nor read."""
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    with pytest.raises(FormatError):
        messagepack.encode(deep)
    for depth in (400, 100_000):
        with pytest.raises(Corrupt):
            messagepack.decode(b"\x91" * depth + b"\x01", name="x")


@pytest.mark.parametrize(
    "document",
    [
        "",
        "c1",
        "91",
        "01 01",
        "dd ff ff ff ff",
        "df ff ff ff ff",
        "a2 ff ff",
        "81 01 02",
        "c4 01 00",
        "d6 ff 00 00 00 00",
    ],
)
def test_malformed(document: str) -> None:
    """Truncated, trailing, huge, binary and extension values are `Corrupt` and name the object."""
    with pytest.raises(Corrupt, match="snapshots/X"):
        messagepack.decode(bytes.fromhex(document), name="snapshots/X")


def test_nested_claims_of_length_allocate_nothing() -> None:
    """Lists that each claim to be as long as the document, one inside the other, are refused at once."""
    data = b"\xdd\x00\x0f\xff\xff" * 1000 + bytes(2**20)
    with pytest.raises(Corrupt):
        messagepack.decode(data[: 2**20], name="x")


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    """Whatever the bytes, the answer is a value or `Corrupt`."""
    with contextlib.suppress(Corrupt):
        messagepack.decode(data, name="x")
