"""The content of metadata files as plain dictionaries, ready for JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, get_args

import attrs
import numpy as np

from icechunk_core.clock import datetime_from_us
from icechunk_core.format import base32, repo_info
from icechunk_core.format.chunk_refs import ChunkRefs
from icechunk_core.format.envelope import FileType, Header
from icechunk_core.format.manifest import Manifest
from icechunk_core.format.refs import RefKind
from icechunk_core.format.snapshot import NodeSnapshot, Snapshot
from icechunk_core.format.transaction_log import TransactionLog

__all__ = [
    "describe_header",
    "describe_manifest",
    "describe_repo_info",
    "describe_snapshot",
    "describe_transaction_log",
]

_FILE_TYPES = {
    FileType.SNAPSHOT: "snapshot",
    FileType.MANIFEST: "manifest",
    FileType.TRANSACTION_LOG: "transaction-log",
    FileType.REPO_INFO: "repo-info",
}
_WRITER = re.compile(r"(?P<name>.*?)-(?P<version>\d.*)")


def describe_header(header: Header) -> dict[str, Any]:
    """Who wrote a file, in which version of the format."""
    written_by = header.implementation.strip()
    writer = _WRITER.fullmatch(written_by)
    return {
        "written_by": written_by,
        "app_name": writer["name"] if writer else written_by,
        "app_version": writer["version"] if writer else None,
        "spec_version": f"{header.spec_version}.0",
        "file_type": _FILE_TYPES[header.file_type],
        "compression": "zstd",
    }


def describe_snapshot(header: Header, snapshot: Snapshot) -> dict[str, Any]:
    """The nodes of a snapshot, and the manifests that it uses."""
    return {
        "id": base32.encode(snapshot.id),
        "header": describe_header(header),
        "flushed_at": _time(snapshot.flushed_at),
        "commit_message": snapshot.message,
        "metadata": dict(snapshot.metadata),
        "manifests": [
            {"id": base32.encode(m.id), "size_bytes": m.size_bytes, "num_chunk_refs": m.num_chunk_refs}
            for m in snapshot.manifest_files
        ],
        "nodes": [_node(node) for node in snapshot.nodes],
    }


def _node(node: NodeSnapshot) -> dict[str, Any]:
    about = {"id": base32.encode(node.id), "path": node.path}
    array = node.array
    if array is None:
        return {**about, "node_type": "group"}
    names = array.dimension_names or (None,) * len(array.shape)
    shape = [
        {**({} if name is None else {"name": name}), "array_length": length, "num_chunks": chunks}
        for name, length, chunks in zip(names, array.shape, array.num_chunks, strict=True)
    ]
    manifests = [
        {"id": base32.encode(ref.id), "extents": [list(extent) for extent in ref.extents]}
        for ref in array.manifests
    ]
    return {**about, "node_type": "array", "shape": shape, "manifest_refs": manifests}


_ATTRIBUTES: dict[type[Any], list[str]] = {
    kind: [attribute.name for attribute in attrs.fields(kind)] for kind in get_args(repo_info.UpdateKind)
}


def describe_repo_info(header: Header, info: repo_info.RepoInfo) -> dict[str, Any]:
    """Refs, history, metadata and the newest page of the operations log."""
    result: dict[str, Any] = {
        "header": describe_header(header),
        "spec_version": f"{info.spec_version}.0",
        "branches": {name: base32.encode(info.branches[name]) for name in sorted(info.branches)},
        "tags": {name: base32.encode(info.tags[name]) for name in sorted(info.tags)},
        "deleted_tags": sorted(info.deleted_tags),
        "snapshots": _history_entries(info.snapshots),
        "metadata": deepcopy(info.metadata),  # the original is kept for the next look
        "latest_updates": _updates(list(info.updates)),
    }
    if info.repo_before_updates is not None:
        result["repo_before_updates"] = info.repo_before_updates
    return result


def _history_entries(snapshots: repo_info.SnapshotTable) -> list[dict[str, Any]]:
    entries = snapshots.outlines()
    names = base32.encode_many(b"".join(entries.ids))
    texts: dict[bytes | None, str] = dict(zip(entries.ids, names, strict=True))
    columns = (names, entries.parent_ids, _times(entries.times), entries.messages, snapshots.metadata())
    return [
        {"id": name, "flushed_at": time, "message": message, "metadata": metadata}
        if parent is None
        else {
            "id": name,
            "parent_id": texts.get(parent) or base32.encode(parent),
            "flushed_at": time,
            "message": message,
            "metadata": metadata,
        }
        for name, parent, time, message, metadata in zip(*columns, strict=True)
    ]


def _updates(updates: list[repo_info.Update]) -> list[dict[str, Any]]:
    return list(map(_update, updates, _times([update.updated_at for update in updates])))


def _update(update: repo_info.Update, time: str) -> dict[str, Any]:
    kind = update.kind
    name = type(kind).__name__
    if not isinstance(kind, repo_info.FeatureFlagChanged):  # the one without that ending
        name = f"{name.removesuffix('Update')}Update"
    about: dict[str, Any] = {"type": name}
    for attribute in _ATTRIBUTES[type(kind)]:
        value = getattr(kind, attribute)
        if isinstance(value, bytes):
            value = base32.encode(value)
        elif isinstance(value, repo_info.RepoStatus):
            value = {
                "availability": "ReadOnly" if value.is_read_only else "Online",
                "limited_availability_reason": value.reason,
                "set_at": _time(value.set_at),
            }
        about[attribute] = value
    result: dict[str, Any] = {"update_type": about, "updated_at": time}
    if update.backup_path is not None:
        result["backup_path"] = update.backup_path
    return result


def describe_manifest(header: Header, manifest: Manifest, payload_size: int) -> dict[str, Any]:
    """How many chunks a manifest lists, of which kinds, and how it stores locations."""
    arrays = [_refs(node_id, refs) for node_id, refs in sorted(manifest.arrays.items())]

    def total(key: str) -> int:
        return sum(array[key] for array in arrays)

    dictionary, compressed = _location_compression(manifest.arrays.values())
    compression: dict[str, Any] = {"uses_location_compression": dictionary is not None}
    if dictionary is not None:
        compression["dictionary_size_bytes"] = len(dictionary)
    return {
        "id": base32.encode(manifest.id),
        "header": describe_header(header),
        "size_bytes": payload_size,
        "num_arrays": len(arrays),
        "total_chunk_refs": total("num_chunk_refs"),
        "total_inline": total("num_inline"),
        "total_native": total("num_native"),
        "total_virtual": total("num_virtual"),
        "arrays": arrays,
        "compression": {**compression, "num_compressed_refs": compressed},
    }


def _refs(node_id: bytes, refs: ChunkRefs) -> dict[str, Any]:
    return {
        "node_id": base32.encode(node_id),
        "num_chunk_refs": len(refs),
        "num_inline": int((refs.kind == RefKind.INLINE).sum()),
        "num_native": int((refs.kind == RefKind.NATIVE).sum()),
        "num_virtual": int((refs.kind == RefKind.VIRTUAL).sum()),
    }


def _location_compression(arrays: Iterable[ChunkRefs]) -> tuple[bytes | None, int]:
    """The dictionary of compressed locations, and how many locations need it."""
    dictionary, count = None, 0
    for refs in arrays:
        if refs.payloads is None:
            continue
        count += int(refs.payloads["compressed"].sum())
        dictionary = next((s.dictionary for s in refs.sources if s.dictionary is not None), dictionary)
    return dictionary, count


def describe_transaction_log(header: Header, log: TransactionLog) -> dict[str, Any]:
    """What a commit did, by node id."""
    return {
        "header": describe_header(header),
        "new_groups": _ids(log.new_groups),
        "new_arrays": _ids(log.new_arrays),
        "deleted_groups": _ids(log.deleted_groups),
        "deleted_arrays": _ids(log.deleted_arrays),
        "updated_groups": _ids(log.updated_groups),
        "updated_arrays": _ids(log.updated_arrays),
        "updated_chunks": [
            {"node_id": base32.encode(node_id), "chunks": coords.tolist()}
            for node_id, coords in sorted(log.updated_chunks.items())
        ],
        "moved_nodes": [{"from": move.source, "to": move.target} for move in log.moves or ()],
    }


def _ids(ids: Iterable[bytes]) -> Sequence[str]:
    return [base32.encode(node_id) for node_id in sorted(ids)]


def _time(value_us: int) -> str:
    """A time as text, with as many decimals as it needs: none, 3 or 6."""
    places = 0 if value_us % 1_000_000 == 0 else 3 if value_us % 1_000 == 0 else 6
    timespec = {0: "seconds", 3: "milliseconds", 6: "microseconds"}[places]
    return datetime_from_us(value_us).isoformat(timespec=timespec).replace("+00:00", "Z")


def _times(values_us: list[int]) -> list[str]:
    """As `_time`, for many."""
    values = np.array(values_us, np.int64)
    texts: list[str] = np.datetime_as_string(values.view("M8[us]"), timezone="UTC").tolist()
    for row in np.flatnonzero(values % 1_000 == 0).tolist():
        texts[row] = _time(values_us[row])
    return texts
