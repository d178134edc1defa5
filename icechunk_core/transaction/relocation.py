"""Where chunks have gone whose bytes were copied to other objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from icechunk_core.format.chunk_refs import ChunkRefs, NativeRef, RefKind

__all__ = ["Relocation", "range_keys"]

_RANGE = np.dtype("S28")
"""An id, an offset and a length, big-endian, as one string."""


def range_keys(refs: ChunkRefs, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bytes_]:
    """What part of which object each of the chosen native refs is, as 28 bytes: id, offset, length."""
    numbers = np.stack([refs.offset[chosen], refs.length[chosen]], axis=1).astype(">u8")
    table = np.hstack([refs.chunk_ids[chosen], numbers.view(np.uint8).reshape(len(numbers), 16)])
    return np.ascontiguousarray(table).view(_RANGE)[:, 0]


class Relocation:
    """A table from parts of objects to the places where the same bytes are now.

    >>> old, new = NativeRef(b"a" * 12, 5, 3), NativeRef(b"b" * 12, 0, 3)
    >>> moved = Relocation([old], [new])
    >>> moved.applied(ChunkRefs.from_items(1, {(0,): old, (1,): new})).get((0,)) == new
    True
    """

    def __init__(self, old: Sequence[NativeRef], new: Sequence[NativeRef]) -> None:
        keys = np.array([_key(ref) for ref in old], _RANGE)
        order = np.argsort(keys)
        self._keys = keys[order]
        ids = b"".join(new[at].chunk_id for at in order.tolist())
        self._ids = np.frombuffer(ids, np.uint8).reshape(len(new), 12)
        self._offsets = np.array([new[at].offset for at in order.tolist()], np.uint64)

    def __len__(self) -> int:
        return len(self._keys)

    def applied(self, refs: ChunkRefs) -> ChunkRefs:
        """The refs with those replaced that are in the table; the same object if none is."""
        rows, found = self._found(refs)
        if not len(rows):
            return refs
        columns = refs.columns
        ids, offset = columns.chunk_ids.copy(), columns.offset.copy()
        ids[rows], offset[rows] = self._ids[found], self._offsets[found]
        return ChunkRefs(columns._replace(chunk_ids=ids, offset=offset))

    def concerns(self, refs: ChunkRefs) -> bool:
        """Whether any ref is in the table."""
        return len(self._found(refs)[0]) > 0

    def _found(self, refs: ChunkRefs) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Rows of refs that are in the table, and where in the table."""
        native = refs.kind == RefKind.NATIVE
        rows = np.flatnonzero(native)
        if not len(rows) or not len(self._keys):
            return np.empty(0, np.intp), np.empty(0, np.intp)
        wanted = range_keys(refs, native)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        hit = self._keys[at] == wanted
        return rows[hit], at[hit]


def _key(ref: NativeRef) -> bytes:
    return ref.chunk_id + ref.offset.to_bytes(8, "big") + ref.length.to_bytes(8, "big")
