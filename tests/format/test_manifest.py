"""Manifest files: round trips, what other writers may do, and compressed locations."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt
from icechunk_core.format._flat_builder import Table, Vector, build, struct, u8, u32, u64
from icechunk_core.format.envelope import FileType, seal, unseal
from icechunk_core.format.locations import LocationDecompressor, train_dictionary
from icechunk_core.format.manifest import (
    ChunkRef,
    ChunkRefs,
    InlineRef,
    LocationCompression,
    Manifest,
    NativeRef,
    VirtualRef,
    decode_manifest,
    encode_manifest,
)
from tests.format.strategies import manifests

ID = bytes(range(12))
NODE = b"nodenode"
ALWAYS = LocationCompression(min_num_chunks=1)


def manifest(items: Mapping[tuple[int, ...], ChunkRef], ndim: int = 1) -> Manifest:
    return Manifest(ID, {NODE: ChunkRefs.from_items(ndim, items)})


def sealed(root: Table) -> bytes:
    return seal(FileType.MANIFEST, build(root), spec_version=2)


def foreign(refs: list[Table], *tail: bytes | None) -> bytes:
    """A manifest as another writer might make it: one array, refs as given."""
    return sealed(Table(struct(ID), [Table(struct(NODE), refs)], *tail))


def index(*coords: int) -> Vector:
    return Vector(np.array(coords, dtype="<u4").tobytes(), len(coords))


def native(*coords: int) -> Table:
    return Table(index(*coords), None, u64(1), u64(2), struct(ID))


@given(manifests(), st.sampled_from([1, 2]), st.none() | st.just(ALWAYS), st.sampled_from([-5, 1, 3, 19]))
def test_round_trip(
    value: Manifest, spec_version: int, compression: LocationCompression | None, level: int
) -> None:
    """Every manifest decodes to what was encoded, in both spec versions, with and without compression."""
    data = encode_manifest(value, spec_version=spec_version, location_compression=compression, level=level)
    again = decode_manifest(data, name="m")
    assert again == value
    assert again.num_chunk_refs == value.num_chunk_refs
    assert list(again.arrays) == sorted(value.arrays)


def test_many_rows_of_all_kinds() -> None:
    """More refs than one decoding block holds, of all kinds mixed, survive."""
    rows = 150_000
    items: dict[tuple[int, ...], ChunkRef] = {}
    for row in range(rows):
        ref: ChunkRef = NativeRef(row.to_bytes(12, "big"), row, row + 1)
        if row % 5 == 0:
            ref = InlineRef(b"%d" % row)
        elif row % 7 == 0:
            ref = VirtualRef(
                f"s3://bucket/{row}", row, 9, "etag" if row % 2 else None, row if row % 3 else None
            )
        items[row // 300, row % 300] = ref
    value = manifest(items, ndim=2)
    again = decode_manifest(encode_manifest(value, spec_version=2), name="m")
    assert again == value


def test_refs_in_the_wrong_order_are_sorted() -> None:
    """A writer that did not sort loses nothing here, though other readers may miss chunks."""
    refs = decode_manifest(foreign([native(5), native(1), native(3)]), name="m").arrays[NODE]
    assert refs.coords.tolist() == [[1], [3], [5]]
    assert refs.get((3,)) == NativeRef(ID, 1, 2)


def test_two_refs_for_one_chunk_are_corrupt() -> None:
    """Which of the two is meant cannot be known."""
    with pytest.raises(Corrupt, match="two refs for one chunk"):
        decode_manifest(foreign([native(5), native(5)]), name="m")


def test_an_array_listed_twice_is_corrupt() -> None:
    """Lookups by node id would see one of the two only."""
    table = Table(struct(NODE), [native(1)])
    with pytest.raises(Corrupt, match="listed twice"):
        decode_manifest(sealed(Table(struct(ID), [table, table])), name="m")


def test_different_numbers_of_dimensions_are_corrupt() -> None:
    """All refs of an array have as many coordinates as the first."""
    with pytest.raises(Corrupt, match="numbers of dimensions"):
        decode_manifest(foreign([native(5), native(5, 6)]), name="m")


def test_a_ref_without_target_is_corrupt() -> None:
    """No chunk id, location or inline data: there is nothing to read."""
    with pytest.raises(Corrupt, match="without any target"):
        decode_manifest(foreign([native(1), Table(index(2), None, u64(1), u64(2))]), name="m")


@pytest.mark.parametrize(("offset", "length"), [(2**64 - 1, 2), (2**63, 1), (2**63 - 1, 2), (1, 2**64 - 1)])
def test_ranges_that_overflow_are_corrupt(offset: int, length: int) -> None:
    """Offset plus length must stay within 2^63."""
    ref = Table(index(1), None, u64(offset), u64(length), struct(ID))
    with pytest.raises(Corrupt, match="impossible range"):
        decode_manifest(foreign([ref]), name="m")


def test_which_target_counts() -> None:
    """Of several targets: chunk id before compressed location, location, inline data."""
    both = Table(index(1), b"inline", None, u64(2), struct(ID), "s3://b/k")
    virtual = Table(index(2), b"inline", u64(3), u64(4), None, "s3://b/k", "etag", u32(7))
    inline = Table(index(3), b"inline", u64(99), u64(98))
    refs = decode_manifest(foreign([both, virtual, inline]), name="m").arrays[NODE]
    assert [ref for _, ref in refs.items()] == [
        NativeRef(ID, 0, 2),
        VirtualRef("s3://b/k", 3, 4, "etag", 7),
        InlineRef(b"inline"),
    ]
    assert refs.length.tolist() == [2, 4, 6]


def test_unknown_fields_are_ignored() -> None:
    """Newer writers may add slots to every table."""
    ref = Table(index(1), None, u64(1), u64(2), struct(ID), None, None, None, None, None, b"new", u8(1))
    array = Table(struct(NODE), [ref], None, "new", u64(5))
    data = sealed(Table(struct(ID), [array], None, None, None, "new", [Table("x")]))
    assert decode_manifest(data, name="m").arrays[NODE].get((1,)) == NativeRef(ID, 1, 2)


def virtual_manifest(rows: int) -> Manifest:
    return manifest(
        {(row,): VirtualRef(f"s3://bucket/data/file-{row:05}.nc", row, 10) for row in range(rows)}
    )


def payload_of(data: bytes) -> bytes:
    return unseal(data, FileType.MANIFEST, name="m")[1]


def test_locations_are_compressed_from_a_thousand_refs_on() -> None:
    """By default only large manifests in spec 2 get a dictionary; smaller ones hold plain text."""
    few, many = virtual_manifest(999), virtual_manifest(1000)
    assert b"s3://bucket/data/file-00500.nc" in payload_of(encode_manifest(few, spec_version=2))
    assert b"s3://bucket/data/file-00500.nc" in payload_of(encode_manifest(many, spec_version=1))
    compressed = encode_manifest(many, spec_version=2)
    assert payload_of(compressed).count(b"s3://bucket") < 100
    again = decode_manifest(compressed, name="m")
    assert again == many
    assert decode_manifest(encode_manifest(again, spec_version=1), name="m") == many
    assert b"file-00500" in payload_of(encode_manifest(again, spec_version=2, location_compression=None))


def test_dictionaries_are_trained_with_distinct_locations(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many refs have the same location, it counts once."""
    places = [f"s3://bucket/data/file-{number:05}.nc" for number in range(40)]
    value = manifest({(row,): VirtualRef(places[row % 40], row, 10) for row in range(3_000)})
    trained: list[Sequence[bytes]] = []

    def train(samples: Sequence[bytes], size: int) -> bytes | None:
        trained.append(samples)
        return train_dictionary(samples, size)

    monkeypatch.setattr("icechunk_core.format._location_encode.train_dictionary", train)
    data = encode_manifest(value, spec_version=2, location_compression=ALWAYS)
    [samples] = trained
    assert 0 < len(samples) == len(set(samples))
    assert {sample.decode() for sample in samples} <= set(places)
    assert decode_manifest(data, name="m") == value


