"""Hypothesis strategies for the values of metadata files."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from icechunk_core.format.manifest import ChunkRef, ChunkRefs, InlineRef, Manifest, NativeRef, VirtualRef
from icechunk_core.format.snapshot import (
    ArrayData,
    ManifestFileInfo,
    ManifestRef,
    NodeSnapshot,
    NodeTable,
    Snapshot,
)

object_ids = st.binary(min_size=12, max_size=12)
node_ids = st.binary(min_size=8, max_size=8)
u32 = st.integers(0, 2**32 - 1)
texts = st.text(st.characters(codec="utf-8"), max_size=12)
times = st.integers(0, 4_000_000_000_000_000)

inline_refs = st.builds(InlineRef, st.binary(max_size=30))
native_refs = st.builds(NativeRef, object_ids, st.integers(0, 2**62), st.integers(1, 2**40))
virtual_refs = st.builds(
    VirtualRef,
    st.builds("s3://bucket/{}".format, texts) | st.integers(1, 1500).map(lambda size: "äx/" * size),
    st.integers(0, 2**62),
    st.integers(1, 2**40),
    st.none() | texts,
    st.none() | st.integers(1, 2**32 - 1),
)
chunk_refs = inline_refs | native_refs | virtual_refs


def coordinates(ndim: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Small indices, so that they collide, and now and then large ones."""
    index = st.integers(0, 5) | st.integers(0, 5) | st.integers(0, 5) | u32
    return st.tuples(*[index] * ndim)


def ref_mappings(ndim: int, max_size: int = 20) -> st.SearchStrategy[dict[tuple[int, ...], ChunkRef]]:
    return st.dictionaries(coordinates(ndim), chunk_refs, max_size=max_size)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    arrays = {}
    for node_id in draw(st.sets(node_ids, max_size=4)):
        ndim = draw(st.sampled_from([0, 1, 2, 3, 20]))
        arrays[node_id] = ChunkRefs.from_items(ndim, draw(ref_mappings(ndim)))
    return Manifest(draw(object_ids), arrays)


@st.composite
def arrays(draw: st.DrawFn) -> ArrayData:
    ndim = draw(st.integers(0, 4))
    # Lengths that num_chunks chunks can cover, so that spec 1 can say the same.
    counts = draw(st.lists(st.integers(0, 50), min_size=ndim, max_size=ndim))
    sizes = draw(st.lists(st.integers(1, 2**30), min_size=ndim, max_size=ndim))
    names = draw(st.none() | st.lists(st.none() | texts.filter(bool), min_size=ndim, max_size=ndim))
    ranges = st.tuples(u32, u32)
    refs = st.builds(ManifestRef, object_ids, st.lists(ranges, min_size=ndim, max_size=ndim).map(tuple))
    return ArrayData(
        tuple(count * size for count, size in zip(counts, sizes, strict=True)),
        tuple(counts),
        None if names is None else tuple(names),
        tuple(draw(st.lists(refs, max_size=3))),
    )


paths = st.lists(texts.filter(lambda text: text not in ("", ".", "..")), max_size=4).map(
    lambda parts: "/" + "/".join(part.replace("/", "-") for part in parts)
)
nodes = st.builds(NodeSnapshot, node_ids, paths, st.binary(max_size=40), st.none() | arrays())
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts.map(lambda t: t.replace("\0", "")), inner, max_size=4)
    ),
    max_leaves=8,
)
snapshots = st.builds(
    Snapshot,
    object_ids,
    st.none() | object_ids,
    times,
    texts,
    st.dictionaries(texts, json_values, max_size=3),
    st.lists(st.builds(ManifestFileInfo, object_ids, st.integers(0, 2**63), u32), unique_by=lambda i: i.id),
    st.lists(nodes, max_size=6).map(NodeTable.from_nodes),
)
