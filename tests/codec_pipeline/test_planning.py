"""Looking up many chunks at once, and planning what to fetch for them."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from icechunk_core.assets.spans import chunk_spans
from icechunk_core.format.chunk_refs import ChunkRefs

CHUNKS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 400), st.integers(1, 40)), min_size=1, max_size=40
)


@settings(max_examples=60)
@given(chunks=CHUNKS, over_read=st.integers(0, 100), largest=st.integers(1, 200))
@example(chunks=[(0, 0, 8), (0, 2, 3), (0, 9, 1)], over_read=0, largest=10)
def test_spans(chunks: list[tuple[int, int, int]], over_read: int, largest: int) -> None:
    """Each chunk is where its span says, once; no span wastes or fetches more than it may."""
    names = np.zeros((len(chunks), 12), dtype=np.uint8)
    names[:, 11] = [name for name, _, _ in chunks]
    starts = np.array([start for _, start, _ in chunks])
    lengths = np.array([length for _, _, length in chunks])
    rows = [10 * number for number in range(len(chunks))]
    spans = chunk_spans(rows, names, starts, lengths, over_read=over_read, largest=largest)
    assert sorted(row for span in spans for row in span.rows) == rows
    for span in spans:
        covered: set[int] = set()
        for row, start, length in zip(span.rows, span.starts, span.lengths, strict=True):
            assert (span.chunk_id[11], span.start + start, length) == chunks[row // 10]
            assert start + length <= span.end - span.start
            covered |= set(range(start, start + length))
        assert span.end - span.start - len(covered) == span.wasted <= over_read
        # Larger than that is only what a single chunk needs.
        assert span.end - span.start <= max(largest, *span.lengths)


COORDS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=49, unique=True)


@settings(max_examples=60)
@given(known=COORDS, asked=COORDS, scale=st.sampled_from([1, 1_000, 1 << 29]))
def test_many_look_ups(known: list[tuple[int, int]], asked: list[tuple[int, int]], scale: int) -> None:
    """Looking up many chunks gives the rows that looking up each gives: in dense, sparse and huge grids."""
    coords = np.array(known, dtype=np.int64) * scale
    numbers = np.arange(len(known))
    refs = ChunkRefs.native(coords, np.zeros((len(known), 12), np.uint8), numbers, numbers + 1)
    table = np.array(asked, dtype=np.int64) * scale
    assert refs.find_many(table).tolist() == [refs.find(coord) for coord in table.tolist()]
    assert refs.find_many(np.zeros((2, 3), dtype=np.int64)).tolist() == [-1, -1]
