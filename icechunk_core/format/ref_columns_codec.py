"""Columns of chunk refs as values of msgpack, and back: no step in Python for each ref.

Part of the bytes of change sets, which are not trusted on the way back: whatever could make
a ref point outside of what was sent is a `ValueError` here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from icechunk_core.format._payloads import PAYLOAD, Entries, Payloads, Source
from icechunk_core.format._ref_columns import RefColumns
from icechunk_core.format.chunk_refs import ChunkRefs
from icechunk_core.format.refs import RefKind

__all__ = ["decode_columns", "encode_columns"]

_U32 = np.dtype("<u4")
_U64 = np.dtype("<u8")
_LARGEST = 1 << 63


def encode_columns(refs: ChunkRefs) -> list[Any]:
    """``[rows, ndim, coords, kinds, offsets, lengths, ids, payloads, buffers]``.

    Payloads are empty if all refs are native. Dictionaries of compressed locations do not travel:
    such refs are written out first.
    """
    payloads, sources = refs.payloads, refs.sources
    if payloads is not None and payloads["compressed"].any():
        refs = ChunkRefs.from_items(refs.ndim, dict(refs.items()))
        payloads, sources = refs.payloads, refs.sources
    return [
        len(refs), refs.ndim, refs.coords.astype(_U32, order="C").tobytes(), refs.kind.tobytes(),
        refs.offset.astype(_U64).tobytes(), refs.length.astype(_U64).tobytes(), refs.chunk_ids.tobytes(),
        b"" if payloads is None else payloads.rows().tobytes(), [bytes(source.arena) for source in sources],
    ]  # fmt: skip


def decode_columns(
    rows: Any, ndim: Any, coords: Any, kinds: Any, offsets: Any, lengths: Any, ids: Any, payloads: Any,
    buffers: Any,
) -> ChunkRefs:  # fmt: skip
    """Inverse of `encode_columns`.

    Raises
    ------
    ValueError, TypeError
        If these are not columns of equal length, each coordinate once, whose ranges are within the buffers.
    """
    _require(type(rows) is int and type(ndim) is int and 0 <= rows < 2**40 and 0 <= ndim < 2**16, "counts")
    _require(isinstance(buffers, list), "buffers")
    columns = (coords, kinds, offsets, lengths, ids, payloads, *buffers)
    _require(all(isinstance(column, bytes) for column in columns), "columns")
    sizes = (4 * ndim * rows, rows, 8 * rows, 8 * rows, 12 * rows)
    _require(tuple(map(len, columns[:5])) == sizes, "length of a column")
    kind = np.frombuffer(kinds, np.uint8)
    offset, length = np.frombuffer(offsets, _U64), np.frombuffer(lengths, _U64)
    small = (offset < _LARGEST) & (length < _LARGEST) & (offset + length < _LARGEST)
    _require(small.all(), "range of a chunk")
    _require((kind <= max(RefKind)).all(), "kind of a chunk ref")
    table: Entries | None = None
    if payloads or (kind != RefKind.NATIVE).any():
        _require(len(payloads) == rows * PAYLOAD.itemsize, "length of a column")
        table = np.frombuffer(payloads, PAYLOAD)
        _check_payloads(table, kind, length, buffers)
    refs = ChunkRefs._sorted(
        RefColumns(
            np.frombuffer(coords, _U32).reshape(rows, ndim).astype(np.uint32, order="F"),
            kind,
            offset.astype(np.uint64),
            length.astype(np.uint64),
            np.frombuffer(ids, np.uint8).reshape(rows, 12),
            None if table is None else Payloads(table),
            tuple([Source(buffer, name="change set") for buffer in buffers]) if table is not None else (),
        )
    )
    _require(len(refs) == rows, "a chunk is listed twice")
    return refs


def _check_payloads(
    table: Entries, kind: npt.NDArray[np.uint8], length: npt.NDArray[np.uint64], buffers: list[bytes]
) -> None:
    used = table[kind != RefKind.NATIVE]
    inline = kind == RefKind.INLINE
    _require((table["size"][inline] == length[inline]).all(), "length of inline chunk data")
    # One byte each, since numpy makes a truth value of any number in there.
    _require(not used["compressed"].view(np.uint8).any(), "compressed location")
    _check_ranges(used, "", buffers)
    _check_ranges(used[used["etag_start"] >= 0], "etag_", buffers)


def _check_ranges(used: Entries, prefix: str, buffers: list[bytes]) -> None:
    if not len(used):
        return
    source, start = used[f"{prefix}source"], used[f"{prefix}start"]
    _require(((source >= 0) & (source < len(buffers))).all(), "buffer of a chunk ref")
    ends = np.array([len(buffer) for buffer in buffers], dtype=np.int64)[source]
    size = used[f"{prefix}size"].astype(np.int64)
    _require(((start >= 0) & (start <= ends) & (size <= ends - start)).all(), "range of a buffer")


def _require(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(what)
