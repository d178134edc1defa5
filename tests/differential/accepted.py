"""What both implementations may answer differently, each with its reason; everything else must be equal."""

from __future__ import annotations

import os
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

__all__ = [
    "BEHAVIOUR",
    "NOT_TRIED",
    "collect_garbage",
    "contents",
    "enum_name",
    "existing_chunks",
    "feature_flags",
    "has_moved_nodes",
    "has_new_nodes",
    "has_remade_nodes",
    "is_accepted",
    "is_accepted_of_garbage",
    "is_accepted_of_moves",
    "is_accepted_of_remade_nodes",
    "is_accepted_when_stranded",
    "same_class",
    "stranded",
    "what_is_left",
]


BEHAVIOUR = (
    (
        "Rebase after the branch was reset, amended or expired",
        "Writes to nodes that the branch no longer has, or has with other metadata, are conflicts. Icechunk "
        "drops them without a word, or fails with `conflicting-path-not-found` and forgets all the session's "
        "changes. A rebase that fails leaves the session where it was. In spec 1 neither rebases then "
        "(`branch-update-conflict`; Icechunk: `object-not-found`).",
    ),
    (
        "Rebase of a session that moved nodes",
        "Nodes that others made or deleted where nodes were moved are conflicts; Icechunk commits a tree in "
        "which nodes are lost or have no group.",
    ),
    (
        "Rebase where both have deleted a node and made another one in its place",
        "Is a conflict; Icechunk replaces the other one's without a word.",
    ),
    (
        "`IcechunkStore.clear`",
        "Of arrays that the session itself has made nothing is left; in Icechunk a session may have changes "
        "afterwards that its status does not show.",
    ),
    (
        "Garbage collection",
        "Keeps what a snapshot refers to that is too young to be deleted and in no history, such as the one "
        "that a fork starts from; Icechunk deletes its manifests. A dry run counts the transaction logs that "
        "would be deleted; Icechunk leaves some out. Commits that fail leave less behind.",
    ),
    (
        "`Session.chunk_coordinates`",
        "Each existing chunk once. In a session with changes Icechunk also gives chunks that were deleted, "
        "and those that were written over twice.",
    ),
    (
        "`Session.merge`",
        "A fork's changes of a node that the session made before the fork are merged; Icechunk loses them.",
    ),
    (
        "Chunk keys and offsets with the wrong number of dimensions",
        "Are refused; Icechunk stores what nothing can read, and shifts what it can.",
    ),
    (
        "Store keys that name nothing (`foo`, a chunk of a group, `a//c/0`)",
        "Are not found on reading, and nothing happens when they are deleted, as zarr expects of its stores; "
        "Icechunk raises `invalid-key` or `not-an-array`. Of a missing chunk the size is a "
        "`FileNotFoundError`, not 0.",
    ),
    (
        "`IcechunkStore.delete`, `delete_dir`, `clear` of a read-only session",
        "Always an error, `read-only-store`; Icechunk raises `read-only-session`, and only where there is "
        "something to delete.",
    ),
    (
        "`IcechunkStore.delete_dir`",
        "Deletes what is below, as zarr's stores do: not a chunk whose own key it is, and also nodes that "
        "have no group.",
    ),
    (
        "`ForkSession.mode`",
        "`WRITABLE`, as it is; Icechunk says `READONLY`.",
    ),
    (
        "Names of new branches and tags in spec 1",
        "Letters, digits, space and some ASCII characters: Icechunk stores others so that it does not list "
        "them, and its garbage collection deletes what they point to.",
    ),
    (
        "Panics",
        "Where Icechunk panics there is an ordinary error.",
    ),
)
"""What users may notice, for `docs/reference/differences.md`."""

NOT_TRIED = """
Programs leave out what is known to differ and would go on differing: keys of chunks with a wrong number of
coordinates; `delete_dir` of a chunk's own key, and of a folder that is no node but has nodes below; forks of
sessions that have made nodes.
"""


def enum_name(value: Any) -> str:
    """The name of a member of an enumeration, which is no `enum.Enum` on the peer's side."""
    name = value.name if isinstance(value, Enum) else str(value).rpartition(".")[2]
    return "".join(filter(str.isalnum, name)).lower()


def same_class(ours: BaseException, theirs: BaseException) -> bool:
    """Whether code that catches the peer's error catches ours.

    Ours has classes below the peer's: `SnapshotObjectNotFound` is a `SnapshotNotFoundError` and a
    `StorageError`.
    """
    return type(theirs).__name__ in {cls.__name__ for cls in type(ours).__mro__}


def is_accepted(ours: BaseException | None, theirs: BaseException | None) -> bool:
    """Whether two different outcomes are as good; ``None`` stands for success."""
    if type(theirs).__name__ == "PanicException":
        # A bug of the peer's; ours raises any error.
        return ours is not None
    kind, our_kind = (str(getattr(error, "kind", None)) for error in (theirs, ours))
    # zarr wants a read-only store to refuse all that writes. The peer refuses deletions only where there
    # is something to delete, and says that it is the session.
    if our_kind == "read-only-store":
        return theirs is None or kind == "read-only-session"
    return False


def is_accepted_when_stranded(ours: str | None, theirs: str | None) -> bool:
    """Whether rebases of a session whose branch was reset differ in an accepted way: kinds, "" for success.

    The peer looks for an array where it did not exist yet, and then has lost the session's changes; or it
    drops without a word what was written to nodes that are gone. Where the first transaction log is
    missing (spec 1), ours refuses, and so does the peer unless it remembers histories from before. Of the
    conflicts that make both refuse, ours may see more.
    """
    if theirs == "conflicting-path-not-found":
        return ours in ("", "rebase-failed")
    if ours == "branch-update-conflict":
        return theirs in ("", "object-not-found", "rebase-failed")
    return ours == "rebase-failed" and theirs in ("", "rebase-failed")


