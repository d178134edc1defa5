"""Which arrays of one commit share a manifest."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.format.chunk_refs import ChunkRef, ChunkRefs, InlineRef, NativeRef, VirtualRef
from icechunk_core.format.snapshot import ManifestRef
from icechunk_core.transaction.manifest_sharing import (
    MAX_SHARED_REFS,
    SmallArray,
    is_small,
    shared_manifests,
)
from icechunk_core.transaction.manifests_plan import ArrayPlan, NewManifest
from tests.transaction.model import node_id, object_id


def plan(number: int = 1, path: str = "/a", kept: int = 0, new: int = 1) -> ArrayPlan:
    """A plan for an array of one dimension."""
    old = tuple(ManifestRef(object_id(n + 1), ((n, n + 1),)) for n in range(kept))
    return ArrayPlan(node_id(number), path, 1, old, (NewManifest(()),) * new)


def refs(count: int, ref: ChunkRef) -> ChunkRefs:
    return ChunkRefs.from_items(1, {(n,): ref for n in range(count)})


def native(length: int) -> NativeRef:
    return NativeRef(object_id(9), 0, length)


def test_small_arrays() -> None:
    """Few refs, to few bytes; virtual chunks may have any size, as they are in nobody's way."""
    assert is_small(plan(), [refs(256, native(4096))])
    assert not is_small(plan(), [refs(257, native(1))])
    assert not is_small(plan(), [refs(3, native(2 << 20))])
    assert is_small(plan(), [refs(3, VirtualRef("s3://b/k", 0, 1 << 40))])
    assert is_small(plan(), [refs(100, InlineRef(b"x" * 600))])
    assert not is_small(plan(), [refs(200, InlineRef(b"x" * 600))])


def test_split_arrays_are_alone() -> None:
    """Neither an array of several manifests, nor one that keeps some, nor one without any refs."""
    few = refs(2, native(10))
    assert not is_small(plan(new=2), [few, few])
    assert not is_small(plan(new=2), [few])
    assert not is_small(plan(kept=1), [few])
    assert not is_small(plan(), [])


@given(st.lists(st.tuples(st.integers(1, 256), st.integers(0, 200), st.booleans()), max_size=60))
def test_grouping(sizes: list[tuple[int, int, bool]]) -> None:
    """Each array is in one group; groups are bounded, new arrays apart, and no group could begin later."""
    arrays = [
        SmallArray(plan(number, f"/{number % 7}/{number}"), refs(count, InlineRef(b"x" * size)))
        for number, (count, size, _) in enumerate(sizes)
    ]
    created = frozenset(node_id(number) for number, (_, _, new) in enumerate(sizes) if new)
    groups = shared_manifests(arrays, created)
    ids = [array.plan.node_id for group in groups for array in group]
    assert sorted(ids) == sorted(array.plan.node_id for array in arrays)
    for group in groups:
        assert len({array.plan.node_id in created for array in group}) == 1
        assert sum(len(array.refs) for array in group) <= MAX_SHARED_REFS
        assert len(group) == 1 or sum(array.payload_bytes for array in group) <= 256 << 10
        assert [array.plan.path for array in group] == sorted(array.plan.path for array in group)
    for group, following in pairwise(groups):
        together = [*group, following[0]]
        if (group[0].plan.node_id in created) is (following[0].plan.node_id in created):
            assert (
                sum(len(array.refs) for array in together) > MAX_SHARED_REFS
                or sum(array.payload_bytes for array in together) > 256 << 10
            )
