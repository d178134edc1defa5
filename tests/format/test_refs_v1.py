"""Spec 1 ref files."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt
from icechunk_core.format import base32
from icechunk_core.format.refs_v1 import decode_ref, encode_ref
from tests.format.strategies import object_ids
from tests.vectors_support import SPEC_1_NAMES, load_vector


@given(object_ids)
def test_round_trip(id: bytes) -> None:
    """A pointer gives its id back."""
    assert decode_ref(encode_ref(id), name="ref") == id


def test_vectors() -> None:
    """Every pointer of the spec 1 vectors decodes, and is written byte for byte the same."""
    for vector in map(load_vector, SPEC_1_NAMES):
        for branch, tip in vector.expected["branches"].items():
            data = vector.read(f"refs/branch.{branch}/ref.json")
            assert base32.encode(decode_ref(data, name=branch)) == tip
            assert encode_ref(decode_ref(data, name=branch)) == data


def test_other_spellings() -> None:
    """White space, other keys and lower case do not matter."""
    assert decode_ref(b' {"x": 1,\n "snapshot": "000g40r40m30e209185g"} ', name="ref") == bytes(range(12))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"snapshot": 1}',
        b'{"snapshot": "x"}',
        b"\xff",
        b"[" * 50_000,
        b" " * 70_000,
    ],
)
def test_malformed(data: bytes) -> None:
    """Anything else is `Corrupt` and names the object."""
    with pytest.raises(Corrupt, match=r"refs/branch\.main"):
        decode_ref(data, name="refs/branch.main/ref.json")


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    """Whatever the bytes, the answer is an id or `Corrupt`."""
    with contextlib.suppress(Corrupt):
        assert len(decode_ref(data, name="ref")) == 12
