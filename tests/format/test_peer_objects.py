"""Files written by this encoder are read by Icechunk itself, and the other way round."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from attrs import evolve

from icechunk_core.format.layout import manifest_key
from icechunk_core.format.manifest import LocationCompression, decode_manifest, encode_manifest
from icechunk_core.format.snapshot import ManifestFileInfo, decode_snapshot, encode_snapshot
from icechunk_core.format.transaction_log import decode_transaction_log, encode_transaction_log
from tests.vectors_support import VECTOR_NAMES, load_vector

icechunk = pytest.importorskip("icechunk", reason="needs icechunk")
needs_2_3 = pytest.mark.skipif(icechunk.__version__ < "2.3", reason="needs icechunk 2.3")
# Icechunk 1.1 reads spec 1 only, and not the settings that 2.3 wrote.
READABLE = [
    pytest.param(name, marks=needs_2_3) if name.startswith("v21") or name == "v1-by-2.3" else name
    for name in VECTOR_NAMES
]


def rewrite_files(root: Path, location_compression: LocationCompression | None = None) -> int:
    """Decode and encode again every manifest, snapshot and log of a repository, in place."""
    sizes: dict[bytes, int] = {}
    for path in sorted((root / "manifests").glob("*")):
        data = path.read_bytes()
        manifest = decode_manifest(data, name=path.name)
        again = encode_manifest(manifest, spec_version=data[36], location_compression=location_compression)
        path.write_bytes(again)
        sizes[manifest.id] = len(again)
    for path in sorted((root / "snapshots").glob("*")):
        data = path.read_bytes()
        snapshot = decode_snapshot(data, name=path.name)
        infos = [
            ManifestFileInfo(info.id, sizes[info.id], info.num_chunk_refs) for info in snapshot.manifest_files
        ]
        path.write_bytes(encode_snapshot(evolve(snapshot, manifest_files=infos), spec_version=data[36]))
    for path in sorted((root / "transactions").glob("*")):
        data = path.read_bytes()
        log = decode_transaction_log(data, name=path.name)
        path.write_bytes(encode_transaction_log(log, spec_version=data[36]))
    return len(sizes)


def open_peer(root: Path, **options: Any) -> Any:
    return icechunk.Repository.open(icechunk.local_filesystem_storage(str(root)), **options)


def contents(store: Any) -> dict[str, bytes]:
    """Every key of a store whose value can be read, with the value."""

    async def collect() -> dict[str, bytes]:
        found = {}
        async for key in store.list():
            try:
                value = await store.get(key, zarr.core.buffer.default_buffer_prototype())
            except icechunk.IcechunkError:
                continue  # virtual chunks without a target
            if value is not None:
                found[key] = value.to_bytes()
        return found

    return asyncio.run(collect())


def locations(session: Any) -> Iterable[str]:
    return sorted(session.all_virtual_chunk_locations())


def make_peer_repository(root: Path, spec_version: int) -> Any:
    """A repository by the peer: groups, arrays of several shapes, inline, native and virtual chunks."""
    config = icechunk.RepositoryConfig.default()
    config.inline_chunk_threshold_bytes = 40
    config.set_virtual_chunk_container(
        icechunk.VirtualChunkContainer("s3://bucket/", icechunk.s3_store(region="us-east-1"))
    )
    repo = icechunk.Repository.create(
        icechunk.local_filesystem_storage(str(root)), config=config, spec_version=spec_version
    )
    session = repo.writable_session("main")
    group = zarr.open_group(session.store, mode="w", attributes={"title": "t", "ü": [1, 2.5, None]})
    rng = np.random.default_rng(7)
    options: dict[str, Any] = {"dtype": "i4", "compressors": None}
    small = group.create_array(
        "grp/small", shape=(6, 4), chunks=(2, 4), dimension_names=("y", None), **options
    )
    small[:] = rng.integers(0, 99, (6, 4))
    large = group.create_array("grp/large", shape=(40, 50, 3), chunks=(10, 20, 3), **options)
    large[:] = rng.integers(0, 99, (40, 50, 3))
    scalar = group.create_array("scalar", shape=(), **options)
    scalar[...] = 42
    group.create_array("empty", shape=(0, 5), chunks=(1, 5), **options)
    group.create_array("virtual", shape=(50,), chunks=(1,), **options)
    refs = [
        icechunk.VirtualChunkSpec([0], "s3://bucket/one", 5, 4),
        icechunk.VirtualChunkSpec([1], "s3://bucket/two", 6, 4, etag_checksum="abc"),
    ]
    refs += [icechunk.VirtualChunkSpec([i], f"s3://bucket/long/prefix/{i}.nc", i, 4) for i in range(2, 50)]
    session.store.set_virtual_refs("virtual", refs, validate_containers=True)
    session.commit("first", metadata={"who": "me", "n": [1, {"a": None}]})
    session = repo.writable_session("main")
    group = zarr.open_group(session.store, mode="a")
    zarr.open_array(session.store, path="grp/large")[0:10, 0:20] = -1
    del group["empty"]
    group.attrs["more"] = "x" * 500
    session.commit("second")
    return repo


@needs_2_3
@pytest.mark.parametrize("spec_version", [1, 2])
def test_peer_reads_and_continues_a_rewritten_repository(tmp_path: Path, spec_version: int) -> None:
    """After every metadata file was written anew by this encoder, Icechunk sees the same and commits on."""
    before = make_peer_repository(tmp_path, spec_version)
    history = [info.id for info in before.ancestry(branch="main")]
    sessions = {id: before.readonly_session(snapshot_id=id) for id in history}
    expected = {id: (contents(session.store), locations(session)) for id, session in sessions.items()}
    assert len(expected[history[0]][0]) > 20
    diff = repr(before.diff(from_snapshot_id=history[1], to_snapshot_id=history[0]))

    assert rewrite_files(tmp_path, LocationCompression(min_num_chunks=20)) >= 4

    after = open_peer(tmp_path)
    assert [info.id for info in after.ancestry(branch="main")] == history
    for id, (values, places) in expected.items():
        session = after.readonly_session(snapshot_id=id)
        assert contents(session.store) == values
        assert locations(session) == places
    assert repr(after.diff(from_snapshot_id=history[1], to_snapshot_id=history[0])) == diff
    session = after.writable_session("main")
    array = zarr.open_array(session.store, path="grp/large", mode="a")
    array[39, 49, 2] = 77
    session.commit("continued")
    reopened = zarr.open_array(open_peer(tmp_path).readonly_session("main").store, path="grp/large", mode="r")
    assert reopened[39, 49, 2] == 77
    assert reopened[0, 0, 0] == -1


@pytest.mark.parametrize("name", READABLE)
def test_peer_reads_rewritten_vectors(tmp_path: Path, name: str) -> None:
    """Repositories of either spec version, written anew, read the same in Icechunk 2.3, and spec 1 in 1.1."""
    root = load_vector(name).copy_to(tmp_path)
    repo = open_peer(root)
    branches = sorted(repo.list_branches())
    expected = {branch: contents(repo.readonly_session(branch).store) for branch in branches}
    history = {branch: [info.id for info in repo.ancestry(branch=branch)] for branch in branches}

    rewrite_files(root, LocationCompression(min_num_chunks=1))

    repo = open_peer(root)
    for branch in branches:
        assert contents(repo.readonly_session(branch).store) == expected[branch]
        assert [info.id for info in repo.ancestry(branch=branch)] == history[branch]


@needs_2_3
def test_what_the_peer_writes_after_reading_ours_decodes(tmp_path: Path) -> None:
    """Manifests that Icechunk derives from ours, compressed locations included, decode to the same refs."""
    make_peer_repository(tmp_path, 2)
    rewrite_files(tmp_path, LocationCompression(min_num_chunks=20))
    ours = {path.name for path in (tmp_path / "manifests").iterdir()}
    repo = open_peer(tmp_path)
    places = locations(repo.readonly_session("main"))
    session = repo.writable_session("main")
    session.store.set_virtual_ref(
        "virtual/c/0", "s3://bucket/changed", offset=1, length=4, validate_container=True
    )
    session.commit("change one of the refs")
    new = [path for path in (tmp_path / "manifests").iterdir() if path.name not in ours]
    assert len(new) == 1
    manifest = decode_manifest(new[0].read_bytes(), name=manifest_key(b"x" * 12))
    (refs,) = manifest.arrays.values()
    assert len(refs) == 50
    changed = ["s3://bucket/changed" if place == "s3://bucket/one" else place for place in places]
    assert sorted(refs.virtual_locations()) == sorted(changed)
