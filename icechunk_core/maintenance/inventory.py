"""All objects of a repository with their sizes, as columns: 20 bytes an object."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from attrs import Factory, define, field

from icechunk_core.contract import Storage
from icechunk_core.format import layout
from icechunk_core.maintenance.progress import Reporter

__all__ = ["KINDS", "Inventory", "ObjectSizes", "take_inventory"]

KINDS = {
    "snapshots": layout.SNAPSHOTS_PREFIX,
    "transaction_logs": layout.TRANSACTIONS_PREFIX,
    "manifests": layout.MANIFESTS_PREFIX,
    "chunks": layout.CHUNKS_PREFIX,
}
_ID_TYPE = np.dtype("S12")
_REPORT_EVERY = 1000


class ObjectSizes:
    """Ids of the objects of one kind, their sizes, and which of them were asked for.

    >>> sizes = ObjectSizes([(bytes(range(12)), 5), (b"twelve bytes", 7)])
    >>> sizes.of([b"twelve bytes", b"another one."]).tolist()
    [7, -1]
    >>> sizes.unused()
    (1, 5)
    """

    def __init__(self, objects: Iterable[tuple[bytes, int]]) -> None:
        ids, sizes = bytearray(), array("q")
        for object_id, size in objects:
            ids += object_id
            sizes.append(size)
        unsorted = np.frombuffer(bytes(ids), _ID_TYPE)
        order = np.argsort(unsorted)
        self._ids = unsorted[order]
        self._sizes = np.frombuffer(sizes.tobytes(), np.int64)[order]
        self._used = np.zeros(len(order), np.bool_)

    def __len__(self) -> int:
        return len(self._ids)

    def of(self, ids: Iterable[bytes] | npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Sizes in bytes, -1 for an object that is not there; those found count as used."""
        if isinstance(ids, np.ndarray):
            wanted = np.ascontiguousarray(ids).view(_ID_TYPE).reshape(-1)
        else:
            wanted = np.frombuffer(b"".join(ids), _ID_TYPE)
        rows = np.searchsorted(self._ids, wanted)
        found = np.zeros(len(wanted), np.bool_)
        inside = rows < len(self._ids)
        found[inside] = self._ids[rows[inside]] == wanted[inside]
        sizes = np.full(len(wanted), -1, np.int64)
        sizes[found] = self._sizes[rows[found]]
        self._used[rows[found]] = True
        return sizes

    def unused(self) -> tuple[int, int]:
        """Number and total bytes of the objects that nobody asked for."""
        return int((~self._used).sum()), int(self._sizes[~self._used].sum())


@define
class Inventory:
    """What a listing of the whole repository shows.

    Attributes
    ----------
    sizes
        By kind: ``snapshots``, ``transaction_logs``, ``manifests``, ``chunks``.
    other
        Sizes of all objects of no kind (refs, configuration, backups, strange ones) by key.
    """

    sizes: dict[str, ObjectSizes]
    other: dict[str, int] = field(default=Factory(dict))


async def take_inventory(storage: Storage, reporter: Reporter) -> Inventory:
    """List everything once."""
    reporter.start("list")
    kinds: dict[str, list[tuple[bytes, int]]] = {kind: [] for kind in KINDS}
    other: dict[str, int] = {}
    count = 0
    async for item in storage.list():
        for kind, prefix in KINDS.items():
            object_id = layout.id_of_key(item.key, prefix)
            if object_id is not None:
                kinds[kind].append((object_id, item.size))
                break
        else:
            other[item.key] = item.size
        count += 1
        if count % _REPORT_EVERY == 0:
            reporter.advance(_REPORT_EVERY)
    return Inventory({kind: ObjectSizes(found) for kind, found in kinds.items()}, other)