def is_accepted_of_moves(ours: str | None, theirs: str | None) -> bool:
    """Whether rebases of a session that moved nodes differ in an accepted way: kinds, "" for success.

    Ours refuses if others have made or deleted nodes where they were moved; the peer then commits a tree
    in which nodes are lost or have no group.
    """
    return ours == "rebase-failed" and theirs == ""


def is_accepted_of_remade_nodes(ours: str | None, theirs: str | None) -> bool:
    """Whether rebases of a session that made nodes where it deleted some differ in an accepted way.

    Ours refuses if others have done the same, since what they made would be gone; the peer does not look.
    """
    return ours == "rebase-failed" and theirs in ("", "rebase-failed")


def has_remade_nodes(session: Any) -> bool:
    """Whether a session has deleted nodes and made others in their place."""
    made = session.status()
    return bool(
        {*made.deleted_arrays, *made.deleted_groups} & {*made.new_arrays, *made.new_groups},
    )


def has_moved_nodes(session: Any) -> bool:
    """Whether a session has moved nodes."""
    return bool(session.status().moved_nodes)


def stranded(repo: Any, session: Any) -> bool:
    """Whether the branch of a session no longer has the session's base in its history."""
    if session.read_only or session.branch not in repo.list_branches():
        return False
    return session.snapshot_id not in {info.id for info in repo.ancestry(branch=session.branch)}


def collect_garbage(side: Any, limit: datetime, *, dry_run: bool) -> dict[str, int]:
    """Collect garbage: the counts, which must be those of what is gone.

    Bytes are not among what is compared: the libraries of compression are not the same version.
    """
    before = objects(side.root)
    summary = side.repo.garbage_collect(limit, dry_run=dry_run)
    after = objects(side.root)
    counts = {
        "snapshots": summary.snapshots_deleted,
        "transactions": summary.transaction_logs_deleted,
        "manifests": summary.manifests_deleted,
        "chunks": summary.chunks_deleted,
    }
    gone = {kind: before[kind].keys() - after[kind].keys() for kind in before}
    if dry_run:
        assert not any(gone.values())
    else:
        assert counts == {kind: len(names) for kind, names in gone.items()}
        size = sum(before[kind][name] for kind, names in gone.items() for name in names)
        assert summary.bytes_deleted == size
    if side.packs:  # Several chunks in one object.
        del counts["chunks"]
    return counts


def is_accepted_of_garbage(
    ours: dict[str, int], theirs: dict[str, int], *, dry_run: bool, leftovers: bool
) -> bool:
    """Whether the counts of two collections differ in an accepted way: the peer deletes more.

    * Ours writes small chunks late, so that some that are written over never become objects; and after a
      rebase it goes on with the manifests that it has written.
    * The peer leaves more behind where a commit is refused by a read-only repository, since ours looks
      before it writes; and where a session with changes is forked again: ours writes these changes once.
    * A commit of ours that finds its branch moved rebases before it writes; the peer has written a snapshot,
      a log and manifests in vain.
    * The peer deletes manifests of snapshots that are too young to be deleted, if these are in no history
      (commits that lost a race, what forks start from); ours keeps them.
    * A dry run of the peer's leaves transaction logs out that it would delete: those that are named by
      snapshots that would be deleted, too.
    """
    history = ["snapshots", "transactions"]
    files = [kind for kind in ours if kind not in history]
    if dry_run:
        history.remove("transactions")
    if leftovers:  # What is left then is compared (see `what_is_left`).
        return all(ours[kind] <= theirs[kind] for kind in history)
    return all(ours[kind] <= theirs[kind] for kind in [*history, *files])


def objects(root: Path) -> dict[str, dict[str, int]]:
    """Names and sizes of a repository's objects, by kind."""
    return {
        kind: {entry.name: entry.stat().st_size for entry in os.scandir(root / kind)}
        if (root / kind).is_dir()
        else {}
        for kind in ("snapshots", "transactions", "manifests", "chunks")
    }


def what_is_left(side: Any) -> dict[str, Any]:
    """How many objects of each kind there are; of chunks, without packs, their sizes."""
    found = objects(side.root)
    chunks = found.pop("chunks")
    sizes = [] if side.packs else sorted(chunks.values())
    return {"sizes": sizes, **{kind: len(names) for kind, names in found.items()}}


def has_new_nodes(session: Any) -> bool:
    """Whether a session has made nodes: the peer's merge loses a fork's changes of these."""
    made = session.status()
    return bool(made.new_arrays or made.new_groups)


def feature_flags(repo: Any) -> list[Any]:
    """All feature flags, by id: the peer gives them in the order of a hash table, another in each call."""
    return sorted(repo.feature_flags(), key=lambda flag: flag.id)


def existing_chunks(session: Any, path: str) -> list[list[int]]:
    """The coordinates of an array's chunks.

    Of a session with changes the peer also lists chunks that the session deleted, and those that it
    wrote over twice.
    """

    async def collect() -> set[tuple[int, ...]]:
        return {tuple(coords) async for coords in session.chunk_coordinates(path)}

    found = sync(collect())
    return sorted(
        list(at) for at in found if enum_name(session.chunk_type(path, list(at))) != "uninitialized"
    )


def contents(store: Any) -> dict[str, bytes]:
    """Every key of a store with its bytes.

    The peer lists chunks that a merge left outside of a smaller array; there is nothing to read under them.
    """

    async def read() -> dict[str, bytes]:
        prototype = default_buffer_prototype()
        found = {key: await store.get(key, prototype) async for key in store.list()}
        return {key: value.to_bytes() for key, value in found.items() if value is not None}

    return sync(read())
