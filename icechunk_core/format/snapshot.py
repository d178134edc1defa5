"""Snapshots: the nodes of a repository at one commit (FORMAT.md, 6.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import field, frozen

from icechunk_core.format._snapshot_decode import decode_payload
from icechunk_core.format._snapshot_encode import encode_payload
from icechunk_core.format.envelope import FileType, seal, unseal
from icechunk_core.format.layout import INITIAL_MESSAGE, INITIAL_SNAPSHOT_ID
from icechunk_core.format.manifest_files import ManifestFileInfo, ManifestFiles
from icechunk_core.format.node_table import ArrayData, ManifestRef, NodeSnapshot, NodeTable

__all__ = [
    "ArrayData",
    "ManifestFileInfo",
    "ManifestRef",
    "NodeSnapshot",
    "NodeTable",
    "Snapshot",
    "decode_snapshot",
    "encode_snapshot",
    "initial_snapshot",
]


def _by_id(infos: Iterable[ManifestFileInfo]) -> ManifestFiles:
    return ManifestFiles.of(infos)


@frozen
class Snapshot:
    """A snapshot file.

    Attributes
    ----------
    id
        12 raw bytes; names the file.
    parent_id
        Spec 1 only: None for the first snapshot. Spec 2 keeps parents in the repo file.
    flushed_at
        Time of the commit, in µs since 1970.
    message, metadata
        What the committer said; the values of ``metadata`` are JSON.
    manifest_files
        All manifests that the nodes refer to, sorted by id.
    nodes
        The groups and arrays.
    """

    id: bytes
    parent_id: bytes | None
    flushed_at: int
    message: str
    metadata: dict[str, Any]
    manifest_files: ManifestFiles = field(converter=_by_id)
    nodes: NodeTable

    def manifest_file(self, id: bytes) -> ManifestFileInfo | None:
        """What is known about one of the manifests, None if it is not listed."""
        return self.manifest_files.find(id)


def initial_snapshot(flushed_at: int) -> Snapshot:
    """The first snapshot of every repository (FORMAT.md, section 3)."""
    metadata = {"__icechunk": {"is_root": True}}
    nodes = NodeTable.from_nodes(())
    return Snapshot(INITIAL_SNAPSHOT_ID, None, flushed_at, INITIAL_MESSAGE, metadata, (), nodes)


def encode_snapshot(snapshot: Snapshot, *, spec_version: int, level: int = 3) -> bytes:
    """The content of a snapshot file.

    The parent is written in spec 1 only. There, chunk lengths are computed from the number of
    chunks, and may differ from those in the metadata.

    Raises
    ------
    FormatError
        It would exceed 2 GiB, or a number or metadata value cannot be written.
    """
    payload = encode_payload(
        id=snapshot.id,
        parent_id=snapshot.parent_id,
        flushed_at=snapshot.flushed_at,
        message=snapshot.message,
        metadata=snapshot.metadata,
        manifest_files=snapshot.manifest_files,
        nodes=snapshot.nodes,
        spec_version=spec_version,
    )
    return seal(FileType.SNAPSHOT, payload, spec_version=spec_version, level=level)


def decode_snapshot(data: bytes | bytearray | memoryview, *, name: str) -> Snapshot:
    """Read a snapshot file of either spec version.

    Nodes are decoded when they are asked for.

    Parameters
    ----------
    data
        The whole object.
    name
        What errors call it, normally its key.

    Raises
    ------
    Corrupt
        The file is malformed.
    """
    header, payload = unseal(data, FileType.SNAPSHOT, name=name)
    return Snapshot(*decode_payload(payload, spec_version=header.spec_version, name=name))
