"""Which arrays of one commit share a manifest (decision 12).

A manifest is an object: written, synced, fetched and decoded. Arrays of a few chunks are gathered in shared
ones, so that a commit of many such arrays, and a reader of them all, handles few objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from icechunk_core.format.chunk_refs import ChunkRefs
from icechunk_core.format.refs import RefKind
from icechunk_core.transaction.manifests_plan import ArrayPlan

__all__ = ["MAX_SHARED_REFS", "SmallArray", "is_small", "shared_manifests"]

MAX_SHARED_REFS: Final = 1000
"""Refs of a shared manifest: no more than a manifest may have that is preloaded by default."""
_SMALL_REFS: Final = 256
# What an array leaves in a shared manifest when it is rewritten or deleted keeps its chunks from garbage
# collection as long as one of the other arrays is what it was. Packs keep a multiple of this in the same way.
_SMALL_CHUNK_BYTES: Final = 4 << 20
_SMALL_PAYLOAD_BYTES: Final = 64 << 10
_MAX_PAYLOAD_BYTES: Final = 256 << 10


@frozen(eq=False)
class SmallArray:
    """An array all of whose refs go into one manifest, which may have others beside them."""

    plan: ArrayPlan
    refs: ChunkRefs

    @property
    def payload_bytes(self) -> int:
        """Bytes of inline data and locations."""
        return _payload_bytes(self.refs)


def is_small(plan: ArrayPlan, refs: Sequence[ChunkRefs]) -> bool:
    """Whether an array, the new manifests of which hold these refs, may share a manifest with others.

    Not if it is split, nor if a part of it stays where it is.
    """
    if plan.kept or len(plan.new) != 1 or len(refs) != 1 or len(refs[0]) > _SMALL_REFS:
        return False
    (found,) = refs
    if found.payloads is None:
        return int(found.length.sum()) <= _SMALL_CHUNK_BYTES
    native = found.length[found.kind == RefKind.NATIVE]
    return int(native.sum()) <= _SMALL_CHUNK_BYTES and _payload_bytes(found) <= _SMALL_PAYLOAD_BYTES


def shared_manifests(arrays: Sequence[SmallArray], created: frozenset[bytes]) -> list[list[SmallArray]]:
    """Put arrays together, neighbours by path first.

    Parameters
    ----------
    created
        Ids of arrays that are new. They and others do not share: what changes once is likely to
        change again, and would leave its old refs among those of arrays that never do.
    """
    groups: list[list[SmallArray]] = []
    for is_new in (True, False):
        refs = payload = 0
        group: list[SmallArray] = []
        chosen = [array for array in arrays if (array.plan.node_id in created) is is_new]
        for array in sorted(chosen, key=lambda array: array.plan.path):
            refs += len(array.refs)
            payload += array.payload_bytes
            if group and (refs > MAX_SHARED_REFS or payload > _MAX_PAYLOAD_BYTES):
                groups.append(group)
                group, refs, payload = [], len(array.refs), array.payload_bytes
            group.append(array)
        if group:
            groups.append(group)
    return groups


def _payload_bytes(refs: ChunkRefs) -> int:
    if refs.payloads is None:
        return 0
    entries = refs.payloads.entries
    return int(entries["size"].sum()) + int(entries["etag_size"].sum())
