"""What has to hold between the objects of a repository (FORMAT.md, sections 5 to 9), as values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from attrs import Factory, define, frozen

from icechunk_core.errors import InvalidInputError
from icechunk_core.format import base32
from icechunk_core.format.chunk_refs import ChunkRefs, RefKind, VirtualRef
from icechunk_core.format.manifest import Manifest
from icechunk_core.format.snapshot import NodeSnapshot, Snapshot
from icechunk_core.format.zarr_metadata import parse_node_metadata

__all__ = ["ArrayNeeds", "ManifestFacts", "NodeChecker", "manifest_facts"]


@frozen(eq=False)
class ArrayNeeds:
    """What the chunk refs of one array in one manifest need to be there.

    Attributes
    ----------
    chunk_ids : uint8[k, 12]
        Distinct chunk objects.
    ends : int64[k]
        How many bytes each of them must have at least.
    virtual
        For each distinct object (location, ETag, time) the ref that reaches furthest.
    """

    chunk_ids: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]
    virtual: tuple[VirtualRef, ...]


@frozen(eq=False)
class ManifestFacts:
    """What there is to check about a manifest that could be decoded.

    Attributes
    ----------
    id
        The id that it says it has.
    num_refs
        Chunk refs of all arrays.
    arrays
        By node id.
    """

    id: bytes
    num_refs: int
    arrays: dict[bytes, ArrayNeeds]


def manifest_facts(manifest: Manifest) -> ManifestFacts:
    """Look at every ref of a manifest.

    Raises
    ------
    Corrupt
        A location or ETag is damaged.
    """
    arrays = {node_id: _needs(refs) for node_id, refs in manifest.arrays.items()}
    return ManifestFacts(manifest.id, manifest.num_chunk_refs, arrays)


def _needs(refs: ChunkRefs) -> ArrayNeeds:
    native = refs.kind == RefKind.NATIVE
    ids = refs.native_ids()
    ends = np.zeros(len(ids), np.int64)
    if len(ids):
        known = np.ascontiguousarray(ids).view("S12").reshape(-1)
        used = np.ascontiguousarray(refs.chunk_ids[native]).view("S12").reshape(-1)
        reach = (refs.offset[native] + refs.length[native]).astype(np.int64)
        np.maximum.at(ends, np.searchsorted(known, used), reach)
    return ArrayNeeds(ids, ends, _virtual_needs(refs))


def _virtual_needs(refs: ChunkRefs) -> tuple[VirtualRef, ...]:
    furthest: dict[tuple[str, str | None, int | None], VirtualRef] = {}
    for row in np.flatnonzero(refs.kind == RefKind.VIRTUAL).tolist():
        ref = refs.ref(row)
        assert isinstance(ref, VirtualRef)
        key = (ref.location, ref.etag, ref.last_modified)
        best = furthest.get(key)
        if best is None or ref.offset + ref.length > best.offset + best.length:
            furthest[key] = ref
    return tuple(furthest.values())


@define
class NodeChecker:
    """Checks the nodes of many snapshots, each distinct node once."""

    spec_version: int
    _seen: set[NodeSnapshot] = Factory(set)

    def problems(self, snapshot: Snapshot, expected_id: bytes) -> Iterator[str]:
        """What contradicts itself in a snapshot that could be decoded, in words.

        Raises
        ------
        Corrupt
            A node cannot be decoded.
        """
        if snapshot.id != expected_id:
            yield f"it says that it is snapshot {base32.encode(snapshot.id)}"
        for node in snapshot.nodes:
            if node.array is not None:
                for manifest in node.array.manifests:
                    if snapshot.manifest_file(manifest.id) is None:
                        yield (
                            f"array {node.path!r} refers to manifest {base32.encode(manifest.id)}, "
                            "which the snapshot does not list"
                        )
            if node not in self._seen:
                self._seen.add(node)
                yield from self._metadata_problems(node)

    def _metadata_problems(self, node: NodeSnapshot) -> Iterator[str]:
        try:
            declared = parse_node_metadata(node.user_data, spec_version=self.spec_version, path=node.path)
        except InvalidInputError as error:
            yield f"the metadata of {node.path!r} cannot be read: {error.message}"
            return
        if declared.is_array != node.is_array:
            yield f"node {node.path!r} is {'an array' if node.is_array else 'a group'}, its metadata differ"
        elif node.array is not None and declared.shape != node.array.shape:
            yield (f"array {node.path!r} has the shape {node.array.shape}, its metadata say {declared.shape}")
