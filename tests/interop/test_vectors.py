"""Genuine repositories, opened through the public API, hold what their writers say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import icechunk_core
from icechunk_core.clock import us_from_datetime
from tests.interop.implementations import get, keys_of
from tests.vectors_support import VECTOR_NAMES, Vector, load_vector

RELATIVE = "vcc://ext/"


@pytest.fixture(params=VECTOR_NAMES)
def vector(request: pytest.FixtureRequest) -> Vector:
    return load_vector(request.param)


@pytest.fixture
def repo(vector: Vector, tmp_path: Path) -> icechunk_core.Repository:
    """A copy of the vector, opened; the container ``ext`` leads to the shipped data."""
    root = str(vector.copy_to(tmp_path / "repo"))
    config = icechunk_core.RepositoryConfig()
    allowed: dict[str, Any] = {}
    stored = icechunk_core.Repository.fetch_config(root)
    if stored is not None and stored.virtual_chunk_containers:
        prefix = f"file://{vector.data}/"
        config.set_virtual_chunk_container(
            icechunk_core.VirtualChunkContainer(
                prefix, icechunk_core.ObjectStoreConfig.LocalFileSystem(str(vector.data)), name="ext"
            )
        )
        allowed[prefix] = icechunk_core.Credentials.LocalFileSystemAccess()
    return icechunk_core.Repository.open(root, config, allowed)


def listed(items: list[Any]) -> Any:
    """A list as ``expected.json`` gives it: in full, or abridged when long (`tests/vectors/README.md`)."""
    if len(items) <= 100:
        return items
    lines = "\n".join(json.dumps(item, sort_keys=True, ensure_ascii=False) for item in items)
    return {
        "count": len(items),
        "first": items[:5],
        "last": items[-5:],
        "sha256_of_json_lines": hashlib.sha256(lines.encode()).hexdigest(),
    }


def chunk_key(path: str, coords: list[int]) -> str:
    return "/".join([path.strip("/"), "c", *map(str, coords)]).lstrip("/")


def metadata_key(path: str) -> str:
    return f"{path}/zarr.json".lstrip("/")


def in_grid(node: dict[str, Any], coords: list[int]) -> bool:
    return all(c < (d["num_chunks"] or 1) for c, d in zip(coords, node["dimensions"], strict=True))


def test_refs_are_as_expected(vector: Vector, repo: icechunk_core.Repository) -> None:
    """Branches and tags have their names and point where the writer says; so does the spec version."""
    expected = vector.expected
    assert repo.spec_version == expected["spec_version"]
    assert {name: repo.lookup_branch(name) for name in repo.list_branches()} == expected["branches"]
    tags = {name: repo.lookup_tag(name) for name in repo.list_tags()}
    if expected["spec_version"] == 1:
        # The writer's listings leave out names that are escaped in files; ours do not.
        tags = {name: target for name, target in tags.items() if name.isascii()}
    assert tags == expected["tags"]


def test_history_is_as_expected(vector: Vector, repo: icechunk_core.Repository) -> None:
    """Ancestry from every ref lists the same snapshots, with their parents, messages, metadata and times."""
    for ref, expected in vector.expected["history"].items():
        kind, _, name = ref.partition(":")
        ancestry = list(repo.ancestry(**{kind: name}))
        assert listed([info.id for info in ancestry]) == expected
        for info in ancestry:
            described = vector.expected["snapshots"].get(info.id)
            if described is None:
                continue  # abridged: a long history is not described snapshot by snapshot
            assert info.parent_id == described["parent"]
            assert info.message == described["message"]
            assert info.metadata == described["metadata"]
            assert us_from_datetime(info.written_at) == described["flushed_at_us"]


def test_every_node_and_chunk_reads_as_expected(vector: Vector, repo: icechunk_core.Repository) -> None:
    """In every snapshot the keys are exactly those expected, and each has its bytes.

    Virtual chunks whose target is not shipped are listed, and reading them is an error that names it.
    """
    for snapshot_id, snapshot in vector.expected["snapshots"].items():
        session = repo.readonly_session(snapshot_id=snapshot_id)
        keys = set()
        for node in snapshot["nodes"]:
            keys.add(metadata_key(node["path"]))
            assert get(session, metadata_key(node["path"])) == node["zarr_json"].encode()
            for chunk in node.get("chunks", []):
                key = chunk_key(node["path"], chunk["coords"])
                if not in_grid(node, chunk["coords"]):
                    assert get(session, key) is None
                    continue
                keys.add(key)
                check_chunk(session, key, chunk)
        assert keys_of(session.store) == keys


def check_chunk(session: icechunk_core.Session, key: str, chunk: dict[str, Any]) -> None:
    if chunk.get("unreadable"):
        with pytest.raises(icechunk_core.IcechunkError) as raised:
            get(session, key)
        assert chunk["location"] in str(raised.value)
        return
    data = get(session, key)
    assert data is not None, key
    assert len(data) == chunk["bytes"]
    assert hashlib.sha256(data).hexdigest() == chunk["sha256"], key


def test_diffs_are_as_expected(vector: Vector, repo: icechunk_core.Repository) -> None:
    """What changed between two snapshots, by path (moves are described in order of paths)."""
    for expected in vector.expected["diffs"]:
        ends = {"from_snapshot_id": expected["from"], "to_snapshot_id": expected["to"]}
        if "error" in expected:  # a transaction log between them was left out of the archive
            with pytest.raises(icechunk_core.IcechunkError, match="transaction log"):
                repo.diff(**ends)
            continue
        diff = repo.diff(**ends)
        for kind in ("groups", "arrays"):
            for change in ("new", "deleted", "updated"):
                found = getattr(diff, f"{change}_{kind}")
                assert listed(sorted(found)) == expected[f"{change}_{kind}"], (change, kind)
        assert diff.updated_chunks == expected["updated_chunks"]
        assert sorted(map(list, diff.moved_nodes)) == expected["moved_nodes"]


def test_virtual_chunks_need_authorisation(tmp_path: Path) -> None:
    """Shipped targets are not read unless whoever opens the repository allows it."""
    vector = load_vector("v21-chunk-kinds")
    repo = icechunk_core.Repository.open(str(vector.copy_to(tmp_path / "repo")))
    session = repo.readonly_session("main")
    with pytest.raises(icechunk_core.InvalidInputError, match="authorize_virtual_chunk_access"):
        get(session, "dict/c/0")
