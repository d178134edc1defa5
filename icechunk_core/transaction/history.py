"""Questions about history, answered from the table of snapshots in the repo info (spec 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from icechunk_core.errors import Corrupt, ErrorKind, RefNotFoundError, SnapshotNotFoundError
from icechunk_core.format.base32 import encode
from icechunk_core.format.layout import REPO_KEY
from icechunk_core.format.repo_info import RepoInfo, SnapshotInfo, SnapshotTable

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
    info = table.get(tip)
    if info is None:
        raise SnapshotNotFoundError(f"no snapshot {encode(tip)} in this repository")
    steps = len(table)
    while True:
        yield info
        if info.parent_id is None:
            return
        steps -= 1
        if steps <= 0:
            raise Corrupt(f"the ancestry of snapshot {encode(tip)} is a cycle", object_name=REPO_KEY)
        parent = table.get(info.parent_id)
        if parent is None:
            raise Corrupt(
                f"parent {encode(info.parent_id)} of snapshot {encode(info.id)} is missing",
                object_name=REPO_KEY,
            )
        info = parent


def lineage(table: SnapshotTable, tip: bytes) -> Iterator[Callable[[], SnapshotInfo]]:
    """As `ancestry`, each entry decoded when it is called.

    Raises
    ------
    SnapshotNotFoundError
        If ``tip`` is not in the table.
    Corrupt
        If a parent is missing or the parents form a cycle.
    """
    last: Callable[[], SnapshotInfo] | None = None
    for entry in table.lineage(tip):
        last = entry
        yield entry
    if last is None:
        raise SnapshotNotFoundError(f"no snapshot {encode(tip)} in this repository")
    end = last()
    if end.parent_id is not None:
        problem = "is in a cycle" if end.parent_id in table else "is missing"
        raise Corrupt(
            f"parent {encode(end.parent_id)} of snapshot {encode(end.id)} {problem}", object_name=REPO_KEY
        )


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
    return tip is not None and is_ancestor(info.snapshots, snapshot_id, tip)


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
