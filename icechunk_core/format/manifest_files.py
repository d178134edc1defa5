"""What a snapshot knows about a manifest file (FORMAT.md, 6.3)."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ManifestFileInfo"]


class ManifestFileInfo(NamedTuple):
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
