"""Damaged snapshots, manifests and logs: Corrupt or a well-formed value, whatever the bytes are.

Never another error, a crash, a hang or a large allocation. The compressed data carries no checksum, so
damage may also give other valid content.
"""

from __future__ import annotations

import contextlib
import struct as pystruct
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt
from icechunk_core.format import flexbuffers
from icechunk_core.format._flat_builder import Later, Table, Vector, build, build_front, struct
from icechunk_core.format.envelope import FileType, seal, unseal
from icechunk_core.format.manifest import ChunkRefs, Manifest, NativeRef, decode_manifest, encode_manifest
from icechunk_core.format.snapshot import Snapshot, decode_snapshot
from icechunk_core.format.transaction_log import TransactionLog, decode_transaction_log
from tests.vectors_support import VECTOR_NAMES, load_vector

MEBI = 2**20


def consume_snapshot(data: bytes) -> None:
    """Decode everything a snapshot holds, and look things up."""
    snapshot = decode_snapshot(data, name="object")
    assert isinstance(snapshot, Snapshot)
    for path in snapshot.nodes.paths():
        with contextlib.suppress(Corrupt):
            node = snapshot.nodes.get(path)
            assert node is not None
            assert node.path == path
            assert snapshot.nodes.by_id(node.id) is not None
    list(snapshot.nodes.children("/"))


def consume_manifest(data: bytes) -> None:
    """Decode every ref of a manifest, and look each up."""
    manifest = decode_manifest(data, name="object")
    assert isinstance(manifest, Manifest)
    for refs in manifest.arrays.values():
        for row, coord in enumerate(refs.coords.tolist()):
            assert refs.find(coord) == row
            with contextlib.suppress(Corrupt):
                refs.ref(row)
        assert len(refs.extents()) == refs.ndim
        refs.native_ids()


def consume_log(data: bytes) -> None:
    """Decode a log."""
    assert isinstance(decode_transaction_log(data, name="object"), TransactionLog)


@frozen
class Kind:
    """One kind of file: where it lies and how to read all of it."""

    prefix: str
    file_type: FileType
    consume: Callable[[bytes], None]


KINDS = {
    kind.prefix: kind
    for kind in (
        Kind("snapshots", FileType.SNAPSHOT, consume_snapshot),
        Kind("manifests", FileType.MANIFEST, consume_manifest),
        Kind("transactions", FileType.TRANSACTION_LOG, consume_log),
    )
}


def survives(kind: Kind, data: bytes) -> None:
    """Reading gives a value or Corrupt with the object's name."""
    names = {"object"}
    try:
        kind.consume(data)
    except Corrupt as error:
        names.add(error.object_name)
    assert names == {"object"}


def files(vector_name: str, prefix: str, limit: int) -> Iterator[bytes]:
    """Files of one kind in a vector, of different sizes, up to 4 KiB of payload."""
    vector = load_vector(vector_name)
    sizes: set[int] = set()
    for key in vector.keys(prefix):
        data = vector.read(key)
        payload = unseal(data, KINDS[prefix].file_type, name=key)[1]
        if len(payload) in sizes or len(payload) > 4096 or len(sizes) == limit:
            continue
        sizes.add(len(payload))
        yield data


def flips(data: bytes, mask: int) -> Iterator[bytes]:
    """The data with one byte changed, for each byte."""
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= mask
        yield bytes(broken)


def flip_every_byte(kind: Kind, data: bytes, masks: tuple[int, ...]) -> None:
    """Damage a file in every place, then its payload in every place behind an intact envelope."""
    header, payload = unseal(data, kind.file_type, name="object")
    for mask in masks:
        for broken in flips(data, mask):
            survives(kind, broken)
        for broken in flips(payload, mask):
            survives(kind, seal(kind.file_type, broken, spec_version=header.spec_version, level=1))


@pytest.mark.parametrize("prefix", KINDS)
@pytest.mark.parametrize("name", ["v1-plain", "v1-by-2.3", "v21-chunk-kinds", "v21-changes"])
def test_every_byte_of_some_files(name: str, prefix: str) -> None:
    """Each byte of the file and of its payload inverted: for a few files of either spec version."""
    for data in files(name, prefix, limit=2):
        flip_every_byte(KINDS[prefix], data, (0xFF,))


@pytest.mark.slow
@pytest.mark.parametrize("prefix", KINDS)
@pytest.mark.parametrize("name", VECTOR_NAMES)
def test_every_byte_of_every_small_file(name: str, prefix: str) -> None:
    """Each byte changed in three ways, in all small files of all vectors."""
    for data in files(name, prefix, limit=1000):
        flip_every_byte(KINDS[prefix], data, (0xFF, 0x01, 0x80))


