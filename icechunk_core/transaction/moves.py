"""Moving and renaming nodes in a change set (FORMAT.md, section 16)."""

from __future__ import annotations

from icechunk_core.errors import AlreadyExistsError, ErrorKind, NodeNotFoundError, SessionStateError
from icechunk_core.format.snapshot import ArrayData, NodeSnapshot, NodeTable
from icechunk_core.format.transaction_log import Move
from icechunk_core.transaction.change_set import ChangeSet
from icechunk_core.transaction.paths import parent

__all__ = ["check_move", "move_node"]


def move_node(changes: ChangeSet, base: NodeTable, source: str, target: str) -> None:
    """Give the node at ``source``, and all below it, the path ``target``. Ids, metadata and chunks stay.

    ``changes.moved`` holds the *net* moves: from the path in the base to the path now. A node that is
    back where it began stays listed, so that there is something to commit, but is not in the log.

    Raises
    ------
    NodeNotFoundError
        If there is nothing at ``source``.
    AlreadyExistsError
        ``move-wont-overwrite``: there is a node at ``target``, or where something below would go.
    SessionStateError
        ``move-into-self-or-descendant``, ``move-destination-parent-missing``,
        ``move-destination-parent-not-group``.
    """
    check_move(changes, base, source, target)
    nodes = list(changes.nodes(source, base))
    renamed = [(node, target + node.path[len(source) :]) for node in nodes]
    leaving = {node.path for node in nodes}
    for _, path in renamed:
        if path not in leaving and changes.node(path, base) is not None:
            raise _taken(path)
    for node in nodes:
        # Hide what the base has there; where it has nothing, there is nothing to hide.
        if base.get(node.path) is None:
            changes._unplace(node.path)
        else:
            changes._place(node.path, None)
    for node, path in renamed:
        _arrive(changes, base, node, path)


def check_move(changes: ChangeSet, base: NodeTable, source: str, target: str) -> None:
    """Raise what `move_node` raises, but about nodes below ``source``."""
    if changes.node(source, base) is None:
        raise NodeNotFoundError(f"there is no node to move at {source!r}")
    if source in (target, "/") or target.startswith(source + "/"):
        raise SessionStateError(
            f"cannot move {source!r} to {target!r}: that is the node itself or inside it",
            kind=ErrorKind.MOVE_INTO_SELF_OR_DESCENDANT,
        )
    if changes.node(target, base) is not None:
        raise _taken(target)
    above = changes.node(parent(target), base)
    if above is None:
        raise SessionStateError(
            f"cannot move to {target!r}: there is no group at {parent(target)!r}; a move makes no groups, "
            "create it in a writable session and commit first",
            kind=ErrorKind.MOVE_DESTINATION_PARENT_MISSING,
        )
    if above.is_array:
        raise SessionStateError(
            f"cannot move to {target!r}: {parent(target)!r} is an array, and nodes live in groups",
            kind=ErrorKind.MOVE_DESTINATION_PARENT_NOT_GROUP,
        )


def _taken(path: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"a move cannot overwrite the node at {path!r}; delete it in a writable session first",
        kind=ErrorKind.MOVE_WONT_OVERWRITE,
    )


def _arrive(changes: ChangeSet, base: NodeTable, node: NodeSnapshot, path: str) -> None:
    if node.id in changes.created:
        changes.created[node.id] = path
    else:
        before = changes.moved.pop(node.id, None)
        origin = node.path if before is None else before.source
        changes.moved[node.id] = Move(origin, path, node.id, node.is_array)
        if node.id in changes.updated:
            changes.updated[node.id] = path
    array = node.array
    own = None if array is None else ArrayData(array.shape, array.num_chunks, array.dimension_names, ())
    changes._place(path, NodeSnapshot(node.id, path, node.user_data, own))
