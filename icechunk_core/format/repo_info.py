"""The repo info file, the root of a spec 2 repository (FORMAT.md, section 6.5).

The two long lists in it, snapshots and operations log, are decoded only where they are looked at, and copied
when the file is rewritten. A change of the repository therefore costs little, however long its history is.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from attrs import evolve, field, frozen

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import Corrupt, FormatError
from icechunk_core.format import _flat_builder as flat
from icechunk_core.format._flat_columns import append_vectors
from icechunk_core.format._flat_reader import FlatBuffer, FlatTable
from icechunk_core.format._repo_snapshots_encode import EncodedSnapshots, metadata_tables
from icechunk_core.format.envelope import FileType, seal, unseal
from icechunk_core.format.repo_ops_log import UpdateLog, decode_status, status_table
from icechunk_core.format.repo_snapshots import (
    SnapshotBlock,
    SnapshotInfo,
    SnapshotOutline,
    SnapshotOutlines,
    SnapshotTable,
    decode_metadata,
)
from icechunk_core.format.repo_update_kinds import (
    BranchCreated,
    BranchDeleted,
    BranchReset,
    CommitAmended,
    ConfigChanged,
    ExpirationRan,
    FeatureFlagChanged,
    GCRan,
    MetadataChanged,
    NewCommit,
    NewDetachedSnapshot,
    RepoInitialized,
    RepoMigrated,
    RepoStatus,
    RepoStatusChanged,
    TagCreated,
    TagDeleted,
    UnknownUpdate,
    Update,
    UpdateKind,
)

__all__ = [
    "BranchCreated",
    "BranchDeleted",
    "BranchReset",
    "CommitAmended",
    "ConfigChanged",
    "ExpirationRan",
    "FeatureFlagChanged",
    "GCRan",
    "MetadataChanged",
    "NewCommit",
    "NewDetachedSnapshot",
    "RepoInfo",
    "RepoInitialized",
    "RepoMigrated",
    "RepoStatus",
    "RepoStatusChanged",
    "SnapshotBlock",
    "SnapshotInfo",
    "SnapshotOutline",
    "SnapshotOutlines",
    "SnapshotTable",
    "TagCreated",
    "TagDeleted",
    "UnknownUpdate",
    "Update",
    "UpdateKind",
    "UpdateLog",
    "decode_repo_info",
    "decode_updates",
    "encode_and_keep",
    "encode_repo_info",
]

_MAX_DEPTH = 10
_FILE_VERSION = 2


@frozen
class RepoInfo:
    """Everything that is mutable about a spec 2 repository.

    Attributes
    ----------
    spec_version
        2; 1 marks a directory whose refs are spec 1 files.
    tags, branches
        Snapshot ids by name.
    deleted_tags
        Names that cannot be used again.
    snapshots
        Every known snapshot.
    status
        Whether changes are allowed.
    metadata
        The repository's own JSON values by name.
    updates
        The newest page of the operations log, newest first.
    repo_before_updates
        File name of the backup with the next older page.
    config
        The stored configuration as FlexBuffers, if one is stored.
    enabled_flags, disabled_flags
        Ids of feature flags that were switched on or off.
    extra
        Reserved bytes of other writers.
    """

    spec_version: int
    tags: Mapping[str, bytes]
    branches: Mapping[str, bytes]
    deleted_tags: frozenset[str]
    snapshots: SnapshotTable
    status: RepoStatus
    metadata: dict[str, Any]
    updates: UpdateLog = field(converter=UpdateLog)
    repo_before_updates: str | None = None
    config: bytes | None = None
    enabled_flags: tuple[int, ...] | None = None
    disabled_flags: tuple[int, ...] | None = None
    extra: bytes | None = None


def decode_repo_info(data: bytes, *, name: str) -> RepoInfo:
    """Read a repo info file.

    Parameters
    ----------
    data
        The whole object.
    name
        What errors call it, normally its key.

    Raises
    ------
    Corrupt
        The file is malformed or of a newer version. Snapshot messages and metadata, and entries of the
        operations log, are read when they are looked at, and may raise it then.
    """
    root = _root(data, name)
    spec_version = root.u8(0)
    payload = root.buffer.data
    snapshots = SnapshotTable.from_tables(payload, root.table_positions(4), name=name)
    return RepoInfo(
        spec_version=spec_version,
        tags=_decode_refs(root.tables(1), snapshots),
        branches=_decode_refs(root.tables(2), snapshots),
        deleted_tags=frozenset(root.strings(3)),
        snapshots=snapshots,
        status=decode_status(root.table(5)),
        metadata=decode_metadata(root.optional_tables(6), name=name),
        updates=UpdateLog.from_tables(payload, root.table_positions(7), name=name),
        repo_before_updates=root.optional_string(8),
        config=root.optional_byte_vector(9),
        enabled_flags=_decode_flags(root, 10),
        disabled_flags=_decode_flags(root, 11),
        extra=root.optional_byte_vector(12),
    )


def decode_updates(data: bytes, *, name: str) -> tuple[UpdateLog, str | None]:
    """The operations log of a repo info file, and where it goes on, without the rest; else as that."""
    root = _root(data, name)
    log = UpdateLog.from_tables(root.buffer.data, root.table_positions(7), name=name)
    return log, root.optional_string(8)


def _root(data: bytes, name: str) -> FlatTable:
    header, payload = unseal(data, FileType.REPO_INFO, name=name)
    if header.spec_version != _FILE_VERSION:
        raise Corrupt(
            f"repo info file with spec version {header.spec_version}, which has none",
            object_name=name,
            kind=ErrorKind.UNSUPPORTED_SPEC_VERSION,
        )
    root = FlatBuffer(payload, name=name, max_depth=_MAX_DEPTH).root()
    spec_version = root.u8(0)
    if spec_version not in (1, 2):
        raise Corrupt(
            f"repository of spec version {spec_version}; please upgrade icechunk-core",
            object_name=name,
            kind=ErrorKind.UNSUPPORTED_SPEC_VERSION,
        )
    return root


def encode_repo_info(info: RepoInfo, *, level: int = 3) -> bytes:
    """Write a repo info file.

    Parameters
    ----------
    info
        What to write.
    level
        zstd level.

    Raises
    ------
    FormatError
        A ref or parent is not among the snapshots, the log is empty or has entries of unknown type, a value
        cannot be encoded, or the file would be too large.
    """
    return encode_and_keep(info, level=level)[0]


def encode_and_keep(info: RepoInfo, *, level: int = 3) -> tuple[bytes, RepoInfo]:
    """Write a repo info file as `encode_repo_info`; also gives the same info backed by what was encoded.

    The next change of that one copies the encoded history, as if the file had been read again.
    """
    if not info.updates:
        raise FormatError("the operations log must not be empty", kind=ErrorKind.SERIALIZATION)
    try:
        snapshots, updates = info.snapshots.encode(), info.updates.encode()
        history, log = flat.Later(), flat.Later()
        root = flat.Table(
            flat.u8(info.spec_version),
            _ref_tables(info.tags, snapshots),
            _ref_tables(info.branches, snapshots),
            sorted(info.deleted_tags, key=str.encode),
            history,
            status_table(info.status),
            metadata_tables(info.metadata),
            log,
            info.repo_before_updates,
            info.config,
            _flags_vector(info.enabled_flags),
            _flags_vector(info.disabled_flags),
            info.extra,
        )
        payload, (history_at, log_at) = append_vectors(
            flat.build_front(root), [(history, snapshots.joined), (log, updates.joined)]
        )
    except (struct.error, UnicodeEncodeError) as error:
        raise FormatError(f"cannot write the repo info: {error}", kind=ErrorKind.SERIALIZATION) from error
    table = SnapshotTable.over(snapshots.columns(payload, history_at))  # completes the payload
    data = seal(FileType.REPO_INFO, payload, spec_version=_FILE_VERSION, level=level)
    return data, evolve(info, snapshots=table, updates=updates.log(payload, log_at))


def _decode_refs(tables: list[FlatTable], snapshots: SnapshotTable) -> dict[str, bytes]:
    return {table.string(0): snapshots.at_row(table.u32(1)) for table in tables}


def _decode_flags(root: FlatTable, slot: int) -> tuple[int, ...] | None:
    flags = root.optional_array(slot, "<u2")
    return None if flags is None else tuple(flags.tolist())


def _ref_tables(refs: Mapping[str, bytes], snapshots: EncodedSnapshots) -> list[flat.Table]:
    items = sorted(refs.items(), key=lambda item: item[0].encode("utf-8"))
    return [flat.Table(name, flat.u32(snapshots.row(target))) for name, target in items]


def _flags_vector(flags: tuple[int, ...] | None) -> flat.Vector | None:
    if flags is None:
        return None
    ordered = sorted(set(flags))
    return flat.Vector(struct.pack(f"<{len(ordered)}H", *ordered), len(ordered))
