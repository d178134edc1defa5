"""What a snapshot knows about a manifest file (FORMAT.md, 6.3)."""

from __future__ import annotations

from attrs import frozen

__all__ = ["ManifestFileInfo"]


@frozen
class ManifestFileInfo:
    """A manifest of a snapshot.

    Attributes
    ----------
    id
        12 raw bytes.
    size_bytes
        Size of the object; readers fetch exactly that many bytes. 0: unknown.
    num_chunk_refs
        Refs of all its arrays together.
    """

    id: bytes
    size_bytes: int
    num_chunk_refs: int
