"""Laying a session's changes over a commit that was made meanwhile (FORMAT.md, section 17.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import evolve

from icechunk_core.errors import RebaseFailedError
from icechunk_core.format.base32 import encode
from icechunk_core.format.snapshot import NodeSnapshot, NodeTable
from icechunk_core.format.transaction_log import TransactionLog, empty_log
from icechunk_core.transaction.change_set import ChangeSet
from icechunk_core.transaction.conflicts import RULES, Conflict, ConflictType, VersionSelection, detect
from icechunk_core.transaction.solvers import ConflictSolver

__all__ = ["log_of_lost", "rebase_over", "solve"]

_WAYS_OUT = {rule.conflict_type: rule.ways_out for rule in RULES}


def rebase_over(
    changes: ChangeSet,
    base: NodeTable,
    logs: Iterable[TransactionLog],
    theirs: NodeTable,
    solver: ConflictSolver,
    snapshot_id: bytes,
) -> ChangeSet:
    """The session's changes as changes of the commit ``snapshot_id``.

    Parameters
    ----------
    changes, base
        The session's changes, which are not modified, and the nodes they are based on.
    logs
        The commit's pruned ancestors' logs, if it has any, and its own log, in that order.
    theirs
        The nodes of the commit's snapshot: the new base.

    Raises
    ------
    RebaseFailedError
        If there are conflicts that the solver does not solve; lists all conflicts with that log.
    """
    for log in logs:
        changes = solve(changes, detect(changes, base, log, theirs), solver, base, theirs, snapshot_id)
    return _over(changes.copy(), theirs)


def log_of_lost(old: NodeTable, new: NodeTable, snapshot_id: bytes) -> TransactionLog:
    """What happened to the nodes of ``old`` for somebody who finds himself at ``new``: a reset as a commit.

    Nodes that ``new`` lacks count as deleted, those with other metadata as updated.
    """
    deleted: dict[bool, set[bytes]] = {True: set(), False: set()}
    updated: dict[bool, set[bytes]] = {True: set(), False: set()}
    for node in old:
        now = new.by_id(node.id)
        if now is None:
            deleted[node.is_array].add(node.id)
        elif now.user_data != node.user_data:
            updated[node.is_array].add(node.id)
    return evolve(
        empty_log(snapshot_id),
        deleted_arrays=frozenset(deleted[True]),
        deleted_groups=frozenset(deleted[False]),
        updated_arrays=frozenset(updated[True]),
        updated_groups=frozenset(updated[False]),
    )


def solve(
    changes: ChangeSet,
    conflicts: Sequence[Conflict],
    solver: ConflictSolver,
    base: NodeTable,
    theirs: NodeTable,
    snapshot_id: bytes,
) -> ChangeSet:
    """The changes without what lost a conflict: a new change set if anything had to go, else the same.

    Raises
    ------
    RebaseFailedError
        If the solver leaves one of them unsolved; then all are reported.
    """
    choices = [(conflict, solver.select(conflict)) for conflict in conflicts]
    if any(choice not in _WAYS_OUT[conflict.conflict_type] for conflict, choice in choices):
        raise RebaseFailedError(
            f"Rebase failed on snapshot {encode(snapshot_id)}: {len(conflicts)} conflicts found ("
            + "; ".join(_describe(conflict) for conflict in conflicts[:5])
            + ("; …" if len(conflicts) > 5 else "")
            + ")",
            snapshot=encode(snapshot_id),
            conflicts=list(conflicts),
        )
    lost = [conflict for conflict, choice in choices if choice is VersionSelection.UseTheirs]
    if not lost:
        return changes
    solved = changes.copy()
    for conflict in lost:
        assert conflict.conflict_type is ConflictType.ChunkDoubleUpdate
        _drop_chunks(solved, conflict, base, theirs)
    return solved


def _describe(conflict: Conflict) -> str:
    chunks = conflict.conflicted_chunks
    where = f" at {conflict.path}" if conflict.path else ""
    which = f", {len(chunks)} chunks" if chunks else ""
    return f"{conflict.conflict_type}{where}{which}"


def _drop_chunks(changes: ChangeSet, conflict: Conflict, base: NodeTable, theirs: NodeTable) -> None:
    # A later commit may have deleted the array, if the log is that of a pruned ancestor.
    nodes = (theirs.get(conflict.path), base.get(conflict.path))
    node = next(node for node in nodes if node is not None and node.id in changes.chunks)
    # The array stays listed even without chunks, so that the session still has something to commit.
    for coord in conflict.conflicted_chunks or ():
        changes.chunks[node.id].pop(tuple(coord), None)


def _over(changes: ChangeSet, theirs: NodeTable) -> ChangeSet:
    """Adapt to the new base what the change set knows about paths."""
    for node in changes.deleted.values():
        found = theirs.get(node.path)
        if found is not None and found.id != node.id and changes.own_node(node.path) is None:
            # They deleted it as well and made another node there, which the session never saw.
            changes._unplace(node.path)
    for move in changes.moved.values():
        stored = theirs.get(move.source)
        if stored is not None:
            changes._place(move.target, NodeSnapshot(stored.id, move.target, stored.user_data, stored.array))
    return changes