def test_compressed_and_plain_locations_mix() -> None:
    """Locations over 1024 bytes stay plain beside compressed ones."""
    items: dict[tuple[int, ...], ChunkRef] = dict(virtual_manifest(500).arrays[NODE].items())
    items[(500,)] = VirtualRef("s3://bucket/" + "x" * 2000, 1, 2)
    items[(501,)] = InlineRef(b"inline")
    items[(502,)] = VirtualRef("s3://bucket/data/with-etag", 1, 2, "etag", None)
    value = manifest(items)
    payload = payload_of(encode_manifest(value, spec_version=2, location_compression=ALWAYS))
    assert b"x" * 2000 in payload
    assert payload.count(b"s3://bucket") < 100
    assert decode_manifest(seal(FileType.MANIFEST, payload, spec_version=2), name="m") == value


def test_samples_that_cannot_train_a_dictionary_stay_plain() -> None:
    """Very short or too few locations are written as they are."""
    value = manifest({(row,): VirtualRef(f"s3:{row}", row, 10) for row in range(100)})
    payload = payload_of(encode_manifest(value, spec_version=2, location_compression=ALWAYS))
    assert b"s3:57" in payload
    assert train_dictionary([], 2048) is None
    assert train_dictionary([b"same"] * 10, 2048) is None


