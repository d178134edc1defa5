"""Which manifest answers for a chunk, and when its refs answer by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk_core.assets.later import LATER
from icechunk_core.drive import run_direct
from icechunk_core.format.chunk_refs import ChunkRefs, NativeRef
from icechunk_core.format.manifest import Manifest
from icechunk_core.format.snapshot import ArrayData, ManifestRef, NodeSnapshot
from icechunk_core.session.chunk_reader import ArrayRefs, valid_coords

NODE = b"a node.."

bounds = st.tuples(st.integers(0, 6), st.integers(0, 7))
grids = st.lists(st.integers(0, 6), min_size=0, max_size=3).map(tuple)


class Assets:
    """Manifests in a dictionary."""

    def __init__(self, manifests: dict[bytes, Manifest]) -> None:
        self.manifests = manifests

    async def manifest(self, manifest_id: bytes, size_bytes: int) -> Manifest:
        return self.manifests[manifest_id]


class AnySnapshot:
    """Lists every manifest."""

    id = bytes(12)

    def manifest_file(self, manifest_id: bytes) -> Any:
        return type("File", (), {"size_bytes": 1})


def everything(ndim: int, number: int) -> ChunkRefs:
    """A ref at each coordinate up to 7, whose offset is the number of its manifest."""
    coords = np.indices((8,) * ndim, dtype=np.uint32).reshape(ndim, 8**ndim).T
    rows = len(coords)
    return ChunkRefs.native(coords, np.zeros((rows, 12), np.uint8), np.full(rows, number), np.ones(rows))


@given(grids, st.lists(st.lists(bounds, max_size=3), max_size=14), st.data())
@settings(max_examples=120, deadline=None)
def test_the_first_manifest_that_contains_a_chunk_answers(
    num_chunks: tuple[int, ...], extents: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    """Few and many manifests, with overlapping extents and extents of fewer dimensions."""
    ndim = len(num_chunks)
    extents = [each[:ndim] for each in extents]
    ids = [number.to_bytes(12, "big") for number in range(len(extents))]
    manifests = {id: Manifest(id, {NODE: everything(ndim, n)}) for n, id in enumerate(ids)}
    refs = tuple(ManifestRef(id, tuple(each)) for id, each in zip(ids, extents, strict=True))
    node = NodeSnapshot(NODE, "/x", b"", ArrayData(num_chunks, num_chunks, None, refs))
    array = ArrayRefs(node, AnySnapshot(), Assets(manifests))  # type: ignore[arg-type]
    for _ in range(12):
        coords = data.draw(st.tuples(*[st.integers(0, 7)] * ndim))
        assert array.holds(coords) is valid_coords(num_chunks, coords)
        if not array.holds(coords):
            assert array.at_hand(coords) in (None, LATER)
            continue
        inside = [
            number
            for number, each in enumerate(extents)
            if all(start <= index < end for index, (start, end) in zip(coords, each, strict=False))
        ]
        expected = NativeRef(bytes(12), inside[0], 1) if inside else None
        assert array.at_hand(coords) in (expected, LATER)
        assert run_direct(array.get(coords)) == expected
        assert array.at_hand(coords) == expected


def test_refs_outside_of_the_grid_are_not_at_hand() -> None:
    """An array that was made smaller does not show the chunks that it had, although their refs are there."""
    manifest = Manifest(bytes(12), {NODE: everything(2, 5)})
    whole = ManifestRef(manifest.id, ((0, 8), (0, 8)))
    node = NodeSnapshot(NODE, "/x", b"", ArrayData((3, 8), (3, 8), None, (whole,)))
    array = ArrayRefs(node, AnySnapshot(), Assets({manifest.id: manifest}))  # type: ignore[arg-type]
    assert run_direct(array.get((2, 7))) == NativeRef(bytes(12), 5, 1)
    assert array.at_hand((2, 7)) == NativeRef(bytes(12), 5, 1)
    assert array.at_hand((3, 0)) is None
    assert array.at_hand((2,)) is None
