"""Laying a change set over another base snapshot than the one that it was made on.

This is what merging needs when commits have happened in between. It looks at nodes only;
what the commits did to the same chunks is for a rebase to find out.
"""

from __future__ import annotations

from collections.abc import Iterator

from icechunk_core.errors import ErrorKind, SessionStateError
from icechunk_core.format.snapshot import NodeTable
from icechunk_core.transaction.change_set import ChangeSet

__all__ = ["refit"]


def refit(changes: ChangeSet, ours: ChangeSet, base: NodeTable) -> None:
    """Make ``changes`` fit ``base`` and the session's own changes over it, before they are merged.

    Nodes that the changes make and the base has by now, because the same changes have been
    committed, are no longer made.

    Raises
    ------
    SessionStateError
        Kind ``merge-failed``: the changes are about nodes that are not there any more, or make
        nodes where others are now. Nothing has changed then.
    """
    problems = [*_gone(changes, ours, base), *_taken(changes, ours, base)]
    if problems:
        raise SessionStateError(
            "cannot merge changes that were made on another version: " + "; ".join(sorted(problems)),
            kind=ErrorKind.MERGE_FAILED,
        )
    for node_id, path in list(changes.created.items()):
        there = base.get(path)
        if there is None or there.id != node_id:
            continue
        del changes.created[node_id]
        own = changes.own_node(path)
        if own is not None and own.user_data == there.user_data:
            changes._unplace(path)
        else:
            changes.updated[node_id] = path


def _gone(changes: ChangeSet, ours: ChangeSet, base: NodeTable) -> Iterator[str]:
    paths = {**changes.updated, **{node.id: node.path for node in changes.deleted.values()}}
    for node_id in paths.keys() | changes.chunks.keys():
        if node_id in changes.created or node_id in ours.created or base.by_id(node_id) is not None:
            continue
        what = paths.get(node_id)
        yield (
            f"{what} is not there any more" if what else "an array with changed chunks is not there any more"
        )


def _taken(changes: ChangeSet, ours: ChangeSet, base: NodeTable) -> Iterator[str]:
    for node_id, path in changes.created.items():
        there = base.get(path)
        if there is None or there.id == node_id:
            continue
        if there.id not in changes.deleted and there.id not in ours.deleted:
            yield f"another node has been made at {path}"
