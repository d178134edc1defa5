"""Uniting two change sets made over the same base: forks and distributed writers.

Where both wrote the same chunk the other's ref wins. What cannot be united without
losing somebody's work is refused as a whole and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator

from icechunk_core.errors import ErrorKind, SessionStateError
from icechunk_core.format.snapshot import NodeTable
from icechunk_core.transaction.change_set import ChangeSet

__all__ = ["merge_into"]


def merge_into(
    ours: ChangeSet, other: ChangeSet, *, unify_created: bool = True, other_base: NodeTable | None = None
) -> None:
    """Add the changes of ``other`` to ``ours``. Merging the same changes twice is the same as once.

    Parameters
    ----------
    other_base
        The nodes that ``other`` was made over, if these include changes of ``ours`` (a fork). It may
        then change the metadata of nodes that ours made, as long as ours has not changed it since.
    unify_created
        Treat nodes that both sides made at the same path with identical ``zarr.json`` as one node
        (the other's chunks are added to ours). With False they are refused like any other clash.

    Raises
    ------
    SessionStateError
        ``merge-failed``: both made different nodes at one path, both changed the metadata of a node
        differently, or one deleted what the other changed. ``merge-not-allowed``: one of them moves nodes.
    """
    if ours.moved or other.moved:
        raise SessionStateError(
            "a session that moves nodes cannot be merged with another", kind=ErrorKind.MERGE_NOT_ALLOWED
        )
    same_node = dict(_same_nodes(ours, other)) if unify_created else {}
    problems = [*_clashing_creations(ours, other, same_node), *_clashing_updates(ours, other, other_base)]
    if problems:
        raise SessionStateError("cannot merge: " + "; ".join(problems), kind=ErrorKind.MERGE_FAILED)
    _merge_nodes(ours, other, same_node)
    for node_id, refs in other.chunks.items():
        ours.set_chunks(same_node.get(node_id, node_id), refs)


def _same_nodes(ours: ChangeSet, other: ChangeSet) -> Iterator[tuple[bytes, bytes]]:
    """Pairs (other's id, our id) of nodes that both made alike."""
    for node_id, path in other.created.items():
        mine, theirs = ours.own_node(path), other.own_node(path)
        if mine is None or theirs is None or mine.id == node_id or mine.id not in ours.created:
            continue
        if mine.is_array is theirs.is_array and mine.user_data == theirs.user_data:
            yield node_id, mine.id


def _clashing_creations(ours: ChangeSet, other: ChangeSet, same_node: dict[bytes, bytes]) -> Iterator[str]:
    for node_id, path in other.created.items():
        mine, theirs = ours.own_node(path), other.own_node(path)
        if mine is None or theirs is None or node_id in same_node:
            continue
        if mine.id != node_id:
            yield f"both made a node at {path}"
        elif mine.user_data != theirs.user_data:
            yield f"both changed the metadata of {path}"
    for one, two in ((ours, other), (other, ours)):
        replaced = {node.path for node in one.deleted.values()} - set(one.created.values())
        for path in sorted(replaced & set(two.created.values())):
            yield f"one deleted {path} and the other replaced it"


def _clashing_updates(ours: ChangeSet, other: ChangeSet, other_base: NodeTable | None) -> Iterator[str]:
    for node_id in ours.created.keys() & other.updated.keys():
        mine, theirs = ours.own_node(ours.created[node_id]), other.own_node(other.updated[node_id])
        seen = None if other_base is None else other_base.by_id(node_id)
        known = {node.user_data for node in (seen, theirs) if node is not None}
        if mine is not None and mine.user_data not in known:
            yield f"both changed the metadata of {mine.path}"
    for node_id in ours.updated.keys() & other.updated.keys():
        mine, theirs = ours.own_node(ours.updated[node_id]), other.own_node(other.updated[node_id])
        if mine is not None and theirs is not None and mine.user_data != theirs.user_data:
            yield f"both changed the metadata of {mine.path}"
    for one, two in ((ours, other), (other, ours)):
        for node in one.deleted.values():
            if node.id in two.updated or node.id in two.chunks or node.id in two.created:
                yield f"one deleted {node.path} and the other changed it"


def _merge_nodes(ours: ChangeSet, other: ChangeSet, same_node: dict[bytes, bytes]) -> None:
    for node_id, node in other.deleted.items():
        ours.deleted[node_id] = node
        if ours.own_node(node.path) is None:
            ours._place(node.path, None)
    for target, source in ((ours.created, other.created), (ours.updated, other.updated)):
        for node_id, path in source.items():
            if node_id not in same_node:
                if source is other.created or node_id not in ours.created:
                    target[node_id] = path
                ours._place(path, other.own_node(path))
