"""Which snapshots leave the history, and what becomes of those that stay (FORMAT.md, section 18)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from attrs import evolve, frozen

from icechunk_core.errors import Corrupt
from icechunk_core.format.base32 import encode
from icechunk_core.format.layout import INITIAL_SNAPSHOT_ID, REPO_KEY
from icechunk_core.format.repo_info import RepoInfo, SnapshotInfo, SnapshotTable
from icechunk_core.transaction.repo_updates import MAIN, require_online

__all__ = ["ChainExpiration", "Expiration", "expire", "expire_chain", "without_snapshots"]


@frozen
class Expiration:
    """The outcome of expiring the history of a spec 2 repository.

    Attributes
    ----------
    info
        The new content; its log is still the old one.
    released
        Ids of the snapshots that are no longer part of the history.
    """

    info: RepoInfo
    released: frozenset[bytes]


def expire(
    info: RepoInfo, older_than_us: int, *, delete_branches: bool = False, delete_tags: bool = False
) -> Expiration:
    """Take old snapshots out of a history (FORMAT.md, section 18.1).

    Parameters
    ----------
    older_than_us
        Snapshots committed before this time are old; roots never are.
    delete_branches, delete_tags
        Delete refs whose tip is old. Otherwise tips stay, and so does that of ``main`` always.

    Raises
    ------
    ReadOnlyError
        ``read-only-repository``.
    """
    require_online(info)
    infos = {entry.id: entry for entry in info.snapshots}
    old = {
        entry.id
        for entry in infos.values()
        if entry.parent_id is not None and entry.flushed_at < older_than_us
    }
    kept = {tip for name, tip in info.branches.items() if name == MAIN or not delete_branches}
    if not delete_tags:
        kept.update(info.tags.values())
    released = frozenset(old - kept)
    tags = {name: tip for name, tip in info.tags.items() if not (delete_tags and tip in old)}
    branches = {
        name: tip
        for name, tip in info.branches.items()
        if name == MAIN or not (delete_branches and tip in old)
    }
    updated = evolve(
        info,
        snapshots=without_snapshots(infos, released, _root_of),
        tags=tags,
        branches=branches,
        deleted_tags=info.deleted_tags | (info.tags.keys() - tags.keys()),
    )
    return Expiration(updated, released)


# --- re-parenting ----------------------------------------------------------------------

NewParent = Callable[[Sequence[SnapshotInfo], AbstractSet[bytes]], int]
"""Which of a snapshot's ancestors (nearest first) becomes its parent; their number if none does."""


def _root_of(ancestors: Sequence[SnapshotInfo], dropped: AbstractSet[bytes]) -> int:
    return len(ancestors) - 1


def nearest_kept(ancestors: Sequence[SnapshotInfo], dropped: AbstractSet[bytes]) -> int:
    """The first ancestor that stays."""
    return next((at for at, entry in enumerate(ancestors) if entry.id not in dropped), len(ancestors))


def without_snapshots(
    infos: Mapping[bytes, SnapshotInfo], dropped: AbstractSet[bytes], new_parent: NewParent = nearest_kept
) -> SnapshotTable:
    """The snapshots that are left without ``dropped``.

    Where the parent of one was dropped, another ancestor takes its place, and the logs of those in
    between are listed in ``pruned_ancestor_tx_logs``, oldest first, so that differences and rebases
    across the gap stay possible.
    """
    return SnapshotTable.from_infos(
        _adopted(entry, infos, dropped, new_parent) if entry.parent_id in dropped else entry
        for entry in infos.values()
        if entry.id not in dropped
    )


def _adopted(
    entry: SnapshotInfo,
    infos: Mapping[bytes, SnapshotInfo],
    dropped: AbstractSet[bytes],
    new_parent: NewParent,
) -> SnapshotInfo:
    ancestors = _ancestors(entry, infos)
    at = new_parent(ancestors, dropped)
    parent = ancestors[at].id if at < len(ancestors) else INITIAL_SNAPSHOT_ID
    logs: list[bytes] = []
    for bypassed in reversed(ancestors[:at]):
        logs.extend((*bypassed.pruned_ancestor_tx_logs, bypassed.id))
    return evolve(entry, parent_id=parent, pruned_ancestor_tx_logs=(*logs, *entry.pruned_ancestor_tx_logs))


def _ancestors(entry: SnapshotInfo, infos: Mapping[bytes, SnapshotInfo]) -> list[SnapshotInfo]:
    """All ancestors of a snapshot, nearest first."""
    found: list[SnapshotInfo] = []
    current = entry
    while current.parent_id is not None:
        parent = infos.get(current.parent_id)
        if parent is None:
            raise Corrupt(
                f"parent {encode(current.parent_id)} of snapshot {encode(current.id)} is missing",
                object_name=REPO_KEY,
            )
        found.append(parent)
        current = parent
    return found


# --- spec 1 ----------------------------------------------------------------------------


@frozen
class ChainExpiration:
    """What expiration does to the history of one ref of spec 1.

    Attributes
    ----------
    edited
        The snapshot whose parent changes; None if none does.
    new_parent
        Its new parent: the root.
    released
        The old snapshots of the chain.
    tip_is_old
        Whether the ref may be deleted.
    """

    edited: bytes | None
    new_parent: bytes
    released: frozenset[bytes]
    tip_is_old: bool


def expire_chain(chain: Sequence[SnapshotInfo], older_than_us: int) -> ChainExpiration:
    """Decide for one ref of spec 1 (FORMAT.md, section 18.2).

    Parameters
    ----------
    chain
        The ref's snapshot, its parent, and so on to the root.
    """
    tip, root = chain[0], chain[-1]
    first_old = next((at for at, entry in enumerate(chain) if entry.flushed_at < older_than_us), len(chain))
    edited = chain[max(first_old - 1, 0)]
    released = frozenset(entry.id for entry in chain[first_old:-1])
    tip_is_old = tip.flushed_at < older_than_us
    if not released or edited is root or edited.parent_id == root.id:
        return ChainExpiration(None, root.id, frozenset(), tip_is_old)
    return ChainExpiration(edited.id, root.id, released, tip_is_old)
