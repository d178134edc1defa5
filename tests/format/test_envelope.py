"""Header and compression of metadata files."""

from __future__ import annotations

import contextlib
import io
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import Corrupt
from icechunk_core.format.envelope import HEADER_SIZE, IMPLEMENTATION_NAME, FileType, Header, seal, unseal

PAYLOAD = b"payload " * 1000
SEALED = seal(FileType.SNAPSHOT, PAYLOAD, spec_version=2)
HEADER = SEALED[:HEADER_SIZE]


def open_snapshot(data: bytes) -> bytes:
    return unseal(data, FileType.SNAPSHOT, name="snapshots/X")[1]


def streamed(payload: bytes, level: int = 3) -> bytes:
    """A frame whose header does not declare the content size."""
    compressor = zstandard.ZstdCompressor(level=level, write_content_size=False).compressobj()
    return compressor.compress(payload) + compressor.flush()


def raw_block(kind: int, size: int, content: bytes, *, last: bool) -> bytes:
    return (int(last) | kind << 1 | size << 3).to_bytes(3, "little") + content


def test_header_fields() -> None:
    """The header says version, type and writer."""
    header, payload = unseal(SEALED, FileType.SNAPSHOT, name="x")
    assert header == Header(2, FileType.SNAPSHOT, IMPLEMENTATION_NAME.decode().strip())
    assert payload == PAYLOAD
    assert len(IMPLEMENTATION_NAME) == 24


@given(st.binary(max_size=3000), st.sampled_from(FileType), st.sampled_from([1, 2]), st.integers(0, 255))
def test_round_trip(payload: bytes, file_type: FileType, spec_version: int, level: int) -> None:
    """Any payload survives at any configurable level; levels above zstd's highest mean the highest."""
    data = seal(file_type, payload, spec_version=spec_version, level=min(level, 30))
    header, found = unseal(data, file_type, name="x")
    assert (header.spec_version, header.file_type, found) == (spec_version, file_type, payload)


@pytest.mark.parametrize("level", [-7, -1, 1, 3, 10, 19])
@pytest.mark.parametrize("payload", [b"", b"x", PAYLOAD, bytes(range(256)) * 4000])
def test_frames_of_other_writers(level: int, payload: bytes) -> None:
    """Frames of every level are read, with and without the content size, with and without a checksum."""
    assert open_snapshot(HEADER + streamed(payload, level)) == payload
    declared = zstandard.ZstdCompressor(level=level, write_checksum=True).compress(payload)
    assert open_snapshot(HEADER + declared) == payload


def test_ultra_level() -> None:
    """The highest level, which allows windows of 128 MiB, is read."""
    assert open_snapshot(HEADER + zstandard.ZstdCompressor(level=22).compress(PAYLOAD)) == PAYLOAD


def test_flushed_blocks() -> None:
    """A frame of many small blocks, each of which could hold much more than it does, is read."""
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    pieces = [b"piece of text number %d, piece of text" % number for number in range(2000)]
    frame = b"".join(
        compressor.compress(piece) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for piece in pieces
    )
    frame += compressor.flush()
    assert open_snapshot(HEADER + frame) == b"".join(pieces)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ErrorKind.INVALID_FILE_FORMAT),
        (SEALED[:38], ErrorKind.INVALID_FILE_FORMAT),
        (b"x" + SEALED[1:], ErrorKind.INVALID_FILE_FORMAT),
        (SEALED[:36] + b"\x03" + SEALED[37:], ErrorKind.UNSUPPORTED_SPEC_VERSION),
        (SEALED[:36] + b"\x00" + SEALED[37:], ErrorKind.UNSUPPORTED_SPEC_VERSION),
        (SEALED[:37] + b"\x02" + SEALED[38:], ErrorKind.INVALID_FILE_FORMAT),
        (SEALED[:38] + b"\x00" + SEALED[39:], ErrorKind.INVALID_FILE_FORMAT),
        (SEALED[:38] + b"\x00" + PAYLOAD, ErrorKind.INVALID_FILE_FORMAT),
        (SEALED[:38] + b"\x02" + SEALED[39:], ErrorKind.INVALID_FILE_FORMAT),
    ],
)
def test_wrong_headers(data: bytes, kind: ErrorKind) -> None:
    """Too short, wrong magic, version, type or compression: `Corrupt`, with a kind that tells which."""
    with pytest.raises(Corrupt, match="snapshots/X") as caught:
        open_snapshot(data)
    assert caught.value.kind == kind
    assert caught.value.object_name == "snapshots/X"


