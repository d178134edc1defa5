"""The transaction log of a commit, from the session's changes (FORMAT.md, section 17.1)."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain

import numpy as np
import numpy.typing as npt

from icechunk_core.format.transaction_log import TransactionLog
from icechunk_core.transaction.change_set import ChangeSet, Coords
from icechunk_core.transaction.column_changes import ColumnChanges
from icechunk_core.transaction.paths import segment_key

__all__ = ["build_transaction_log", "coords_table", "sorted_coords"]


def coords_table(coords: Collection[Coords], ndim: int) -> npt.NDArray[np.uint32]:
    """Coordinates as a table of one row each, in the order given.

    >>> coords_table([(1, 0), (0, 2)], 2).tolist()
    [[1, 0], [0, 2]]
    """
    flat = np.fromiter(chain.from_iterable(coords), dtype=np.uint32, count=ndim * len(coords))
    return flat.reshape(len(coords), ndim)


def sorted_coords(coords: Collection[Coords]) -> npt.NDArray[np.uint32]:
    """Unique coordinates as a table of one row each, in lexicographic order.

    >>> sorted_coords({(1, 0), (0, 2)}).tolist()
    [[0, 2], [1, 0]]
    """
    if isinstance(coords, ColumnChanges):
        return coords.touched()
    table = coords_table(coords, len(next(iter(coords), ())))
    if table.shape[1] == 0 or len(table) < 2:
        return table
    return table[np.lexsort(table.T[::-1])]


def build_transaction_log(changes: ChangeSet, snapshot_id: bytes) -> TransactionLog:
    """What the commit ``snapshot_id`` changes, by node id.

    Nodes made in the session are only *new*, whatever happened to them afterwards; deleted base nodes
    are only *deleted*; chunk coordinates of all arrays are listed, whether set or removed.
    """
    created = {True: set[bytes](), False: set[bytes]()}
    updated = {True: set[bytes](), False: set[bytes]()}
    for target, source in ((created, changes.created), (updated, changes.updated)):
        for node_id, path in source.items():
            node = changes.own_node(path)
            assert node is not None
            target[node.is_array].add(node_id)
    deleted = changes.deleted.values()
    return TransactionLog(
        id=snapshot_id,
        new_groups=frozenset(created[False]),
        new_arrays=frozenset(created[True]),
        deleted_groups=frozenset(node.id for node in deleted if not node.is_array),
        deleted_arrays=frozenset(node.id for node in deleted if node.is_array),
        updated_arrays=frozenset(updated[True]),
        updated_groups=frozenset(updated[False]),
        updated_chunks={node_id: sorted_coords(refs) for node_id, refs in sorted(changes.chunks.items())},
        moves=tuple(
            sorted(
                (move for move in changes.moved.values() if move.source != move.target),
                key=lambda move: segment_key(move.target),
            )
        ),
    )
