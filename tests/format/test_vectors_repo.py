"""Repo info files, refs and configurations of genuine repositories decode to what their writers report."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from icechunk_core.format import base32, flexbuffers, layout
from icechunk_core.format._flat_reader import FlatBuffer
from icechunk_core.format.config_codec import (
    decode_config_flexbuffers,
    decode_config_yaml,
    encode_config_flexbuffers,
    encode_config_yaml,
)
from icechunk_core.format.configuration import ObjectStoreConfig, RepositoryConfig
from icechunk_core.format.envelope import FileType, unseal
from icechunk_core.format.refs_v1 import decode_ref
from icechunk_core.format.repo_info import (
    RepoInfo,
    SnapshotInfo,
    SnapshotTable,
    Update,
    decode_repo_info,
    encode_repo_info,
)
from tests.vectors_support import SPEC_1_NAMES, SPEC_2_NAMES, Vector, load_vector

AVAILABILITY = {0: "online", 1: "read_only"}
FLAGS = {3: "move_node", 4: "create_tag", 5: "delete_tag"}


@pytest.fixture(params=SPEC_2_NAMES)
def vector(request: pytest.FixtureRequest) -> Vector:
    return load_vector(request.param)


@pytest.fixture
def info(vector: Vector) -> RepoInfo:
    return decode_repo_info(vector.read("repo"), name="repo")


def described_refs(refs: Any) -> dict[str, str]:
    return {name: base32.encode(target) for name, target in refs.items()}


def described_snapshot(info: SnapshotInfo) -> dict[str, Any]:
    return {
        "id": base32.encode(info.id),
        "parent": None if info.parent_id is None else base32.encode(info.parent_id),
        "message": info.message,
        "flushed_at_us": info.flushed_at,
        "metadata": info.metadata,
    }


def described_update(update: Update, backup: str | None) -> dict[str, Any]:
    """An entry of the operations log in the words of ``expected.json``."""
    values = attrs.asdict(update.kind, recurse=False)
    if "status" in values:
        status = values["status"]
        values["status"] = {"availability": AVAILABILITY[status.availability], "reason": status.reason}
    for key, value in values.items():
        if isinstance(value, bytes):
            values[key] = base32.encode(value)
    return {
        "type": type(update.kind).__name__,
        "at_us": update.updated_at,
        "backup": update.backup_path or backup,
        **values,
    }


def whole_log(vector: Vector, info: RepoInfo) -> list[dict[str, Any]]:
    """The operations log across all pages."""
    entries: list[dict[str, Any]] = []
    reached_by: str | None = None
    while True:
        entries += [
            described_update(update, reached_by if first else None)
            for first, update in ((row == 0, update) for row, update in enumerate(info.updates))
        ]
        reached_by = info.repo_before_updates
        if reached_by is None or not (vector.repo / layout.backup_key(reached_by)).exists():
            return entries
        info = decode_repo_info(vector.read(layout.backup_key(reached_by)), name=reached_by)


def test_refs(vector: Vector, info: RepoInfo) -> None:
    """Branches, tags and deleted tags."""
    assert described_refs(info.branches) == vector.expected["branches"]
    assert described_refs(info.tags) == vector.expected["tags"]
    assert sorted(info.deleted_tags) == sorted(vector.expected["repo_info"]["deleted_tags"])


def test_repository_state(vector: Vector, info: RepoInfo) -> None:
    """Metadata, status, flags, and the length of the log page."""
    expected = vector.expected["repo_info"]
    assert info.spec_version == 2
    assert info.metadata == expected["metadata"]
    status = {"availability": AVAILABILITY[info.status.availability], "reason": info.status.reason}
    assert status == expected["status"]
    enabled, disabled = info.enabled_flags or (), info.disabled_flags or ()
    flags = {
        name: (True if id in enabled else False if id in disabled else None) for id, name in FLAGS.items()
    }
    assert flags == expected["feature_flags"]
    assert len(info.updates) == expected["page_length"]
    assert info.repo_before_updates == expected["repo_before_updates"]


def test_snapshots(vector: Vector, info: RepoInfo) -> None:
    """Every snapshot info, in order, found by id too; and the lists of pruned logs."""
    expected = vector.expected["repo_info"]["snapshots"]
    found = [described_snapshot(snapshot) for snapshot in info.snapshots]
    if isinstance(expected, dict):
        assert len(found) == expected["count"]
        assert found[:5] == expected["first"]
        assert found[-5:] == expected["last"]
    else:
        assert found == expected
    for snapshot in info.snapshots:
        assert info.snapshots.get(snapshot.id) == snapshot
        assert info.snapshots.parent_of(snapshot.id) == snapshot.parent_id
    facts = vector.expected.get("facts", {}).get("pruned_ancestor_tx_logs")
    pruned = {
        base32.encode(snapshot.id): [base32.encode(log) for log in snapshot.pruned_ancestor_tx_logs]
        for snapshot in info.snapshots
        if snapshot.pruned_ancestor_tx_logs
    }
    if facts is not None:
        assert pruned == facts


def test_history(vector: Vector, info: RepoInfo) -> None:
    """Following parents from each ref gives the reported history."""
    refs = {f"branch:{name}": id for name, id in info.branches.items()}
    refs |= {f"tag:{name}": id for name, id in info.tags.items()}
    for name, expected in vector.expected["history"].items():
        history = []
        step: bytes | None = refs[name]
        while step is not None:
            history.append(base32.encode(step))
            step = info.snapshots.parent_of(step)
        if isinstance(expected, dict):
            assert (len(history), history[:5], history[-5:]) == (
                expected["count"],
                expected["first"],
                expected["last"],
            )
        else:
            assert history == expected


def test_operations_log(vector: Vector, info: RepoInfo) -> None:
    """The whole log, across backups."""
    expected = vector.expected["ops_log"]
    found = whole_log(vector, info)
    if isinstance(expected, dict):
        assert (len(found), found[:5], found[-5:]) == (expected["count"], expected["first"], expected["last"])
    else:
        assert found == expected


def test_rewriting_changes_nothing(vector: Vector) -> None:
    """Every repo info file and backup means the same after decoding and encoding, once and twice."""
    for key in ["repo", *vector.keys("overwritten")]:
        if "config" in key:
            continue
        info = decode_repo_info(vector.read(key), name=key)
        data = encode_repo_info(info)
        again = decode_repo_info(data, name=key)
        assert again == info
        assert again.config == info.config
        third = encode_repo_info(again)
        assert decode_repo_info(third, name=key) == info
        sizes = [len(unseal(file, FileType.REPO_INFO, name=key)[1]) for file in (data, third)]
        assert sizes[1] <= sizes[0] + 4096


def test_copied_and_rewritten_snapshots_agree(info: RepoInfo) -> None:
    """Encoding a table that was read gives the same infos as encoding the infos one by one."""
    rebuilt = attrs.evolve(info, snapshots=SnapshotTable.from_infos(info.snapshots))
    copied = decode_repo_info(encode_repo_info(info), name="copied")
    assert decode_repo_info(encode_repo_info(rebuilt), name="rebuilt") == copied == info


def test_metadata_values_are_written_alike(vector: Vector) -> None:
    """Every metadata value that the library wrote is encoded here to the same bytes."""
    payload = unseal(vector.read("repo"), FileType.REPO_INFO, name="repo")[1]
    root = FlatBuffer(payload, name="repo").root()
    items = root.optional_tables(6) or []
    for snapshot in root.tables(4):
        items += snapshot.optional_tables(4) or []
    documents = [item.byte_vector(1) for item in items]
    assert documents
    for document in documents:
        assert flexbuffers.encode(flexbuffers.decode(document, name="repo")) == document


def test_stored_configuration(info: RepoInfo) -> None:
    """A stored configuration decodes, and survives being written."""
    if info.config is not None:
        config = decode_config_flexbuffers(info.config, name="repo")
        assert config != RepositoryConfig()
        assert not config.unknown
        assert decode_config_flexbuffers(encode_config_flexbuffers(config), name="repo") == config


@pytest.mark.parametrize("name", SPEC_1_NAMES)
def test_spec_1_refs(name: str) -> None:
    """Branches and live tags of spec 1, by reading the ref files."""
    vector = load_vector(name)
    parsed = {key: layout.parse_ref_key(key, escaped=True) for key in vector.keys("refs")}
    deleted = {ref[1] for ref in parsed.values() if ref is not None and ref[2]}
    branches: dict[str, str] = {}
    tags: dict[str, str] = {}
    for key, ref in parsed.items():
        assert ref is not None
        kind, ref_name, tombstone = ref
        if tombstone or (kind == "tag" and ref_name in deleted):
            continue
        found = branches if kind == "branch" else tags
        found[ref_name] = base32.encode(decode_ref(vector.read(key), name=key))
    assert branches == vector.expected["branches"]
    # The library leaves out names that it stores escaped.
    assert {name: id for name, id in tags.items() if name.isascii()} == vector.expected["tags"]


def test_spec_1_configuration() -> None:
    """``config.yaml`` of every vector that has one decodes, and survives being written."""
    found = {}
    for vector in map(load_vector, SPEC_1_NAMES):
        if (vector.repo / "config.yaml").exists():
            config = decode_config_yaml(vector.read("config.yaml"), name="config.yaml")
            assert decode_config_yaml(encode_config_yaml(config), name="config.yaml") == config
            found[vector.name] = config
    containers = found["v1-virtual-split"].virtual_chunk_containers
    assert containers is not None
    assert any(isinstance(each.store, ObjectStoreConfig.LocalFileSystem) for each in containers.values())
    assert found["v1-virtual-split"].effective_split_sizes()
