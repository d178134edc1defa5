"""A look into metadata files."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import zarr

import icechunk_core as ic
from tests.repository.programs import commit_array, commit_group

ROOT = "1CECHNKREP0F1RSTCMT0"
NOWHERE = "VY76P925PRY57WFEK410"


def header(repo: ic.Repository, file_type: str) -> dict[str, Any]:
    return {
        "written_by": "icechunk-core-0.1.0",
        "app_name": "icechunk-core",
        "app_version": "0.1.0",
        "spec_version": f"{int(repo.spec_version)}.0",
        "file_type": file_type,
        "compression": "zstd",
    }


def test_snapshot(repo: ic.Repository) -> None:
    """Every node with its shape and manifests, in path order."""
    session = repo.writable_session("main")
    root = zarr.create_group(session.store)
    array = root.create_array(
        "a", shape=(4, 6), chunks=(2, 3), dtype="i4", dimension_names=("y", None), compressors=None
    )
    array[:] = 1
    root.create_array("empty", shape=(5,), chunks=(2,), dtype="i4")
    snapshot_id = session.commit("one", {"k": [1]})
    found = repo.inspect_snapshot(snapshot_id)
    (manifest,) = repo.list_manifest_files(snapshot_id)
    ids = {node["path"]: node.pop("id") for node in found["nodes"]}
    assert len(set(ids.values())) == 3
    assert found == {
        "id": snapshot_id,
        "header": header(repo, "snapshot"),
        "flushed_at": repo.lookup_snapshot(snapshot_id).written_at.isoformat().replace("+00:00", "Z"),
        "commit_message": "one",
        "metadata": {"k": [1]},
        "manifests": [{"id": manifest.id, "size_bytes": manifest.size_bytes, "num_chunk_refs": 4}],
        "nodes": [
            {"path": "/", "node_type": "group"},
            {
                "path": "/a",
                "node_type": "array",
                "shape": [
                    {"name": "y", "array_length": 4, "num_chunks": 2},
                    {"array_length": 6, "num_chunks": 2},
                ],
                "manifest_refs": [{"id": manifest.id, "extents": [[0, 2], [0, 2]]}],
            },
            {
                "path": "/empty",
                "node_type": "array",
                "shape": [{"array_length": 5, "num_chunks": 3}],
                "manifest_refs": [],
            },
        ],
    }
    json.dumps(found)


def test_manifest(repo: ic.Repository) -> None:
    """Chunks are counted by array and kind; the size is that of the uncompressed content."""
    commit_array(repo, "small")
    commit_array(repo, "large", size=2000, chunk=1000, dtype="f8")
    found = [repo.inspect_manifest(file.id) for file in repo.list_manifest_files(repo.lookup_branch("main"))]
    assert sorted((one["total_inline"], one["total_native"]) for one in found) == [(0, 2), (2, 0)]
    for one in found:
        assert one["header"] == header(repo, "manifest")
        assert one["num_arrays"] == len(one["arrays"]) == 1
        assert one["total_chunk_refs"] == one["arrays"][0]["num_chunk_refs"] == 2
        assert one["size_bytes"] > 100
        assert one["compression"] == {"uses_location_compression": False, "num_compressed_refs": 0}
        json.dumps(one)


def test_compressed_locations() -> None:
    """A manifest of many virtual chunks says how large its dictionary is and who needs it."""
    config = ic.RepositoryConfig()
    config.set_virtual_chunk_container(
        ic.VirtualChunkContainer("s3://bucket/", ic.ObjectStoreConfig.S3(ic.S3Options(region="us-east-1")))
    )
    repo = ic.Repository.create("memory:", config)
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="x", shape=(1100,), chunks=(1,), dtype="i4", compressors=None)
    for number in range(1100):
        location = f"s3://bucket/some/long/common/prefix/of/files/{number}.nc"
        session.store.set_virtual_ref(f"x/c/{number}", location, offset=0, length=4)
    (file,) = repo.list_manifest_files(session.commit("virtual"))
    found = repo.inspect_manifest(file.id)
    assert found["total_virtual"] == found["compression"]["num_compressed_refs"] == 1100
    assert found["compression"]["uses_location_compression"] is True
    assert 0 < found["compression"]["dictionary_size_bytes"] <= 2048


def test_transaction_log(repo: ic.Repository) -> None:
    """What a commit did, by node id; ids are those of the snapshot."""
    first = commit_array(repo, "a")
    ids = {node["path"]: node["id"] for node in repo.inspect_snapshot(first)["nodes"]}
    log = repo.inspect_transaction_log(first)
    assert log == {
        "header": header(repo, "transaction-log"),
        "new_groups": [ids["/"]],
        "new_arrays": [ids["/a"]],
        "deleted_groups": [],
        "deleted_arrays": [],
        "updated_groups": [],
        "updated_arrays": [],
        "updated_chunks": [{"node_id": ids["/a"], "chunks": [[0], [1]]}],
        "moved_nodes": [],
    }
    session = repo.writable_session("main")
    asyncio.run(session.store.delete("a/c/0"))
    asyncio.run(session.store.delete_dir("a"))
    log = repo.inspect_transaction_log(session.commit("gone"))
    assert log["deleted_arrays"] == [ids["/a"]]


def test_repo_info(repo2: ic.Repository) -> None:
    """Refs, snapshots, metadata and the newest page of the log."""
    tip = commit_group(repo2, "a")
    repo2.create_tag("v1", tip)
    repo2.create_tag("v2", tip)
    repo2.delete_tag("v2")
    repo2.set_metadata({"a": 1})
    found = repo2.inspect_repo_info()
    assert found["header"] == header(repo2, "repo-info")
    assert found["spec_version"] == "2.0"
    assert found["branches"] == {"main": tip}
    assert found["tags"] == {"v1": tip}
    assert found["deleted_tags"] == ["v2"]
    assert found["metadata"] == {"a": 1}
    assert {entry["id"]: entry.get("parent_id") for entry in found["snapshots"]} == {ROOT: None, tip: ROOT}
    assert [update["update_type"]["type"] for update in found["latest_updates"]] == [
        "MetadataChangedUpdate", "TagDeletedUpdate", "TagCreatedUpdate", "TagCreatedUpdate",
        "NewCommitUpdate", "RepoInitializedUpdate",
    ]  # fmt: skip
    assert found["latest_updates"][1]["update_type"]["previous_snap_id"] == tip
    assert "backup_path" not in found["latest_updates"][0]
    assert "repo_before_updates" not in found
    json.dumps(found)


def test_manifest_files(repo: ic.Repository) -> None:
    """None at the start; one per array with chunks, with the size of its object."""
    assert repo.list_manifest_files(ROOT) == []
    snapshot_id = commit_array(repo, "a")
    (file,) = repo.list_manifest_files(snapshot_id)
    assert file.num_chunk_refs == 2
    assert asyncio.run(repo.storage.head(f"manifests/{file.id}")).size == file.size_bytes


@pytest.mark.parametrize(
    "name", ["inspect_snapshot", "inspect_manifest", "inspect_transaction_log", "list_manifest_files"]
)
def test_what_does_not_exist(repo: ic.Repository, name: str) -> None:
    """A missing file is a `StorageError`, an id that is none an `InvalidInputError`."""
    with pytest.raises(ic.StorageError) as raised:
        getattr(repo, name)(NOWHERE)
    assert raised.value.kind == ic.ErrorKind.OBJECT_NOT_FOUND
    with pytest.raises(ic.InvalidInputError) as invalid:
        getattr(repo, name)("no id")
    assert invalid.value.kind == ic.ErrorKind.INVALID_SNAPSHOT_ID


async def test_the_async_twins(repo2: ic.Repository) -> None:
    """They give the same."""
    snapshot_id = repo2.lookup_branch("main")
    assert await repo2.inspect_snapshot_async(snapshot_id) == repo2.inspect_snapshot(snapshot_id)
    assert await repo2.inspect_repo_info_async() == repo2.inspect_repo_info()
    assert await repo2.inspect_transaction_log_async(ROOT) == repo2.inspect_transaction_log(ROOT)
    assert await repo2.list_manifest_files_async(snapshot_id) == []
