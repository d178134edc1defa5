"""How a session's changes can clash with a commit made meanwhile (FORMAT.md, section 17.4).

`RULES` is the one table of all kinds of conflict: what the two sides did, how it is
found, and which ways out exist. Detection, the solvers and the documentation read it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from attrs import frozen

from icechunk_core.format.snapshot import NodeTable
from icechunk_core.format.transaction_log import TransactionLog
from icechunk_core.html import page, text
from icechunk_core.transaction.change_set import ChangeSet, Coords
from icechunk_core.transaction.log_builder import coords_table
from icechunk_core.transaction.paths import ancestors, parent, path_key
from icechunk_core.transaction.splitting import contains

__all__ = ["RULES", "Conflict", "ConflictType", "Rule", "VersionSelection", "detect"]


class ConflictType(IntEnum):
    """Kinds of conflict between a session and a commit made since it started."""

    NewNodeConflictsWithExistingNode = 1
    NewNodeInInvalidGroup = 2
    ZarrMetadataDoubleUpdate = 3
    ZarrMetadataUpdateOfDeletedArray = 4
    ZarrMetadataUpdateOfDeletedGroup = 5
    ChunkDoubleUpdate = 6
    ChunksUpdatedInDeletedArray = 7
    ChunksUpdatedInUpdatedArray = 8
    DeleteOfUpdatedArray = 9
    DeleteOfUpdatedGroup = 10
    MoveOperationCannotBeRebased = 11

    def __repr__(self) -> str:
        return self.name

    def __str__(self) -> str:
        """The name as words.

        >>> str(ConflictType.ChunkDoubleUpdate)
        'Chunk double update'
        """
        words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in self.name)
        return words.strip().capitalize()


class VersionSelection(IntEnum):
    """Whose version of a conflict wins: the session's (ours), the other commit's (theirs), or nobody's."""

    Fail = 0
    UseOurs = 1
    UseTheirs = 2

    def __repr__(self) -> str:
        return f"VersionSelection.{self.name}"

    __str__ = __repr__


@frozen(repr=False)
class Conflict:
    """One clash between the session's changes and a commit.

    Attributes
    ----------
    conflict_type
        What kind.
    path
        The node it is about; empty for moves.
    conflicted_chunks
        The chunk coordinates that both wrote, if it is about chunks.
    """

    conflict_type: ConflictType
    path: str
    conflicted_chunks: list[list[int]] | None = None

    def __repr__(self) -> str:
        return (
            "<icechunk_core.conflicts.Conflict>\n"
            f"conflict_type: {self.conflict_type!r}\n"
            f"path: {self.path}\n"
            f"conflicted_chunks: {self.conflicted_chunks}\n"
        )

    def _repr_html_(self) -> str:
        return page("Conflict", f"<pre>{text(repr(self))}</pre>")


# --- what the rules look at ------------------------------------------------------------


@frozen
class Sides:
    """A session's changes over ``base``, and a commit's log with the nodes of its snapshot."""

    ours: ChangeSet
    base: NodeTable
    log: TransactionLog
    theirs: NodeTable

    def array_path(self, node_id: bytes) -> str:
        """Where the array is, after the commit or, if that deleted it, before."""
        path = self.ours.updated.get(node_id)
        if path is not None:
            return path
        node = self.theirs.by_id(node_id) or self.base.by_id(node_id)
        return node.path if node is not None else ""


Found: TypeAlias = Iterable[tuple[str, list[list[int]] | None]]


def _paths(paths: Iterable[str]) -> Found:
    return [(path, None) for path in sorted(paths, key=path_key)]


def _updated(sides: Sides, node_ids: Collection[bytes]) -> Found:
    return _paths(path for node_id, path in sides.ours.updated.items() if node_id in node_ids)


def _changed_chunks(sides: Sides, node_ids: Collection[bytes]) -> Found:
    return _paths(sides.array_path(node_id) for node_id in sides.ours.chunks if node_id in node_ids)


def _deleted(sides: Sides, node_ids: Collection[bytes]) -> Found:
    """What the session deleted, if it, or what they put in its place, is one of these nodes."""
    found = []
    for node in sides.ours.deleted.values():
        now = sides.theirs.get(node.path)
        if node.id in node_ids or (now is not None and now.id in node_ids):
            found.append(node.path)
    return _paths(found)


def _moves(sides: Sides) -> Found:
    return [("", None)] if sides.log.moves or _moves_disturbed(sides) else []


def _moves_disturbed(sides: Sides) -> bool:
    """Whether nodes that the commit made or deleted stand in the way of the session's moves.

    Those that were made below a moved group would be left behind.
    """
    log, moved = sides.log, sides.ours.moved
    if not moved:
        return False
    if not moved.keys().isdisjoint(log.deleted_arrays | log.deleted_groups):
        return True
    places = {path for move in moved.values() for path in (move.source, move.target)}
    for node_id in log.new_arrays | log.new_groups:
        node = sides.theirs.by_id(node_id)
        if node is not None and not places.isdisjoint((node.path, *ancestors(node.path))):
            return True
    arrived = {move.target for move in moved.values() if not move.is_array}
    for group in {parent(move.target) for move in moved.values()} - arrived:
        there = sides.theirs.get(group)
        if there is None or there.is_array:
            return True
    return False


