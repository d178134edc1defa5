"""Time and memory of manifests with a million chunk refs, and of snapshots with thousands of nodes.

    python -m tests.benchmarks.bench_manifest [number of refs]

Every case runs in a process of its own, so that the peak of the resident memory is that case's.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from icechunk_core.format.manifest import (
    ChunkRef,
    ChunkRefs,
    InlineRef,
    Manifest,
    NativeRef,
    VirtualRef,
    decode_manifest,
    encode_manifest,
)
from icechunk_core.format.snapshot import (
    ArrayData,
    ManifestFileInfo,
    ManifestRef,
    NodeSnapshot,
    NodeTable,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
)

ID = bytes(12)
NODE = bytes(8)


def native_refs(rows: int, ndim: int) -> ChunkRefs:
    """Refs into packs: random ids, offsets and lengths, on a nearly cubic grid."""
    side = round(rows ** (1 / ndim))
    coords = np.indices((side,) * ndim, dtype=np.uint32).reshape(ndim, -1).T
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 256, (len(coords), 12), dtype=np.uint8)
    offset = rng.integers(0, 8 << 20, len(coords), dtype=np.uint64)
    return ChunkRefs.native(coords, ids, offset, rng.integers(1, 1 << 19, len(coords), dtype=np.uint64))


def peak() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def resident() -> float:
    """Resident memory now, in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def bench_encode(rows: int, ndim: int) -> str:
    manifest = Manifest(ID, {NODE: native_refs(rows, ndim)})
    encode_manifest(Manifest(ID, {}), spec_version=2)
    before = resident()
    seconds, data = timed(lambda: encode_manifest(manifest, spec_version=2))
    memory = peak() - before
    best = min([seconds, *(timed(lambda: encode_manifest(manifest, spec_version=2))[0] for _ in range(2))])
    return f"encode  {ndim}-d  {best:6.3f} s  +{memory:4.0f} MB  {len(data) / 1e6:5.1f} MB file"


def bench_decode(rows: int, ndim: int) -> str:
    file = multiprocessing.Manager().list()
    maker = multiprocessing.Process(target=_make, args=(rows, ndim, file))
    maker.start()
    maker.join()
    data = file[0]
    decode_manifest(encode_manifest(Manifest(ID, {}), spec_version=2), name="m")
    before = resident()
    seconds, manifest = timed(lambda: decode_manifest(data, name="m"))
    memory = peak() - before
    columns = sum(column.nbytes for column in manifest.arrays[NODE].columns[:5]) / 1e6
    best = min([seconds, *(timed(lambda: decode_manifest(data, name="m"))[0] for _ in range(2))])
    return f"decode  {ndim}-d  {best:6.3f} s  +{memory:4.0f} MB  of which {columns:.0f} MB columns"


def _make(rows: int, ndim: int, file: Any) -> None:
    file.append(encode_manifest(Manifest(ID, {NODE: native_refs(rows, ndim)}), spec_version=2))


def bench_lookup(rows: int, ndim: int) -> str:
    refs = native_refs(rows, ndim)
    wanted = [tuple(coord) for coord in refs.coords[:: max(len(refs) // 20_000, 1)].tolist()]
    first, _ = timed(lambda: refs.find(wanted[0]))
    find, _ = timed(lambda: [refs.find(coord) for coord in wanted])
    get, _ = timed(lambda: [refs.get(coord) for coord in wanted])
    changes = {wanted[0]: None, wanted[1]: NativeRef(ID, 1, 2)}
    update, _ = timed(lambda: refs.updated(changes))
    each = 1e6 / len(wanted)
    return (
        f"lookup  {ndim}-d  index {first * 1e3:.1f} ms, find {find * each:.2f} µs, get {get * each:.2f} µs, "
        f"update of two refs {update * 1e3:.0f} ms"
    )


def bench_inline(rows: int, _: int) -> str:
    return _bench_values("inline", {(row,): InlineRef(b"%d" % row * 20) for row in range(rows // 10)})


def bench_virtual(rows: int, _: int) -> str:
    items: dict[tuple[int, ...], ChunkRef] = {}
    for row in range(rows // 10):
        items[(row,)] = VirtualRef(f"s3://bucket/prefix/file-{row}.nc", row, 10, "etag", row + 1)
    return _bench_values("virtual", items)


def _bench_values(kind: str, items: Mapping[tuple[int, ...], ChunkRef]) -> str:
    build, refs = timed(lambda: ChunkRefs.from_items(1, items))
    manifest = Manifest(ID, {NODE: refs})
    encode, data = timed(lambda: encode_manifest(manifest, spec_version=2))
    decode, again = timed(lambda: decode_manifest(data, name="m"))
    every, _ = timed(lambda: [again.arrays[NODE].ref(row) for row in range(len(items))])
    return (
        f"{kind:7} {len(items):,} refs: from values {build:.3f} s, encode {encode:.3f} s, "
        f"decode {decode:.3f} s, every ref as a value {every:.3f} s"
    )


def bench_snapshot(_: int, nodes: int) -> str:
    def manifest(row: int) -> ManifestRef:
        return ManifestRef(row.to_bytes(12, "big"), ((0, 10), (0, 10)))

    table = NodeTable.from_nodes(
        NodeSnapshot(
            row.to_bytes(8, "big"),
            f"/group{row % 50}/array{row}",
            b'{"zarr_format":3,"node_type":"array"}' * 20,
            ArrayData(
                (100, 100), (10, 10), ("y", "x"), (ManifestRef(row.to_bytes(12, "big"), ((0, 10),) * 2),)
            ),
        )
        for row in range(nodes)
    )
    files = tuple(ManifestFileInfo(row.to_bytes(12, "big"), 1000, 100) for row in range(nodes))
    snapshot = Snapshot(ID, None, 1, "message", {}, files, table)
    encode, data = timed(lambda: encode_snapshot(snapshot, spec_version=2))
    decode, again = timed(lambda: decode_snapshot(data, name="s"))
    one, _ = timed(lambda: again.nodes.get("/group1/array1"))
    every, _ = timed(lambda: list(again.nodes))
    return (
        f"snapshot of {nodes:,} arrays: encode {encode * 1e3:.0f} ms, decode {decode * 1e3:.1f} ms, "
        f"one node {one * 1e6:.0f} µs, all nodes {every * 1e3:.0f} ms"
    )


def _run(case: Callable[[int, int], str], rows: int, argument: int) -> None:
    print(case(rows, argument), flush=True)


def main() -> None:
    """Run all cases and print a line for each."""
    rows = int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else 1_000_000
    print(f"manifests of {rows:,} native refs; memory is the peak above what was there before")
    cases = [(case, ndim) for case in (bench_encode, bench_decode, bench_lookup) for ndim in (1, 2, 3, 4)]
    for case, argument in [
        *cases,
        (bench_inline, 0),
        (bench_virtual, 0),
        (bench_snapshot, 100),
        (bench_snapshot, 5000),
    ]:
        process = multiprocessing.get_context("spawn").Process(target=_run, args=(case, rows, argument))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
