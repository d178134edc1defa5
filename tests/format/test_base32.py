"""Text form of ids."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import InvalidInputError
from icechunk_core.format import base32


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bytes.fromhex("0b1cc8d6787580f0e33a6534"), "1CECHNKREP0F1RSTCMT0"),
        (bytes(range(12)), "000G40R40M30E209185G"),
        (bytes(12), "0" * 20),
        (b"\xff" * 12, "Z" * 19 + "G"),
        (b"\xff" * 8, "Z" * 12 + "Y"),
    ],
)
def test_known_ids(data: bytes, text: str) -> None:
    """The examples of the format's description, in both directions."""
    assert base32.encode(data) == text
    assert base32.decode(text, len(data)) == data


@given(st.binary(min_size=12, max_size=12), st.binary(min_size=12, max_size=12))
def test_round_trip_and_order(one: bytes, other: bytes) -> None:
    """Every id survives, and texts sort as their bytes do."""
    assert base32.decode(base32.encode(one)) == one
    assert (one < other) == (base32.encode(one) < base32.encode(other))


@given(st.binary(min_size=8, max_size=8))
def test_node_ids_round_trip(data: bytes) -> None:
    """Eight byte ids survive as 13 characters."""
    assert base32.decode(base32.encode(data), 8) == data


@pytest.mark.parametrize("text", ["1cechnkrep0f1rstcmt0", "iceChnKrep0f1rStcmt0", "lCECHNKREPOFiRSTCMTF"])
def test_lenient_spellings(text: str) -> None:
    """Lower case, look-alike letters and spare bits are read as the id they resemble."""
    assert base32.decode(text) == bytes.fromhex("0b1cc8d6787580f0e33a6534")


@pytest.mark.parametrize(
    "text",
    ["", "1CECHNKREP0F1RSTCMT", "1CECHNKREP0F1RSTCMT00", "U" * 20, "!" * 20, "É" * 20, "ı" * 20, "a b" * 7],
)
def test_refused_texts(text: str) -> None:
    """Another length, or a character that is no digit, is refused with a stable kind."""
    with pytest.raises(InvalidInputError, match="invalid id") as caught:
        base32.decode(text)
    assert caught.value.kind == ErrorKind.INVALID_SNAPSHOT_ID


@given(st.text(max_size=25))
def test_any_text(text: str) -> None:
    """Whatever the text, the answer is an id or an `InvalidInputError`."""
    with contextlib.suppress(InvalidInputError):
        assert len(base32.decode(text)) == 12


@given(st.lists(st.binary(min_size=12, max_size=12), max_size=5))
def test_many_ids_at_once(ids: list[bytes]) -> None:
    """Many ids have the text that each has alone, whole or cut."""
    texts = [base32.encode(one) for one in ids]
    assert base32.encode_many(b"".join(ids)) == texts
    assert base32.encode_many(b"".join(ids), 8) == [text[:8] for text in texts]
