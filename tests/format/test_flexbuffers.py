"""FlexBuffers values."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt, FormatError
from icechunk_core.format import flexbuffers
from tests.format.json_values import json_values

EXAMPLES: list[tuple[Any, str]] = [
    (None, "00 00 01"),
    (True, "01 68 01"),
    (False, "00 68 01"),
    (0, "00 08 01"),
    (-5, "fb 04 01"),
    (2.5, "00 00 20 40 0e 04"),
    ("", "00 00 01 14 01"),
    ([], "00 00 28 01"),
    ({}, "00 00 01 00 00 24 01"),
    ([1, 2, 3], "01 02 03 03 50 01"),
    ([True, False], "02 01 00 02 90 01"),
    (["a", "b"], "01 61 00 01 62 00 02 06 04 14 14 04 28 01"),
]


@pytest.mark.parametrize(("value", "document"), EXAMPLES)
def test_examples(value: Any, document: str) -> None:
    """The examples of the format's description, byte for byte in both directions."""
    assert flexbuffers.encode(value).hex(" ") == document
    decoded = flexbuffers.decode(bytes.fromhex(document), name="x")
    assert decoded == value
    assert type(decoded) is type(value)


@given(json_values)
def test_round_trip(value: Any) -> None:
    """Every JSON value survives, numbers with their type."""
    decoded = flexbuffers.decode(flexbuffers.encode(value), name="x")
    assert decoded == value
    assert repr(decoded) == repr(_sorted_keys(value))


def _sorted_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted_keys(value[key]) for key in sorted(value, key=str.encode)}
    return [_sorted_keys(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("length", [1, 200, 300, 70_000])
def test_wide_offsets(length: int) -> None:
    """Values whose offsets need 1, 2 and 4 bytes survive."""
    value = {"a": "x" * length, "b": [{"c": "y" * length, "d": 1}, None, "z"], "e": -(2**40)}
    assert flexbuffers.decode(flexbuffers.encode(value), name="x") == value


def test_extremes() -> None:
    """The largest and smallest numbers survive, and floats keep all their digits."""
    value = [2**64 - 1, -(2**63), 1e300, -0.0, 0.1, 5e-324, 2.0**-126]
    decoded = flexbuffers.decode(flexbuffers.encode(value), name="x")
    assert [repr(item) for item in decoded] == [repr(item) for item in value]


@pytest.mark.parametrize(
    "value",
    [
        2**64,
        -(2**63) - 1,
        float("nan"),
        float("inf"),
        {1: "x"},
        {"a\0b": 1},
        object(),
        {"a": {1, 2}},
        "\ud800",
        {"\ud800": 1},
    ],
)
def test_values_that_cannot_be_written(value: Any) -> None:
    """What JSON or the format cannot hold is refused, not changed."""
    with pytest.raises(FormatError):
        flexbuffers.encode(value)


def test_depth_is_limited() -> None:
    """Nesting is written and read up to a limit, and refused beyond it."""
    value: Any = 1
    for _ in range(flexbuffers.MAX_DEPTH):
        value = [value, "x"]
    assert flexbuffers.decode(flexbuffers.encode(value), name="x") == value
    with pytest.raises(FormatError, match="deep"):
        flexbuffers.encode([value])


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ("05 01 18 01", 5),
        ("03 61 62 63 03 64 01", b"abc"),
        ("61 62 00 03 10 01", "ab"),
        ("00 00 00 00 00 00 f8 7f 0f 08", None),
    ],
)
def test_what_others_may_write(document: str, value: Any) -> None:
    """Indirect numbers, blobs, keys as values and numbers that JSON lacks are read."""
    data = bytes.fromhex(document)
    assert flexbuffers.decode(data, name="x") == value


@pytest.mark.parametrize(
    "document",
    [
        "",
        "00",
        "00 00",
        "00 00 03",
        "00 00 00",
        "05 14 01",  # offset before the start
        "00 28 01",  # vector that is its own content
        "ff 00 01 14 01",  # string longer than the document
        "ff ff ff ff 00 00 00 00 04 2a 04",  # vector of four billion items
        "00 00 00 24 01",  # map without keys
        "61 62 63 03 10 01",  # key without end
        "01 ff 00 02 14 01",  # no UTF-8
        "00 fc 01",  # unknown type
        "00 3c 0c 01",  # float of one byte
    ],
)
def test_malformed(document: str) -> None:
    """Offsets, lengths, types and text that do not fit are `Corrupt` and name the object."""
    with pytest.raises(Corrupt, match="config"):
        flexbuffers.decode(bytes.fromhex(document), name="config")


def test_cycles_and_sharing_are_refused() -> None:
    """A vector that contains itself, and one that doubles at each level, end in `Corrupt`."""
    cycle = bytes.fromhex("02 00 01 28 28 04 28 01")
    with pytest.raises(Corrupt):
        flexbuffers.decode(cycle, name="x")
    # Each vector holds the one before it 8 times.
    document = bytearray(b"\x00")
    target, kind = 0, 0
    for _ in range(20):
        document.append(8)
        position = len(document)
        for slot in range(8):
            document.append(position + slot - target if kind else 0)
        document += bytes([kind << 2]) * 8
        target, kind = position, 10
    document += bytes([len(document) - target, 10 << 2, 1])
    with pytest.raises(Corrupt, match="too often"):
        flexbuffers.decode(bytes(document), name="x")


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    """Whatever the bytes, the answer is a value or `Corrupt`."""
    with contextlib.suppress(Corrupt):
        flexbuffers.decode(data, name="x")


@given(json_values, st.data())
def test_damaged_documents(value: Any, data: st.DataObject) -> None:
    """Changing a byte of a document, or cutting it, gives a value or `Corrupt`."""
    document = bytearray(flexbuffers.encode(value))
    document[data.draw(st.integers(0, len(document) - 1))] = data.draw(st.integers(0, 255))
    for damaged in (bytes(document), bytes(document[data.draw(st.integers(0, len(document))) :])):
        with contextlib.suppress(Corrupt):
            flexbuffers.decode(damaged, name="x")