@pytest.mark.parametrize("prefix", KINDS)
def test_truncated_files(prefix: str) -> None:
    """Cut off anywhere, as a file and as a payload, and with bytes appended."""
    kind = KINDS[prefix]
    data = next(files("v21-chunk-kinds", prefix, limit=1))
    header, payload = unseal(data, kind.file_type, name="object")
    for size in range(len(data)):
        with pytest.raises(Corrupt):
            kind.consume(data[:size])
    with pytest.raises(Corrupt):
        kind.consume(data + b"\0")
    for size in range(len(payload)):
        survives(kind, seal(kind.file_type, payload[:size], spec_version=header.spec_version))


@pytest.mark.parametrize("prefix", KINDS)
def test_numbers_replaced_by_extremes_allocate_little(prefix: str) -> None:
    """Any aligned number (count, offset, vtable) replaced by an extreme one takes no large allocation."""
    kind = KINDS[prefix]
    data = max(files("v21-chunk-kinds", prefix, limit=1000), key=len)
    header, payload = unseal(data, kind.file_type, name="object")
    tracemalloc.start()
    try:
        for position in range(0, len(payload) - 3, 4):
            for value in (0, 0x10000, 0xFFFFFFFF):
                broken = bytearray(payload)
                pystruct.pack_into("<I", broken, position, value)
                survives(kind, seal(kind.file_type, bytes(broken), spec_version=header.spec_version, level=1))
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBI
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("prefix", KINDS)
@given(data=st.data())
def test_several_damages_at_once(prefix: str, data: st.DataObject) -> None:
    """Random combinations of overwritten, inserted and removed bytes in payloads of genuine files."""
    kind = KINDS[prefix]
    name = data.draw(
        st.sampled_from(["v1-plain", "v1-by-2.3", "v21-chunk-kinds", "v21-changes", "v21-grids"])
    )
    found = list(files(name, prefix, limit=5))
    header, payload = unseal(data.draw(st.sampled_from(found)), kind.file_type, name="object")
    broken = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 5))):
        position = data.draw(st.integers(0, len(broken)))
        new = data.draw(st.binary(max_size=8))
        removed = data.draw(st.sampled_from([len(new), len(new), len(new), 0, 4]))
        broken[position : position + removed] = new
    survives(kind, seal(kind.file_type, bytes(broken), spec_version=header.spec_version, level=1))


@pytest.mark.parametrize("prefix", KINDS)
@given(payload=st.binary(max_size=300), spec_version=st.sampled_from([1, 2]))
def test_payloads_of_noise(prefix: str, payload: bytes, spec_version: int) -> None:
    """Arbitrary bytes behind an intact envelope."""
    kind = KINDS[prefix]
    survives(kind, seal(kind.file_type, payload, spec_version=spec_version, level=1))


def test_a_zip_bomb_is_refused() -> None:
    """A file of a few KiB that would unpack to gigabytes is Corrupt, and takes little memory."""
    bomb = seal(FileType.MANIFEST, bytes(200 * MEBI), spec_version=2)
    assert len(bomb) < 32 * 1024
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt):
            decode_manifest(bomb, name="object")
        assert tracemalloc.get_traced_memory()[1] < 80 * MEBI
    finally:
        tracemalloc.stop()


# --- content that unfolds ---


