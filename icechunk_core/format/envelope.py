"""The envelope of metadata files: a 39 byte header and one zstd frame (FORMAT.md, section 4)."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from enum import IntEnum
from typing import TypeAlias

import zstandard
from attrs import frozen

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import Corrupt, FormatError

__all__ = [
    "HEADER_SIZE",
    "IMPLEMENTATION_NAME",
    "MAX_PAYLOAD_SIZE",
    "FileType",
    "Header",
    "read_header",
    "seal",
    "seal_pieces",
    "unseal",
]

BytesLike: TypeAlias = bytes | bytearray | memoryview

MAGIC = "ICE🧊CHUNK".encode()
HEADER_SIZE = 39
IMPLEMENTATION_NAME = b"icechunk-core-0.1.0".ljust(24)
"""Who wrote the file; readers only show it."""

MAX_PAYLOAD_SIZE = 2**31
"""No FlatBuffers payload is larger, in bytes."""

# What a file may expand to, so that a few bytes cannot claim gigabytes. Real metadata compresses 2 to 100
# times; the extreme that the format allows, manifests of constant inline chunks of 64 KiB, about 8000 times.
_MAX_EXPANSION = 8192
_ALWAYS_ALLOWED = 32 * 2**20
_MAX_WINDOW = 2**27
_STEP = 4 * 2**20

_COMPRESSION_ZSTD = 1
_MAX_LEVEL = 22
_KEPT_LEVEL = 9  # higher ones need up to hundreds of megabytes
_FRAME_MAGIC = b"\x28\xb5\x2f\xfd"
_MAX_BLOCK = 128 * 1024
_BLOCK_RAW, _BLOCK_RLE, _BLOCK_COMPRESSED = 0, 1, 2


class FileType(IntEnum):
    """Codes of the file types that have an envelope."""

    SNAPSHOT = 1
    MANIFEST = 2
    TRANSACTION_LOG = 4
    REPO_INFO = 6


class _Contexts(threading.local):
    """This thread's zstd contexts: to make one takes longer than to compress a small file with it."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor()
        self._compressors: dict[int, zstandard.ZstdCompressor] = {}

    def compressor(self, level: int) -> zstandard.ZstdCompressor:
        """A compressor for a level. High levels need much memory, which is not kept."""
        found = self._compressors.get(level)
        if found is None:
            found = zstandard.ZstdCompressor(level=level)
            if level <= _KEPT_LEVEL:
                self._compressors[level] = found
        return found


_contexts = _Contexts()


@frozen
class Header:
    """What a file's header says.

    Attributes
    ----------
    spec_version
        1 or 2. It counts per file: a migrated repository has both.
    file_type
        What the payload is.
    implementation
        Name and version of the writer, for display.
    """

    spec_version: int
    file_type: FileType
    implementation: str


def seal(file_type: FileType, payload: BytesLike, *, spec_version: int, level: int = 3) -> bytes:
    """Compress a payload and put the header before it.

    Parameters
    ----------
    file_type, payload
        What to write: a FlatBuffers buffer of that type.
    spec_version
        1 or 2.
    level
        zstd level; values above zstd's highest (22) mean the highest.

    Raises
    ------
    FormatError
        The payload is larger than any reader accepts (2^31 bytes).
    """
    header = _header(file_type, len(payload), spec_version)
    return header + _contexts.compressor(min(level, _MAX_LEVEL)).compress(payload)


def seal_pieces(
    file_type: FileType, pieces: Iterable[BytesLike], size: int, *, spec_version: int, level: int = 3
) -> bytes:
    """`seal` for a payload of ``size`` bytes in pieces, which need not be in memory at the same time."""
    sealed = [_header(file_type, size, spec_version)]
    stream = zstandard.ZstdCompressor(level=min(level, _MAX_LEVEL)).compressobj(size=size)
    sealed += [compressed for piece in pieces if (compressed := stream.compress(piece))]
    sealed.append(stream.flush())
    return b"".join(sealed)


def _header(file_type: FileType, size: int, spec_version: int) -> bytes:
    if size >= MAX_PAYLOAD_SIZE:
        raise FormatError(
            f"a {file_type.name} file of {size} bytes exceeds the format's limit of 2^31 bytes",
            kind=ErrorKind.SERIALIZATION,
        )
    return MAGIC + IMPLEMENTATION_NAME + bytes((spec_version, file_type, _COMPRESSION_ZSTD))


def unseal(
    data: BytesLike, file_type: FileType, *, name: str, max_size: int = MAX_PAYLOAD_SIZE
) -> tuple[Header, bytes]:
    """Check a file's header and decompress its payload.

    Parameters
    ----------
    data
        The whole object.
    file_type
        What it must be.
    name
        What errors call the object, normally its key.
    max_size
        Largest payload to accept, in bytes. Besides that, a payload over 32 MiB may not be more than 8192
        times the compressed size.

    Raises
    ------
    Corrupt
        Anything about the file is malformed, of another type, or too large.
    """
    header = read_header(data, file_type, name=name)
    frame = memoryview(data)[HEADER_SIZE:]
    limit = min(max_size, max(_ALWAYS_ALLOWED, _MAX_EXPANSION * len(frame)))
    try:
        return header, _decompress(frame, limit, name)
    except zstandard.ZstdError as error:
        raise Corrupt(f"damaged zstd data: {error}", object_name=name) from error
    except MemoryError as error:
        raise Corrupt("decompressing needs more memory than there is", object_name=name) from error


