"""Questions about history, answered from the table of snapshots in the repo info (spec 2)."""

from __future__ import annotations

from collections.abc import Iterator

from icechunk_core.errors import ErrorKind, RefNotFoundError, SnapshotNotFoundError
from icechunk_core.format.base32 import encode
from icechunk_core.format.repo_info import (
    RepoInfo,
    SnapshotBlock,
    SnapshotInfo,
    SnapshotOutlines,
    SnapshotTable,
)

__all__ = ["ancestry", "branch_tip", "is_ancestor", "lineage", "own_commit_status", "tag_target"]


def ancestry(table: SnapshotTable, tip: bytes) -> Iterator[SnapshotInfo]:
    """``tip`` and its ancestors, newest first.

    Raises
    ------
    SnapshotNotFoundError
        If ``tip`` is not in the table.
    Corrupt
        If a parent is missing or the parents form a cycle.
    """
    for block in lineage(table, tip):
        yield from block


def lineage(table: SnapshotTable, tip: bytes) -> Iterator[SnapshotBlock]:
    """As `ancestry`, in blocks that are decoded when one of their entries is looked at.

    Raises
    ------
    SnapshotNotFoundError
        If ``tip`` is not in the table.
    Corrupt
        If a parent is missing or the parents form a cycle.
    """
    if tip not in table:
        raise SnapshotNotFoundError(f"no snapshot {encode(tip)} in this repository")
    yield from table.lineage(tip)


def outlines(table: SnapshotTable, tip: bytes) -> SnapshotOutlines:
    """As `ancestry`, all at once and without the metadata."""
    if tip not in table:
        raise SnapshotNotFoundError(f"no snapshot {encode(tip)} in this repository")
    return table.outlines(tip)


def _parents(table: SnapshotTable, tip: bytes) -> Iterator[bytes]:
    """Ids of `ancestry`, without reading more than the parent of each; ends silently at a missing one."""
    current: bytes | None = tip
    for _ in range(len(table)):
        if current is None or current not in table:
            return
        yield current
        current = table.parent_of(current)


def is_ancestor(table: SnapshotTable, ancestor: bytes, tip: bytes) -> bool:
    """Whether ``ancestor`` is ``tip`` or in its ancestry."""
    return any(found == ancestor for found in _parents(table, tip))


def own_commit_status(info: RepoInfo, branch: str, snapshot_id: bytes) -> bool:
    """Whether a commit that this writer tried has landed: its snapshot is in the branch's ancestry.

    Other writers may have committed on top of it already.
    """
    tip = info.branches.get(branch)
    return tip is not None and snapshot_id in info.snapshots and is_ancestor(info.snapshots, snapshot_id, tip)


def branch_tip(info: RepoInfo, branch: str) -> bytes:
    """The snapshot a branch points to.

    Raises
    ------
    RefNotFoundError
        If there is no such branch.
    """
    try:
        return info.branches[branch]
    except KeyError:
        raise RefNotFoundError(f"no branch {branch!r}", kind=ErrorKind.REF_NOT_FOUND) from None


def tag_target(info: RepoInfo, tag: str) -> bytes:
    """The snapshot a tag points to.

    Raises
    ------
    RefNotFoundError
        If there is no such tag, or it was deleted.
    """
    try:
        return info.tags[tag]
    except KeyError:
        raise RefNotFoundError(f"no tag {tag!r}", kind=ErrorKind.REF_NOT_FOUND) from None
