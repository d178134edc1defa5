"""Bringing the virtual locations of a manifest into the form in which they are written (FORMAT.md, 15)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import zstandard

from icechunk_core.format._payloads import Payloads, Source, distinct_ranges
from icechunk_core.format.chunk_refs import ChunkRefs
from icechunk_core.format.locations import MAX_LOCATION_SIZE, LocationCompression, train_dictionary
from icechunk_core.format.refs import RefKind

__all__ = ["encoded_locations"]

Rows = npt.NDArray[np.intp]
_MANY: Final = 64
# Not every build of the library has it.
_IN_ONE_CALL: Final = "multi_compress_to_buffer" in zstandard.backend_features


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
        if refs.payloads is None or not refs.payloads.entries["compressed"].any():
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
    which = refs.payloads.which
    return _bytes_of(refs, row if which is None else int(which[row]))


def _bytes_of(refs: ChunkRefs, entry: int) -> bytes:
    assert refs.payloads is not None
    source, start, size, _, _, _, _, compressed = refs.payloads.entries[entry].item()
    location: str = refs.sources[source].location(start, size, compressed)
    return location.encode()


def _plain(refs: ChunkRefs) -> ChunkRefs:
    """With every location decompressed."""
    if refs.payloads is None or not refs.payloads.entries["compressed"].any():
        return refs
    entries = refs.payloads.entries
    chosen = np.intersect1d(np.flatnonzero(entries["compressed"]), _virtual_entries(refs))
    pieces = [_bytes_of(refs, entry) for entry in chosen.tolist()]
    return _replaced(refs, chosen, pieces, np.arange(len(chosen)), compressed=False)


def _compressed(refs: ChunkRefs, compressor: zstandard.ZstdCompressor, dictionary: bytes) -> ChunkRefs:
    """With every location compressed that may be; each distinct one once."""
    if refs.payloads is None:
        return refs
    refs = ChunkRefs(refs.columns._replace(payloads=refs.payloads.packed()))
    assert refs.payloads is not None
    entries = refs.payloads.entries
    known = [number for number, source in enumerate(refs.sources) if source.dictionary == dictionary]
    done = entries["compressed"] & np.isin(entries["source"], known)
    chosen = _virtual_entries(refs)
    chosen = chosen[~done[chosen]]
    if not len(chosen):
        return refs
    first, which = distinct_ranges(entries[chosen])
    distinct = chosen[first]
    # Compressed ones, of another dictionary, are as short already.
    short = entries["compressed"][distinct] | (entries["size"][distinct] <= MAX_LOCATION_SIZE)
    if not short.any():
        return refs
    frames = _frames(refs, distinct[short], compressor)
    numbers = np.cumsum(short) - 1
    is_short = short[which]
    return _replaced(
        refs, chosen[is_short], frames, numbers[which[is_short]], compressed=True, dictionary=dictionary
    )


def _frames(refs: ChunkRefs, chosen: Rows, compressor: zstandard.ZstdCompressor) -> list[bytes]:
    """The locations of some payload entries, each compressed."""
    assert refs.payloads is not None
    entries = refs.payloads.entries[chosen]
    number = int(entries["source"][0])
    together = _IN_ONE_CALL and len(chosen) >= _MANY and bool((entries["source"] == number).all())
    if not together or entries["compressed"].any():
        return [compressor.compress(_bytes_of(refs, entry)) for entry in chosen.tolist()]
    segments = np.stack([entries["start"], entries["size"]], axis=1).astype(np.uint64).tobytes()
    plain = zstandard.BufferWithSegments(refs.sources[number].arena, segments)
    frames = compressor.multi_compress_to_buffer(plain)
    return [frames[number].tobytes() for number in range(len(frames))]


def _virtual_entries(refs: ChunkRefs) -> Rows:
    """The payload entries of virtual refs."""
    assert refs.payloads is not None
    virtual = refs.kind == RefKind.VIRTUAL
    return refs.payloads.used(None if virtual.all() else virtual)


def _replaced(
    refs: ChunkRefs,
    chosen: Rows,
    pieces: list[bytes],
    which: Rows,
    *,
    compressed: bool,
    dictionary: bytes | None = None,
) -> ChunkRefs:
    """With new location bytes for some payload entries: for each of them the number of its piece."""
    assert refs.payloads is not None
    sizes = np.array([len(piece) for piece in pieces], dtype=np.int64)
    entries = refs.payloads.entries.copy()
    entries["source"][chosen] = len(refs.sources)
    entries["start"][chosen] = (np.cumsum(sizes) - sizes)[which]
    entries["size"][chosen] = sizes[which]
    entries["compressed"][chosen] = compressed
    sources = (*refs.sources, Source(b"".join(pieces), dictionary=dictionary))
    payloads = Payloads(entries, refs.payloads.which)
    return ChunkRefs(refs.columns._replace(payloads=payloads, sources=sources))
