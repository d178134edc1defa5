"""Manifests of many small arrays, which are read together."""

from __future__ import annotations

from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt
from icechunk_core.format.chunk_refs import ChunkRef, ChunkRefs, InlineRef, NativeRef, VirtualRef
from icechunk_core.format.manifest import Manifest, decode_manifest, encode_manifest

ID = b"manifest-id-"
Items: TypeAlias = dict[tuple[int, ...], ChunkRef]

numbers = st.integers(0, 1 << 40)
refs: st.SearchStrategy[ChunkRef] = st.one_of(
    st.builds(NativeRef, st.binary(min_size=12, max_size=12), numbers, numbers),
    st.builds(InlineRef, st.binary(min_size=1, max_size=40)),
    st.builds(
        VirtualRef,
        st.sampled_from(["s3://b/1", "s3://b/two"]),
        numbers,
        numbers,
        st.sampled_from([None, "e"]),
    ),
)


def items(ndim: int) -> st.SearchStrategy[Items]:
    index = st.one_of(st.integers(0, 5), st.integers(0, (1 << 32) - 1))
    return st.dictionaries(st.tuples(*[index] * ndim), refs, max_size=4)


arrays = st.dictionaries(
    st.binary(min_size=8, max_size=8),
    st.integers(0, 3).flatmap(lambda ndim: items(ndim).map(lambda found: (ndim, found))),
    max_size=12,
)


@settings(deadline=None, max_examples=40)
@given(arrays, st.sampled_from([1, 2]))
def test_round_trip(
    found: dict[bytes, tuple[int, dict[tuple[int, ...], ChunkRef]]], spec_version: int
) -> None:
    """Each array has its own refs again, whatever kinds and dimensions the others have."""
    given_arrays = {node: ChunkRefs.from_items(ndim, own) for node, (ndim, own) in found.items()}
    data = encode_manifest(Manifest(ID, given_arrays), spec_version=spec_version)
    decoded = decode_manifest(data, name="m").arrays
    assert list(decoded) == sorted(given_arrays)
    assert all(dict(decoded[node].items()) == own for node, (_, own) in found.items())
    assert all(
        (decoded[node].payloads is None) == all(isinstance(ref, NativeRef) for ref in own.values())
        for node, (_, own) in found.items()
    )


def _with_rows(order: list[int]) -> bytes:
    """A manifest of three arrays, the second of which has its three refs in this order."""
    whole = ChunkRefs.from_items(1, {(n,): NativeRef(bytes([n]) * 12, n, 5) for n in range(3)})
    wrong = ChunkRefs(whole.columns.rows(order))
    return encode_manifest(Manifest(ID, {b"1" * 8: whole, b"2" * 8: wrong, b"3" * 8: whole}), spec_version=2)


def test_refs_in_the_wrong_order_are_sorted() -> None:
    """Only the order within each array counts."""
    decoded = decode_manifest(_with_rows([2, 0, 1]), name="m").arrays
    assert decoded[b"1" * 8] == decoded[b"2" * 8] == decoded[b"3" * 8]
    assert decoded[b"2" * 8].get((1,)) == NativeRef(b"\x01" * 12, 1, 5)


def test_two_refs_for_one_chunk() -> None:
    """It is damage in whichever array it is."""
    with pytest.raises(Corrupt, match="two refs for one chunk"):
        decode_manifest(_with_rows([0, 1, 1]), name="m")
