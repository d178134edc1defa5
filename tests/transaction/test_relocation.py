"""Refs to bytes that were copied elsewhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.format.chunk_refs import ChunkRef, ChunkRefs, InlineRef, NativeRef, VirtualRef
from icechunk_core.transaction.relocation import Relocation

IDS = st.sampled_from([bytes(12), b"\x00" * 11 + b"\x01", b"\xff" * 12, b"a\x00" * 6, b"b" * 12])
NATIVE = st.builds(NativeRef, IDS, st.sampled_from([0, 1, 256, 1 << 40]), st.sampled_from([1, 256, 1000]))
OTHERS = st.sampled_from([InlineRef(b"x"), VirtualRef("s3://bucket/key", 0, 256)])
REFS = st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 5)), NATIVE | OTHERS, max_size=20)
FRESH = st.builds(NativeRef, st.binary(min_size=12, max_size=12), st.integers(0, 1 << 40), st.just(1))


@given(items=REFS, moved=st.dictionaries(NATIVE, FRESH, max_size=10))
def test_exactly_the_moved_refs_change(
    items: dict[tuple[int, ...], ChunkRef], moved: dict[NativeRef, NativeRef]
) -> None:
    """Parts in the table get their new place and keep their length; all else stays as it is."""
    moved = {old: NativeRef(new.chunk_id, new.offset, old.length) for old, new in moved.items()}
    table = Relocation(list(moved), list(moved.values()))
    before = ChunkRefs.from_items(2, items)
    after = table.applied(before)
    expected = {at: moved.get(ref, ref) if isinstance(ref, NativeRef) else ref for at, ref in items.items()}
    assert after == ChunkRefs.from_items(2, expected)
    assert table.concerns(before) == any(ref in moved for ref in items.values())
    assert (after is before) == (not table.concerns(before))
    assert before == ChunkRefs.from_items(2, items)
    assert len(table) == len(moved)
