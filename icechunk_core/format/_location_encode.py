"""Bringing the virtual locations of a manifest into the form in which they are written (FORMAT.md, 15)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import zstandard

from icechunk_core.format._payloads import Source, distinct_ranges
from icechunk_core.format.chunk_refs import ChunkRefs
from icechunk_core.format.locations import MAX_LOCATION_SIZE, LocationCompression, train_dictionary
from icechunk_core.format.refs import RefKind

__all__ = ["encoded_locations"]

Rows = npt.NDArray[np.intp]


def encoded_locations(
    arrays: Mapping[bytes, ChunkRefs], compression: LocationCompression | None
) -> tuple[Mapping[bytes, ChunkRefs], bytes | None]:
    """The refs with their locations as they are to be stored, and the dictionary if there is one.

    Locations that are longer than what may be compressed stay plain.
    """
    if all(refs.payloads is None for refs in arrays.values()):
        return arrays, None
    virtual = sum(int((refs.kind == RefKind.VIRTUAL).sum()) for refs in arrays.values())
    dictionary = None
    if compression is not None and virtual >= max(compression.min_num_chunks, 1):
        dictionary = _known_dictionary(arrays, virtual)
        if dictionary is None:
            samples = _samples(arrays, virtual, compression.max_training_samples)
            dictionary = train_dictionary(samples, compression.max_dictionary_size)
    if dictionary is None:
        return {node: _plain(refs) for node, refs in arrays.items()}, None
    assert compression is not None
    compressor = zstandard.ZstdCompressor(
        level=compression.level, dict_data=zstandard.ZstdCompressionDict(dictionary)
    )
    return {node: _compressed(refs, compressor, dictionary) for node, refs in arrays.items()}, dictionary


def _known_dictionary(arrays: Mapping[bytes, ChunkRefs], virtual: int) -> bytes | None:
    """The dictionary that most locations are compressed with already: these are then kept as they are."""
    uses: dict[bytes, int] = {}
    for refs in arrays.values():
        if refs.payloads is None:
            continue
        chosen = refs.payloads["source"][refs.payloads["compressed"]]
        for number, count in zip(*np.unique(chosen, return_counts=True), strict=True):
            known = refs.sources[int(number)].dictionary
            if known is not None:
                uses[known] = uses.get(known, 0) + int(count)
    dictionary = max(uses, key=lambda known: uses[known], default=None)
    return dictionary if dictionary is not None and uses[dictionary] * 2 > virtual else None


def _samples(arrays: Mapping[bytes, ChunkRefs], virtual: int, wanted: int) -> list[bytes]:
    """Distinct locations, evenly spread over the manifest."""
    step = max(virtual // max(wanted, 1), 1)
    chosen: dict[bytes, None] = {}
    seen = 0
    for refs in arrays.values():
        rows = np.flatnonzero(refs.kind == RefKind.VIRTUAL)
        picked = rows[-seen % step :: step]
        seen += len(rows)
        for row in picked.tolist():
            chosen[_location_bytes(refs, row)] = None
    return list(chosen)[:wanted]


def _location_bytes(refs: ChunkRefs, row: int) -> bytes:
    assert refs.payloads is not None
    source, start, size, _, _, _, _, compressed = refs.payloads[row].item()
    location: str = refs.sources[source].location(start, size, compressed)
    return location.encode()


def _plain(refs: ChunkRefs) -> ChunkRefs:
    """With every location decompressed."""
    if refs.payloads is None:
        return refs
    rows = np.flatnonzero((refs.kind == RefKind.VIRTUAL) & refs.payloads["compressed"])
    if not len(rows):
        return refs
    pieces = [_location_bytes(refs, row) for row in rows.tolist()]
    return _replaced(refs, rows, pieces, np.arange(len(rows)), compressed=False)


def _compressed(refs: ChunkRefs, compressor: zstandard.ZstdCompressor, dictionary: bytes) -> ChunkRefs:
    """With every location compressed that may be; each distinct one once."""
    if refs.payloads is None:
        return refs
    known = [number for number, source in enumerate(refs.sources) if source.dictionary == dictionary]
    done = refs.payloads["compressed"] & np.isin(refs.payloads["source"], known)
    rows = np.flatnonzero((refs.kind == RefKind.VIRTUAL) & ~done)
    if not len(rows):
        return refs
    first, which = distinct_ranges(refs.payloads[rows])
    plain = [_location_bytes(refs, row) for row in rows[first].tolist()]
    short = np.array([len(location) <= MAX_LOCATION_SIZE for location in plain], dtype=bool)
    if not short.any():
        return refs
    frames = [compressor.compress(location) for location in plain if len(location) <= MAX_LOCATION_SIZE]
    numbers = np.cumsum(short) - 1
    chosen = short[which]
    return _replaced(
        refs, rows[chosen], frames, numbers[which[chosen]], compressed=True, dictionary=dictionary
    )


def _replaced(
    refs: ChunkRefs,
    rows: Rows,
    pieces: list[bytes],
    which: Rows,
    *,
    compressed: bool,
    dictionary: bytes | None = None,
) -> ChunkRefs:
    """With new location bytes for some rows: for each of them the number of its piece."""
    assert refs.payloads is not None
    sizes = np.array([len(piece) for piece in pieces], dtype=np.int64)
    payloads = refs.payloads.copy()
    payloads["source"][rows] = len(refs.sources)
    payloads["start"][rows] = (np.cumsum(sizes) - sizes)[which]
    payloads["size"][rows] = sizes[which]
    payloads["compressed"][rows] = compressed
    sources = (*refs.sources, Source(b"".join(pieces), dictionary=dictionary))
    return ChunkRefs(refs.columns._replace(payloads=payloads, sources=sources))
