"""The snapshot of a commit, from its base, the session's changes and the manifests that were written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icechunk_core.errors import Corrupt, ErrorKind, FormatError
from icechunk_core.format.layout import snapshot_key
from icechunk_core.format.snapshot import (
    ArrayData,
    ManifestFileInfo,
    ManifestRef,
    NodeSnapshot,
    NodeTable,
    Snapshot,
)
from icechunk_core.transaction.change_set import ChangeSet

__all__ = ["build_snapshot", "next_timestamp"]


def next_timestamp(now_us: int, *previous: int) -> int:
    """A time for something that must be later than ``previous``: now, or just after the latest of them.

    >>> next_timestamp(50, 10, 60)
    61
    """
    return max((now_us, *(time + 1 for time in previous)))


def build_snapshot(
    base: Snapshot,
    changes: ChangeSet,
    manifests: Mapping[bytes, tuple[ManifestRef, ...]],
    new_files: Mapping[bytes, ManifestFileInfo],
    *,
    id: bytes,
    parent_id: bytes | None,
    flushed_at: int,
    message: str,
    metadata: Mapping[str, Any],
) -> Snapshot:
    """The base with the changes applied.

    Parameters
    ----------
    manifests
        Node id to the manifests of every array that was planned (`plan_manifests`); other arrays keep theirs.
    new_files
        Size and number of refs of the manifests written for this commit, by manifest id.
    parent_id
        Recorded in spec 1 only (FORMAT.md, section 6.3); None otherwise.
    flushed_at
        Time of the commit in µs, later than the base's (see `next_timestamp`).

    Raises
    ------
    FormatError
        ``snapshot-timestamp``: the time is not after the base's.
    Corrupt
        If the base refers to a manifest that it does not list.
    """
    if flushed_at <= base.flushed_at:
        raise FormatError(
            f"a snapshot's time ({flushed_at} µs) must be after its parent's ({base.flushed_at} µs); "
            "check the clock of this machine",
            kind=ErrorKind.SNAPSHOT_TIMESTAMP,
        )
    nodes = base.nodes.updated(_changed_nodes(base.nodes, changes, manifests))
    return Snapshot(
        id=id,
        parent_id=parent_id,
        flushed_at=flushed_at,
        message=message,
        metadata=dict(metadata),
        manifest_files=_manifest_files(base, nodes, new_files),
        nodes=nodes,
    )


def _changed_nodes(
    base: NodeTable, changes: ChangeSet, manifests: Mapping[bytes, tuple[ManifestRef, ...]]
) -> dict[str, NodeSnapshot | None]:
    """By path what differs from the base: changed nodes, arrays with new manifests; None for what is gone."""
    found = changes.overlay(base)
    moved = {node.id: node for node in found.values() if node is not None}
    for node_id, refs in manifests.items():
        node = moved.get(node_id) or base.by_id(node_id)
        if node is not None and node.array is not None:
            array = node.array
            renewed = ArrayData(array.shape, array.num_chunks, array.dimension_names, refs)
            found[node.path] = NodeSnapshot(node.id, node.path, node.user_data, renewed)
    return found


def _manifest_files(
    base: Snapshot, nodes: NodeTable, new_files: Mapping[bytes, ManifestFileInfo]
) -> tuple[ManifestFileInfo, ...]:
    """Exactly the manifests that some array refers to, by id."""
    found = []
    for manifest_id in sorted(nodes.manifest_ids()):
        info = new_files.get(manifest_id) or base.manifest_file(manifest_id)
        if info is None:
            raise Corrupt(
                f"an array refers to manifest {manifest_id.hex()}, which the snapshot does not list",
                object_name=snapshot_key(base.id),
            )
        found.append(info)
    return tuple(found)
