"""Chunk manifests: where the chunks of one or several arrays are (FORMAT.md, 6.2)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from icechunk_core.format._manifest_decode import decode_payload
from icechunk_core.format._manifest_encode import encode_payload
from icechunk_core.format.chunk_refs import ChunkRefs
from icechunk_core.format.envelope import FileType, seal, unseal
from icechunk_core.format.locations import LocationCompression
from icechunk_core.format.refs import ChunkRef, InlineRef, NativeRef, RefKind, VirtualRef

__all__ = [
    "ChunkRef",
    "ChunkRefs",
    "InlineRef",
    "LocationCompression",
    "Manifest",
    "NativeRef",
    "RefKind",
    "VirtualRef",
    "decode_manifest",
    "encode_manifest",
]

_DEFAULT_COMPRESSION = LocationCompression()


@frozen
class Manifest:
    """A manifest file.

    Attributes
    ----------
    id
        12 raw bytes; names the file.
    arrays
        Refs by node id (8 raw bytes).
    """

    id: bytes
    arrays: Mapping[bytes, ChunkRefs]

    @property
    def num_chunk_refs(self) -> int:
        """Refs of all arrays together."""
        return sum(map(len, self.arrays.values()))


def encode_manifest(
    manifest: Manifest,
    *,
    spec_version: int,
    level: int = 3,
    location_compression: LocationCompression | None = _DEFAULT_COMPRESSION,
) -> bytes:
    """The content of a manifest file.

    Parameters
    ----------
    manifest
        What to write.
    spec_version
        1 or 2. Spec 1 has no compressed locations.
    level
        zstd level.
    location_compression
        When and how virtual locations are compressed with a dictionary; None: never.

    Raises
    ------
    FormatError
        It would exceed 2 GiB.
    """
    payload = encode_payload(manifest.id, manifest.arrays, location_compression if spec_version > 1 else None)
    return seal(FileType.MANIFEST, payload, spec_version=spec_version, level=level)


def decode_manifest(data: bytes | bytearray | memoryview, *, name: str) -> Manifest:
    """Read a manifest file of either spec version.

    Refs in the wrong order are sorted. Inline data and locations are read when a ref is asked for.

    Parameters
    ----------
    data
        The whole object.
    name
        What errors call it, normally its key.

    Raises
    ------
    Corrupt
        The file is malformed, or has two refs for one chunk.
    """
    _, payload = unseal(data, FileType.MANIFEST, name=name)
    return Manifest(*decode_payload(payload, name=name))
