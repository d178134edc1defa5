"""The snapshot of a commit."""

from __future__ import annotations

import pytest

from icechunk_core.errors import Corrupt, ErrorKind, FormatError
from icechunk_core.format.snapshot import (
    ManifestFileInfo,
    ManifestRef,
    NodeTable,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
)
from icechunk_core.transaction.change_set import ChangeSet
from icechunk_core.transaction.snapshot_builder import build_snapshot, next_timestamp
from tests.transaction.model import array, array_json, group, node_id, object_id, put

OLD = [ManifestRef(object_id(n), ((0, 4),)) for n in range(5)]
FILES = tuple(ManifestFileInfo(object_id(n), 100 + n, 4) for n in range(5))


def base_snapshot() -> Snapshot:
    """Two arrays with their own manifests and one that shares a manifest with the first."""
    nodes = [
        group(9, "/"),
        array(1, "/a", manifests=(OLD[1], OLD[2])),
        array(2, "/b", manifests=(OLD[3],)),
        array(3, "/c", manifests=(OLD[2],)),
    ]
    return Snapshot(object_id(50), None, 1_000, "base", {}, FILES[1:4], NodeTable.from_nodes(nodes))


def build(base: Snapshot, changes: ChangeSet, *args: object, flushed_at: int = 2_000) -> Snapshot:
    manifests, new_files = args or ({}, {})
    return build_snapshot(
        base,
        changes,
        manifests,  # type: ignore[arg-type]
        new_files,  # type: ignore[arg-type]
        id=object_id(60),
        parent_id=None,
        flushed_at=flushed_at,
        message="commit",
        metadata={"by": "me"},
    )


def ids(snapshot: Snapshot) -> list[bytes]:
    return [info.id for info in snapshot.manifest_files]


def test_nothing_changed() -> None:
    """An empty commit has the nodes and manifests of its base and its own identity."""
    base = base_snapshot()
    new = build(base, ChangeSet())
    assert (new.id, new.flushed_at, new.message, new.metadata) == (
        object_id(60),
        2_000,
        "commit",
        {"by": "me"},
    )
    assert list(new.nodes) == list(base.nodes)
    assert new.manifest_files == base.manifest_files


def test_manifests_are_exactly_those_referenced() -> None:
    """New manifests are added, dropped ones go unless another array still uses them."""
    changes, base = ChangeSet(), base_snapshot()
    put(changes, base.nodes, "/n", array_json())
    changes.delete_node("/b", base.nodes)
    new = build(base, changes, {node_id(1): (OLD[4],)}, {OLD[4].id: FILES[4]})
    assert ids(new) == [object_id(2), object_id(4)]
    assert new.manifest_file(object_id(4)) == FILES[4]
    assert [node.path for node in new.nodes] == ["/", "/a", "/c", "/n"]
    changed = new.nodes.get("/a")
    assert changed is not None
    assert changed.array is not None
    assert changed.array.manifests == (OLD[4],)


def test_base_that_does_not_list_a_manifest() -> None:
    """A base that refers to a manifest it does not list is `Corrupt`, named by its key."""
    base = base_snapshot()
    broken = Snapshot(base.id, None, 1, "", {}, FILES[1:2], base.nodes)
    with pytest.raises(Corrupt, match="snapshots/"):
        build(broken, ChangeSet())


@pytest.mark.parametrize("flushed_at", [999, 1_000])
def test_time_must_be_after_the_base(flushed_at: int) -> None:
    """A commit is later than what it is based on."""
    with pytest.raises(FormatError) as raised:
        build(base_snapshot(), ChangeSet(), flushed_at=flushed_at)
    assert raised.value.kind == ErrorKind.SNAPSHOT_TIMESTAMP


def test_next_timestamp() -> None:
    """Now if that is later than all others, else just after the latest."""
    assert next_timestamp(50) == 50
    assert next_timestamp(50, 10, 49) == 50
    assert next_timestamp(50, 50, 10) == 51


@pytest.mark.parametrize("spec_version", [1, 2])
def test_it_can_be_written(spec_version: int) -> None:
    """The format layer writes and reads back what was built."""
    changes, base = ChangeSet(), base_snapshot()
    put(changes, base.nodes, "/n", array_json((2, 3)))
    new = build(base, changes)
    again = decode_snapshot(encode_snapshot(new, spec_version=spec_version), name="snapshot")
    assert list(again.nodes) == list(new.nodes)
    assert again.manifest_files == new.manifest_files