def test_compressed_location_without_dictionary() -> None:
    """The ref cannot be read (Corrupt); the others of the manifest can."""
    broken = Table(index(2), None, None, u64(2), None, None, None, None, b"frame")
    refs = decode_manifest(foreign([native(1), broken]), name="m").arrays[NODE]
    assert refs.get((1,)) is not None
    with pytest.raises(Corrupt, match="m: compressed location without a dictionary"):
        refs.get((2,))
    with pytest.raises(Corrupt):
        refs.virtual_locations()


def test_algorithm_0_has_no_dictionary() -> None:
    """With compression_algorithm 0 a dictionary is not used, even if there is one."""
    ref = Table(index(2), None, None, u64(2), None, None, None, None, b"frame")
    data = sealed(Table(struct(ID), [Table(struct(NODE), [ref])], b"dictionary", u8(0)))
    with pytest.raises(Corrupt, match="without a dictionary"):
        decode_manifest(data, name="m").arrays[NODE].get((2,))


@pytest.mark.parametrize("content", [b"x" * 1025, b"\xff\xfe", None])
def test_damaged_compressed_locations(content: bytes | None) -> None:
    """Too long, not UTF-8, or no zstd frame: Corrupt when the ref is asked for."""
    dictionary = train_dictionary([b"s3://bucket/data/file-%d" % row for row in range(100)], 2048)
    assert dictionary is not None
    frame = b"no frame"
    if content is not None:
        trained = zstandard.ZstdCompressionDict(dictionary)
        frame = zstandard.ZstdCompressor(dict_data=trained).compress(content)
    ref = Table(index(2), None, None, u64(2), None, None, None, None, frame)
    data = sealed(Table(struct(ID), [Table(struct(NODE), [ref])], dictionary))
    refs = decode_manifest(data, name="m").arrays[NODE]
    with pytest.raises(Corrupt, match=r"^m: "):
        refs.get((2,))


def test_location_that_unpacks_to_gigabytes() -> None:
    """A frame that declares, or streams, more than 1024 bytes is refused before it is unpacked."""
    dictionary = train_dictionary([b"s3://bucket/data/file-%d" % row for row in range(100)], 2048)
    assert dictionary is not None
    trained = zstandard.ZstdCompressionDict(dictionary)
    for declare in (True, False):
        bomb = zstandard.ZstdCompressor(dict_data=trained, write_content_size=declare).compress(bytes(10**8))
        with pytest.raises(Corrupt):
            LocationDecompressor(dictionary, name="m").decompress(bomb)


def test_locations_can_be_read_by_threads() -> None:
    """One manifest in a cache serves several threads at once."""
    value = virtual_manifest(3000)
    refs = decode_manifest(encode_manifest(value, spec_version=2), name="m").arrays[NODE]
    expected = value.arrays[NODE].virtual_locations()
    results: list[list[str]] = []
    threads = [threading.Thread(target=lambda: results.append(refs.virtual_locations())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 6


def test_native_manifests_do_not_keep_the_payload() -> None:
    """Columns of native refs hold no reference to the decompressed file."""
    value = manifest({(row,): NativeRef(ID, row, 1) for row in range(10)})
    refs = decode_manifest(encode_manifest(value, spec_version=2), name="m").arrays[NODE]
    assert refs.sources == ()
    assert refs.payloads is None


def test_a_million_refs_have_no_python_objects() -> None:
    """Memory of a decoded manifest is its columns: 45 bytes for a native ref in 4 dimensions."""
    coords = np.indices((10, 20, 50, 100), dtype=np.uint32).reshape(4, -1).T
    rows = len(coords)
    refs = ChunkRefs.native(coords, np.zeros((rows, 12), np.uint8), np.arange(rows), np.ones(rows))
    again = decode_manifest(encode_manifest(Manifest(ID, {NODE: refs}), spec_version=2), name="m").arrays[
        NODE
    ]
    assert again == refs
    assert sum(column.nbytes for column in again.columns[:5]) == 45 * rows