def measured(kind: Kind, payload: bytes, reason: str) -> int:
    """Peak memory of refusing a crafted payload for a reason, in bytes."""
    data = seal(kind.file_type, payload, spec_version=2)
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt, match=reason):
            kind.consume(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def shared(count: int, target: Table, before: list[Any], at: int, after: list[Any]) -> bytes:
    """A payload whose root has, in slot `at`, a vector of `count` references to one and the same table."""
    front = build(Table(*before, [Table()] * count, *after, [target]))
    root = pystruct.unpack_from("<I", front, 0)[0]
    vtable = root - pystruct.unpack_from("<i", front, root)[0]

    def vector(slot: int) -> int:
        field = root + pystruct.unpack_from("<H", front, vtable + 4 + 2 * slot)[0]
        return int(field + pystruct.unpack_from("<I", front, field)[0])

    many, one = vector(at), vector(len(before) + 1 + len(after)) + 4
    table = one + int(pystruct.unpack_from("<I", front, one)[0])
    places = np.arange(many + 4, many + 4 + 4 * count, 4)
    offsets: bytes = (table - places).astype("<u4").tobytes()
    return front[: many + 4] + offsets + front[many + 4 + 4 * count :]


def sharing(root: Table, references: list[Later], content: list[Table]) -> bytes:
    """A payload in which all open references of `root` lead to one vector of tables."""
    front = build_front(root)
    front += bytes(-len(front) % 8)
    inner = build(Table(content))
    field = pystruct.unpack_from("<I", inner, 0)[0] + 4
    vector = len(front) + field + pystruct.unpack_from("<I", inner, field)[0]
    for reference in references:
        pystruct.pack_into("<I", front, reference.at, vector - reference.at)
    return bytes(front) + inner


def test_one_list_of_refs_shared_by_many_arrays() -> None:
    """Thousands of arrays in a manifest that all have the same large list of refs."""
    references = [Later() for _ in range(5000)]
    arrays = [Table(struct(row.to_bytes(8, "big")), reference) for row, reference in enumerate(references)]
    refs = [
        Table(Vector(row.to_bytes(4, "little"), 1), None, None, None, struct(bytes(12)))
        for row in range(5000)
    ]
    payload = sharing(Table(struct(bytes(12)), arrays), references, refs)
    assert measured(KINDS["manifests"], payload, "too often") < 16 * MEBI


def test_one_array_referred_to_many_times() -> None:
    """Thousands of references to one array in a manifest: it is listed twice."""
    ref = Table(Vector(bytes(4), 1), None, None, None, struct(bytes(12)))
    payload = shared(20_000, Table(struct(b"nodenode"), [ref]), [struct(bytes(12))], 1, [None, None, None])
    assert measured(KINDS["manifests"], payload, "listed twice") < 16 * MEBI


def test_one_ref_referred_to_many_times() -> None:
    """Hundreds of thousands of references to one chunk ref."""
    for coords in (Vector(b"", 0), Vector(bytes(4), 1), Vector(bytes(4 * 1000), 1000)):
        ref = Table(coords, None, None, None, struct(bytes(12)))
        inner = shared(200_000, ref, [struct(b"nodenode")], 1, [])
        # Make that table the only array of a manifest, by putting a root in front of it.
        head = bytearray(64)
        table = 64 + pystruct.unpack_from("<I", inner, 0)[0]
        pystruct.pack_into("<I", head, 0, 20)
        pystruct.pack_into("<HHHH", head, 8, 8, 20, 8, 4)
        pystruct.pack_into("<iI", head, 20, 12, 44 - 24)
        pystruct.pack_into("<II", head, 44, 1, table - 48)
        assert measured(KINDS["manifests"], bytes(head) + inner, "do not fit") < 40 * MEBI


def test_one_node_referred_to_many_times() -> None:
    """A hundred thousand references to one node with a long path."""
    node = Table(struct(b"nodenode"), "/" + "x" * 5000, b"{}", None, None)
    payload = shared(100_000, node, [struct(bytes(12)), None], 2, [None, "m", [], Vector(b"", 0, 8)])
    assert measured(KINDS["snapshots"], payload, "too often") < 16 * MEBI


def test_one_metadata_item_referred_to_many_times() -> None:
    """A hundred thousand references to one large metadata value."""
    item = Table("name", flexbuffers.encode("x" * 50_000))
    before: list[Any] = [struct(bytes(12)), None, [], None, "m"]
    payload = shared(100_000, item, before, 5, [Vector(b"", 0, 8)])
    assert measured(KINDS["snapshots"], payload, "too often") < 40 * MEBI


def test_one_list_of_coordinates_shared_by_many_arrays() -> None:
    """Thousands of arrays in a log that all have the same coordinates of a thousand dimensions."""
    references = [Later() for _ in range(5000)]
    arrays = [Table(struct(row.to_bytes(8, "big")), reference) for row, reference in enumerate(references)]
    coords = [Table(Vector(bytes(4000), 1000)) for _ in range(30)]
    ids = [Vector(b"", 0)] * 6
    payload = sharing(Table(struct(bytes(12)), *ids, arrays), references, coords)
    assert measured(KINDS["transactions"], payload, "too often") < 16 * MEBI


def test_a_count_just_above_what_fits() -> None:
    """A list of refs one longer than the buffer is refused; the genuine one is read."""
    refs = ChunkRefs.from_items(1, {(row,): NativeRef(bytes(12), row, 1) for row in range(10)})
    data = encode_manifest(Manifest(bytes(12), {b"nodenode": refs}), spec_version=2)
    payload = bytearray(unseal(data, FileType.MANIFEST, name="object")[1])
    assert payload.count(pystruct.pack("<I", 10)) == 1
    at = payload.index(pystruct.pack("<I", 10))
    for count in (11, 30, 1000, 2**30, 2**32 - 1):
        pystruct.pack_into("<I", payload, at, count)
        with pytest.raises(Corrupt):
            consume_manifest(seal(FileType.MANIFEST, bytes(payload), spec_version=2))