def read_header(data: BytesLike, file_type: FileType, *, name: str) -> Header:
    """Check the header of a file, and only that; see `unseal`."""
    if len(data) < HEADER_SIZE:
        raise Corrupt(
            f"{len(data)} bytes are too short for an Icechunk file",
            object_name=name,
            kind=ErrorKind.INVALID_FILE_FORMAT,
        )
    head = bytes(data[:HEADER_SIZE])
    if not head.startswith(MAGIC):
        raise Corrupt("not an Icechunk file", object_name=name, kind=ErrorKind.INVALID_FILE_FORMAT)
    spec_version, found_type, compression = head[36:39]
    if spec_version not in (1, 2):
        raise Corrupt(
            f"written for spec version {spec_version}; please upgrade icechunk-core",
            object_name=name,
            kind=ErrorKind.UNSUPPORTED_SPEC_VERSION,
        )
    if found_type != file_type:
        raise Corrupt(
            f"file type {found_type} where {int(file_type)} ({file_type.name}) belongs",
            object_name=name,
            kind=ErrorKind.INVALID_FILE_FORMAT,
        )
    if compression != _COMPRESSION_ZSTD:
        raise Corrupt(
            f"unknown compression {compression}", object_name=name, kind=ErrorKind.INVALID_FILE_FORMAT
        )
    writer = head[12:36].decode("utf-8", errors="replace").rstrip(" \0")
    return Header(spec_version, file_type, writer)


def _decompress(frame: memoryview, limit: int, name: str) -> bytes:
    """Decompress exactly one frame to at most ``limit`` bytes."""
    if frame[:4] != _FRAME_MAGIC:
        raise Corrupt("no zstd frame after the header", object_name=name)
    parameters = zstandard.get_frame_parameters(frame)
    declared = zstandard.frame_content_size(frame)  # -1: not declared
    least, most = _measure_blocks(frame, parameters.has_checksum, limit, name)
    if max(least, declared) > limit:
        raise Corrupt(f"decompresses to more than the allowed {limit} bytes", object_name=name)
    if parameters.window_size > max(_MAX_WINDOW, declared):
        raise Corrupt(f"zstd window of {parameters.window_size} bytes is too large", object_name=name)
    if declared > most:
        raise Corrupt(f"declares {declared} bytes but holds at most {most}", object_name=name)
    if most <= limit:
        # One pass into a buffer of known bounded size: no window is allocated, whatever the header claims.
        payload = _contexts.decompressor.decompress(frame, max_output_size=max(most, 1))
    else:
        payload = _decompress_in_steps(frame, limit, name)
    if declared not in (-1, len(payload)):
        raise Corrupt(f"declares {declared} bytes but holds {len(payload)}", object_name=name)
    return payload


def _decompress_in_steps(frame: memoryview, limit: int, name: str) -> bytes:
    """Decompress a frame whose blocks could hold more than ``limit``, growing only as data really comes."""
    pieces: list[bytes] = []
    size = 0
    with zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(frame) as reader:
        while piece := reader.read(_STEP):
            size += len(piece)
            if size > limit:
                raise Corrupt(f"decompresses to more than the allowed {limit} bytes", object_name=name)
            pieces.append(piece)
    return b"".join(pieces)


def _measure_blocks(frame: memoryview, has_checksum: bool, limit: int, name: str) -> tuple[int, int]:
    """Walk the block headers to the end of the data: the least and the most bytes the frame can hold."""
    position, end = zstandard.frame_header_size(frame), len(frame)
    stored, compressed_blocks, last = 0, 0, False
    while not last:
        if position + 3 > end:
            raise Corrupt("truncated zstd frame", object_name=name)
        word = frame[position] | frame[position + 1] << 8 | frame[position + 2] << 16
        last, kind, size = bool(word & 1), word >> 1 & 3, word >> 3
        position += 3
        if kind == _BLOCK_COMPRESSED:
            compressed_blocks += 1
            position += size
        elif kind == _BLOCK_RAW:
            stored += size
            position += size
        elif kind == _BLOCK_RLE:
            stored += size
            position += 1
            if stored > limit:
                break
        else:
            raise Corrupt("reserved zstd block type", object_name=name)
    else:
        position += 4 if has_checksum else 0
        if position != end:
            problem = (
                "truncated zstd frame" if position > end else f"{end - position} bytes after the zstd frame"
            )
            raise Corrupt(problem, object_name=name)
    return stored, stored + compressed_blocks * _MAX_BLOCK
