"""What both implementations may answer differently, each with its reason; everything else must be equal."""

from __future__ import annotations

import asyncio
from typing import Any

from zarr.core.buffer import default_buffer_prototype

__all__ = ["contents", "feature_flags", "gc_counts", "is_accepted", "same_class", "stranded"]


def same_class(ours: BaseException, theirs: BaseException) -> bool:
    """Whether code that catches the peer's error catches ours.

    Ours has classes below the peer's: `SnapshotObjectNotFound` is a `SnapshotNotFoundError` and a
    `StorageError`.
    """
    return type(theirs).__name__ in {cls.__name__ for cls in type(ours).__mro__}


def is_accepted(ours: BaseException, theirs: BaseException) -> bool:
    """Whether two different errors are as good."""
    if type(theirs).__name__ == "PanicException":
        # A bug of the peer's; ours raises any error.
        return True
    kind, our_kind = (str(getattr(error, "kind", "")) for error in (theirs, ours))
    # In spec 1, the peer says where the branch is that exists already.
    if kind == our_kind == "branch-update-conflict":
        return same_class(ours, theirs)
    # Ours says first that the session is read-only or only moves nodes, the peer what is wrong with the
    # arguments; and ours says of a store that it is the store.
    if our_kind in ("read-only-store", "read-only-session", "rearrange-session-only"):
        return True
    # Ours says first that tags are switched off, the peer that there is no such snapshot.
    if our_kind == "feature-flag-disabled":
        return kind == "snapshot-not-found"
    # Ours says first that the session cannot move anything, the peer what is wrong with the paths.
    if our_kind == "non-rearrange-session":
        return kind in ("node-not-found", "move-wont-overwrite") or kind.startswith("move-")
    return False


def stranded(repo: Any, session: Any) -> bool:
    """Whether the branch of a session no longer has the session's base in its history.

    Then a rebase of the peer succeeds, having compared the changes with nothing; ours refuses.
    """
    if session.read_only or session.branch not in repo.list_branches():
        return False
    return session.snapshot_id not in {info.id for info in repo.ancestry(branch=session.branch)}


def gc_counts(summary: Any, leftovers: bool) -> dict[str, int]:
    """The counts of a garbage collection that must agree.

    Manifests are not among them: ours keeps those of a snapshot that is too young to be deleted.
    Chunks are not, nor bytes: ours writes small chunks of a session together and late,
    so chunks that are written over before the commit never become objects.
    Compressed sizes differ, too: the libraries of compression are not the same version.
    After a commit that failed nothing is counted: the peer leaves the objects of some behind
    (in a read-only repository, for one) where ours looks before it writes.
    """
    if leftovers:
        return {}
    return {
        "snapshots": summary.snapshots_deleted,
        "transaction logs": summary.transaction_logs_deleted,
    }


def feature_flags(repo: Any) -> list[Any]:
    """All feature flags, by id: the peer gives them in the order of a hash table, another in each call."""
    return sorted(repo.feature_flags(), key=lambda flag: flag.id)


def contents(store: Any) -> dict[str, bytes]:
    """Every key of a store with its bytes.

    The peer lists chunks that a merge left outside of a smaller array; there is nothing to read under them.
    """

    async def read() -> dict[str, bytes]:
        prototype = default_buffer_prototype()
        found = {key: await store.get(key, prototype) async for key in store.list()}
        return {key: value.to_bytes() for key, value in found.items() if value is not None}

    return asyncio.run(read())
