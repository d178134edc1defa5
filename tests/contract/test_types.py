"""Byte ranges, buffers and capabilities."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.contract import (
    AtomicityScope,
    ByteRange,
    Capabilities,
    From,
    Range,
    Suffix,
    joined,
    resolve_range,
)
from icechunk_core.errors import InvalidRange

ranges = st.one_of(
    st.none(),
    st.builds(Range, st.integers(-5, 40), st.integers(-5, 40)),
    st.builds(From, st.integers(-5, 40)),
    st.builds(Suffix, st.integers(-5, 40)),
)


@given(ranges, st.binary(max_size=30))
def test_a_range_selects_what_slicing_selects(byte_range: ByteRange, data: bytes) -> None:
    """Resolved ranges agree with Python's slices; empty, negative and outlying ones are InvalidRange."""
    try:
        start, end = resolve_range(byte_range, len(data))
    except InvalidRange:
        if isinstance(byte_range, Suffix):
            assert byte_range.length <= 0 or not data
        else:
            assert isinstance(byte_range, Range | From)
            first = byte_range.start if isinstance(byte_range, Range) else byte_range.offset
            empty = isinstance(byte_range, Range) and byte_range.end <= byte_range.start
            assert first < 0 or first >= len(data) or empty
        return
    expected = data
    if isinstance(byte_range, Suffix):
        expected = data[-byte_range.length :]
    elif isinstance(byte_range, From):
        expected = data[byte_range.offset :]
    elif isinstance(byte_range, Range):
        expected = data[byte_range.start : byte_range.end]
    assert data[start:end] == expected
    assert byte_range is None or expected


def test_one_buffer_is_joined_without_a_copy() -> None:
    """The common case of a single ``bytes`` costs nothing."""
    data = b"only"
    assert joined([data]) is data
    assert joined([bytearray(b"a"), memoryview(b"b"), b"c"]) == b"abc"
    assert joined([]) == b""
    assert type(joined([bytearray(b"a")])) is bytes


@pytest.mark.parametrize(
    ("capabilities", "safe"),
    [
        (Capabilities(), False),
        (Capabilities(create=True, update=True), False),
        (Capabilities(create=True, atomicity=AtomicityScope.GLOBAL), False),
        (Capabilities(update=True, atomicity=AtomicityScope.GLOBAL), False),
        (Capabilities(create=True, update=True, atomicity=AtomicityScope.THREAD), True),
    ],
)
def test_commits_are_safe_with_both_conditions_and_a_scope(capabilities: Capabilities, safe: bool) -> None:
    """Create without update, or either without a scope, is not enough."""
    assert capabilities.commit_safe is safe


def test_values_pickle() -> None:
    """They travel to other processes with errors and configurations."""
    for value in (Range(1, 2), From(1), Suffix(1), Capabilities(create=True)):
        assert pickle.loads(pickle.dumps(value)) == value
