"""Columns to manifest payloads (FORMAT.md, 6.2 and 15).

The refs of an array become one vector of offsets, then the records (see `_flat_records`) of each variant
of ref together, then the bytes that records refer to. Everything is placed first and then written into a
buffer of the final size.
"""

from __future__ import annotations

import struct as _struct
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from icechunk_core.errors import ErrorKind, FormatError
from icechunk_core.format._flat_builder import MAX_BUFFER_SIZE, Later, Table, build_front, struct, u8
from icechunk_core.format._flat_records import Field, RecordShape, record_shape
from icechunk_core.format._location_encode import encoded_locations
from icechunk_core.format._payloads import Entries, Payloads, Source, distinct_ranges
from icechunk_core.format._ragged import copy_ranges
from icechunk_core.format.chunk_refs import ChunkRefs
from icechunk_core.format.locations import LocationCompression
from icechunk_core.format.refs import RefKind

__all__ = ["encode_payload"]

Rows = npt.NDArray[np.intp]
# Readers limit the sum of what they visit to a multiple of the file, so longer texts are not shared.
_MAX_SHARED: Final = 256
Positions = npt.NDArray[np.int64]

_OFFSET: Final = Field("offset", 2, "<u8")
_LENGTH: Final = Field("length", 3, "<u8")
_CHUNK_ID: Final = Field("chunk_id", 4, "V12")
_INLINE: Final = Field("inline", 1, "<u4")
_LOCATION: Final = Field("location", 5, "<u4")
_ETAG: Final = Field("etag", 6, "<u4")
_MODIFIED: Final = Field("modified", 7, "<u4")
_COMPRESSED: Final = Field("compressed", 8, "<u4")


def encode_payload(
    manifest_id: bytes, arrays: Mapping[bytes, ChunkRefs], compression: LocationCompression | None
) -> memoryview:
    """The FlatBuffers buffer of a manifest.

    Parameters
    ----------
    manifest_id, arrays
        As in `Manifest`.
    compression
        How virtual locations are compressed; None: not at all.

    Raises
    ------
    FormatError
        The buffer would exceed 2 GiB.
    """
    arrays, dictionary = encoded_locations(arrays, compression)
    places = {node_id: Later() for node_id in sorted(arrays)}
    tables = [Table(struct(node_id), later) for node_id, later in places.items()]
    # Compressed is the default of the algorithm field; it is left out with a dictionary, as other writers do.
    algorithm = u8(0) if dictionary is None else None
    front = build_front(Table(struct(manifest_id), tables, dictionary, algorithm))
    end = len(front)
    sections = []
    for node_id, later in places.items():
        section = _Section(arrays[node_id], end)
        _struct.pack_into("<I", front, later.at, section.start - later.at)
        sections.append(section)
        end = section.end
    if end > MAX_BUFFER_SIZE:
        raise FormatError(
            "the manifest would exceed 2 GiB; split the array into more manifests",
            kind=ErrorKind.SERIALIZATION,
        )
    out = np.zeros(end + (-end % 8), dtype=np.uint8)
    out[: len(front)] = np.frombuffer(front, dtype=np.uint8)
    for section in sections:
        section.write(out)
    return memoryview(out)[:end]


class _Section:
    """The refs of one array: what goes where, and writing it."""

    def __init__(self, refs: ChunkRefs, end: int) -> None:
        self.refs = refs
        self.start = _aligned(end, 4)
        end = self.start + 4 + 4 * len(refs)
        self.groups: list[_Group] = []
        for rows, fields in _variants(refs):
            group = _Group(refs, rows, fields, end)
            self.groups.append(group)
            end = group.end
        self.end = end

    def write(self, out: npt.NDArray[np.uint8]) -> None:
        count = len(self.refs)
        out[self.start : self.start + 4] = np.array([count], "<u4").view(np.uint8)
        slots = np.ndarray((count,), "<u4", out.data, self.start + 4)
        for group in self.groups:
            tables = group.shape.positions(group.records_at, group.count)
            rows: Rows | slice = slice(None) if group.rows is None else group.rows
            own = np.arange(count, dtype=np.int64) if group.rows is None else group.rows
            slots[rows] = tables - (self.start + 4 + 4 * own)
            group.write(out)