def test_newer_version_says_upgrade() -> None:
    """A file of a later format version asks for an upgrade."""
    with pytest.raises(Corrupt, match="please upgrade icechunk-core"):
        open_snapshot(SEALED[:36] + b"\x03" + SEALED[37:])


def test_foreign_writers_are_read() -> None:
    """The writer's name is only shown; bytes that are no UTF-8 do not matter."""
    foreign = SEALED[:12] + b"ic-2.3.0".ljust(24) + SEALED[36:]
    assert unseal(foreign, FileType.SNAPSHOT, name="x")[0].implementation == "ic-2.3.0"
    assert open_snapshot(SEALED[:12] + b"\xff" * 24 + SEALED[36:]) == PAYLOAD


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x28\xb5\x2f\xfd",
        SEALED[HEADER_SIZE:-1],
        SEALED[HEADER_SIZE:] + b"\0",
        SEALED[HEADER_SIZE:] * 2,
        streamed(PAYLOAD)[:-3],
        streamed(PAYLOAD) + streamed(b"more"),
        b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + SEALED[HEADER_SIZE:],
        b"\x28\xb5\x2f\xfd\x20\x05" + raw_block(0, 4, b"abcd", last=True),
        b"\x28\xb5\x2f\xfd\x20\x03" + raw_block(0, 4, b"abcd", last=True),
        b"\x28\xb5\x2f\xfd\x20\x04" + raw_block(3, 4, b"abcd", last=True),
    ],
)
def test_damaged_frames(frame: bytes) -> None:
    """Truncated, trailing, skippable or several frames, and a wrong declared size, are `Corrupt`."""
    with pytest.raises(Corrupt, match="snapshots/X"):
        open_snapshot(HEADER + frame)


def bomb_of_repeated_bytes(blocks: int) -> bytes:
    """A few bytes per 128 KiB of content, no declared size, a window of 128 KiB."""
    block = raw_block(1, 128 * 1024, b"\0", last=False)
    return b"\x28\xb5\x2f\xfd\x00\x38" + block * (blocks - 1) + raw_block(1, 128 * 1024, b"\0", last=True)


def test_bombs_are_refused_without_memory() -> None:
    """Frames that expand to gigabytes are refused before anything of that size is allocated."""
    declared = b"\x28\xb5\x2f\xfd\xe0" + (2**40).to_bytes(8, "little") + raw_block(0, 4, b"abcd", last=True)
    sink = io.BytesIO()
    with zstandard.ZstdCompressor(level=19, write_content_size=False).stream_writer(
        sink, closefd=False
    ) as writer:
        for _ in range(100):
            writer.write(bytes(2**20))
    wide_window = b"\x28\xb5\x2f\xfd\x00\xff" + raw_block(0, 4, b"abcd", last=True)
    for frame in (bomb_of_repeated_bytes(100_000), declared, sink.getvalue(), wide_window):
        tracemalloc.start()
        with pytest.raises(Corrupt):
            open_snapshot(HEADER + frame)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 150 * 2**20


def test_limit_of_the_caller() -> None:
    """A payload of exactly the limit is read, one byte more is refused."""
    assert unseal(SEALED, FileType.SNAPSHOT, name="x", max_size=len(PAYLOAD))[1] == PAYLOAD
    with pytest.raises(Corrupt, match="more than the allowed"):
        unseal(SEALED, FileType.SNAPSHOT, name="x", max_size=len(PAYLOAD) - 1)
    with pytest.raises(Corrupt, match="more than the allowed"):
        unseal(HEADER + streamed(PAYLOAD), FileType.SNAPSHOT, name="x", max_size=len(PAYLOAD) - 1)


def test_highly_compressible_payloads_are_read() -> None:
    """Constant content of ordinary size is no bomb."""
    payload = bytes(30 * 2**20)
    assert open_snapshot(seal(FileType.SNAPSHOT, payload, spec_version=1)) == payload


def test_every_flipped_bit() -> None:
    """Flipping any bit gives `Corrupt` or some payload."""
    data = seal(FileType.SNAPSHOT, b"some text, some more text, some text" * 3, spec_version=2)
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            with contextlib.suppress(Corrupt):
                open_snapshot(bytes(changed))


@given(st.binary(max_size=200))
def test_any_bytes(frame: bytes) -> None:
    """Whatever follows the header, the answer is a payload or `Corrupt`."""
    for prefix in (b"", b"\x28\xb5\x2f\xfd"):
        with contextlib.suppress(Corrupt):
            open_snapshot(HEADER + prefix + frame)