def _new_on_existing(sides: Sides) -> Found:
    """Two nodes at one path, unless the other one is what the session itself deleted there."""
    found = []
    for path in sides.ours.created.values():
        theirs = sides.theirs.get(path)
        if theirs is not None and theirs.id not in sides.ours.deleted:
            found.append(path)
    return _paths(found)


def _new_in_array(sides: Sides) -> Found:
    above = {parent for path in sides.ours.created.values() for parent in ancestors(path)}
    nodes = (sides.theirs.get(path) for path in above)
    return _paths(node.path for node in nodes if node is not None and node.is_array)


def _same_chunks(sides: Sides) -> Found:
    found: list[tuple[str, list[list[int]] | None]] = []
    for node_id, ours in sides.ours.chunks.items():
        theirs = sides.log.updated_chunks.get(node_id)
        if theirs is None or not ours:
            continue
        common = _common(ours, theirs)
        if common:
            found.append((sides.array_path(node_id), common))
    return sorted(found, key=lambda entry: path_key(entry[0]))


def _common(ours: Collection[Coords], theirs: npt.NDArray[np.uint32]) -> list[list[int]]:
    """Coordinates in both, in lexicographic order (that of the log)."""
    if len(theirs) > 64:
        # Most of a large log is elsewhere in the array: cut it to our bounding box first.
        table = coords_table(ours, theirs.shape[1])
        box = zip(table.min(axis=0).tolist(), (table.max(axis=0).astype(np.int64) + 1).tolist(), strict=True)
        theirs = theirs[contains(tuple(box), theirs)]
    return [coord for coord in theirs.tolist() if tuple(coord) in ours]


# --- the table -------------------------------------------------------------------------


@frozen
class Rule:
    """One kind of conflict.

    Attributes
    ----------
    ours, theirs
        What the session and the commit did, for people.
    find
        The paths (and chunks) where it happened.
    ways_out
        Versions that a solver may choose; with any other choice the rebase fails.
    """

    conflict_type: ConflictType
    ours: str
    theirs: str
    find: Callable[[Sides], Found]
    ways_out: tuple[VersionSelection, ...] = ()


_OURS = (VersionSelection.UseOurs,)
_EITHER = (VersionSelection.UseOurs, VersionSelection.UseTheirs)

RULES: tuple[Rule, ...] = (
    Rule(
        ConflictType.MoveOperationCannotBeRebased,
        "anything; or moved nodes",
        "moved nodes; or made or deleted nodes where they were moved",
        _moves,
    ),
    Rule(
        ConflictType.NewNodeConflictsWithExistingNode,
        "made a node",
        "has another node at that path",
        _new_on_existing,
    ),
    Rule(
        ConflictType.NewNodeInInvalidGroup,
        "made a node",
        "has an array at the path of one of its ancestors",
        _new_in_array,
    ),
    Rule(
        ConflictType.ZarrMetadataDoubleUpdate,
        "changed the metadata of a node",
        "changed it too",
        lambda sides: _updated(sides, sides.log.updated_arrays | sides.log.updated_groups),
    ),
    Rule(
        ConflictType.ZarrMetadataUpdateOfDeletedArray,
        "changed the metadata of an array",
        "deleted the array",
        lambda sides: _updated(sides, sides.log.deleted_arrays),
    ),
    Rule(
        ConflictType.ZarrMetadataUpdateOfDeletedGroup,
        "changed the metadata of a group",
        "deleted the group",
        lambda sides: _updated(sides, sides.log.deleted_groups),
    ),
    Rule(
        ConflictType.ChunksUpdatedInDeletedArray,
        "changed chunks of an array",
        "deleted the array",
        lambda sides: _changed_chunks(sides, sides.log.deleted_arrays),
    ),
    Rule(
        ConflictType.ChunksUpdatedInUpdatedArray,
        "changed chunks of an array",
        "changed the array's metadata",
        lambda sides: _changed_chunks(sides, sides.log.updated_arrays),
    ),
    Rule(
        ConflictType.ChunkDoubleUpdate,
        "changed a chunk",
        "changed the same chunk",
        _same_chunks,
        _EITHER,
    ),
    Rule(
        ConflictType.DeleteOfUpdatedArray,
        "deleted an array",
        "changed the array's metadata or chunks",
        lambda sides: _deleted(sides, sides.log.updated_arrays | sides.log.updated_chunks.keys()),
        _OURS,
    ),
    Rule(
        ConflictType.DeleteOfUpdatedGroup,
        "deleted a group",
        "changed the group's metadata",
        lambda sides: _deleted(sides, sides.log.updated_groups),
        _OURS,
    ),
)


def detect(changes: ChangeSet, base: NodeTable, log: TransactionLog, theirs: NodeTable) -> list[Conflict]:
    """All conflicts of a session with one commit, in the order of `RULES` and by path.

    Parameters
    ----------
    changes, base
        The session's changes and the nodes of the snapshot it is based on.
    log, theirs
        The commit's transaction log and the nodes of its snapshot.
    """
    return list(_detect(Sides(changes, base, log, theirs)))


def _detect(sides: Sides) -> Iterator[Conflict]:
    for rule in RULES:
        for path, chunks in rule.find(sides):
            yield Conflict(rule.conflict_type, path, chunks)