class _Group:
    """Refs of one variant: a vtable, records, and the bytes they refer to."""

    def __init__(self, refs: ChunkRefs, rows: Rows | None, fields: list[Field], end: int) -> None:
        self.refs = refs
        self.rows = rows  # None: all
        self.count = len(refs) if rows is None else len(rows)
        self.fields = fields
        self.shape: RecordShape = record_shape(refs.ndim, fields)
        self.vtable_at = _aligned(end, 2)
        self.records_at = _aligned(self.vtable_at + len(self.shape.vtable), 8)
        self.end = self.records_at + self.count * self.shape.dtype.itemsize
        self.payloads = refs.payloads
        if self.payloads is not None:
            self.payloads = (self.payloads if rows is None else self.payloads[rows]).packed()
        self.blobs: list[_Blobs] = []
        for field in fields:
            if field.dtype == "<u4" and field is not _MODIFIED:
                assert self.payloads is not None
                blobs = _Blobs(self.payloads, field, self.end)
                self.blobs.append(blobs)
                self.end = blobs.end

    def write(self, out: npt.NDArray[np.uint8]) -> None:
        refs, shape = self.refs, self.shape
        rows: Rows | slice = slice(None) if self.rows is None else self.rows
        out[self.vtable_at : self.vtable_at + len(shape.vtable)] = np.frombuffer(shape.vtable, np.uint8)
        records = shape.view(out, self.records_at, self.count)
        shape.fill_common(records, self.records_at, self.vtable_at, refs.coords[rows])
        for field in self.fields:
            if field is _OFFSET:
                records["offset"] = refs.offset[rows]
            elif field is _LENGTH:
                records["length"] = refs.length[rows]
            elif field is _CHUNK_ID:
                ids = np.ascontiguousarray(refs.chunk_ids[rows])
                records["chunk_id"] = ids.view("V12").reshape(self.count)
            elif field is _MODIFIED:
                assert self.payloads is not None
                records["modified"] = self.payloads["modified"]
        if not self.blobs:
            return
        assert self.payloads is not None
        tables = shape.positions(self.records_at, self.count)
        for blobs in self.blobs:
            fields = shape.dtype.fields
            assert fields is not None
            targets = blobs.positions(fields[blobs.field.name][1])
            np.subtract(targets, tables, out=records[blobs.field.name], casting="unsafe")
            blobs.write(out, refs.sources)


class _Blobs:
    """Byte vectors or strings of one field; entries with the same short bytes share one."""

    def __init__(self, payloads: Payloads, field: Field, end: int) -> None:
        self.field = field
        self.prefix = "etag_" if field is _ETAG else ""
        is_text = field is _ETAG or field is _LOCATION
        self.payloads = payloads
        self.which: Rows | None = None  # of an entry; None: each row has its own bytes
        if field is not _INLINE and int(payloads.entries[f"{self.prefix}size"].max()) <= _MAX_SHARED:
            first, self.which = distinct_ranges(payloads.entries, self.prefix)
            self.entries: Entries = payloads.entries[first]
        else:
            self.entries = payloads.rows()
        self.sizes = self.entries[f"{self.prefix}size"].astype(np.int64)
        # A count, the bytes, for text a NUL, then up to the next multiple of four.
        room = (4 + self.sizes + int(is_text) + 3) & ~3
        start = _aligned(end, 4)
        ends = np.cumsum(room)
        self.places: Positions = ends - room + start
        self.end = start + (int(ends[-1]) if len(ends) else 0)

    def positions(self, less: int) -> Positions:
        """Where the bytes of each row are, less some bytes."""
        if self.which is None:
            return self.places - less
        return self.payloads.spread(self.places[self.which] - less)

    def write(self, out: npt.NDArray[np.uint8], sources: tuple[Source, ...]) -> None:
        words = out.view("<u4")
        words[self.places >> 2] = self.sizes
        starts, numbers = (self.entries[f"{self.prefix}{name}"] for name in ("start", "source"))
        for number, source in enumerate(sources):
            mine = numbers == number
            copy_ranges(out, self.places[mine] + 4, source.arena, starts[mine], self.sizes[mine])


def _variants(refs: ChunkRefs) -> list[tuple[Rows | None, list[Field]]]:
    """Group the rows by which fields they need; None instead of rows stands for all of them."""
    if not len(refs):
        return []
    payloads = refs.payloads
    if payloads is None:
        return [(None, _with_offset([_LENGTH, _CHUNK_ID], refs.offset))]
    entries = payloads.entries
    own = (
        4 * (entries["etag_start"] >= 0).astype(np.uint8)
        + np.uint8(8) * (entries["modified"] > 0)
        + np.uint8(16) * entries["compressed"]
    )
    codes = refs.kind + np.where(refs.kind == RefKind.VIRTUAL, payloads.spread(own), np.uint8(0))
    counts = np.bincount(codes, minlength=32)
    variants: list[tuple[Rows | None, list[Field]]] = []
    for code in np.flatnonzero(counts).tolist():
        rows = None if counts[code] == len(codes) else np.flatnonzero(codes == code)
        offset = refs.offset if rows is None else refs.offset[rows]
        kind = code & 3
        if kind == RefKind.INLINE:
            fields = [_INLINE]
        elif kind == RefKind.NATIVE:
            fields = _with_offset([_LENGTH, _CHUNK_ID], offset)
        else:
            fields = _with_offset([_LENGTH], offset)
            fields.append(_COMPRESSED if code & 16 else _LOCATION)
            fields += [_ETAG] * bool(code & 4) + [_MODIFIED] * bool(code & 8)
        variants.append((rows, fields))
    return variants


def _with_offset(fields: list[Field], offset: npt.NDArray[np.uint64]) -> list[Field]:
    """Leave the offset out where it is always the default."""
    return [_OFFSET, *fields] if offset.any() else fields


def _aligned(position: int, align: int) -> int:
    return position + -position % align
