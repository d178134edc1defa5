"""Snapshot infos, log entries and nodes that are copied as bytes say the same as those written anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk_core.format.envelope import FileType, unseal
from icechunk_core.format.repo_info import (
    NewCommit,
    RepoInfo,
    SnapshotInfo,
    SnapshotOutline,
    SnapshotTable,
    UpdateLog,
    decode_repo_info,
    decode_updates,
    encode_and_keep,
    encode_repo_info,
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
    initial_snapshot,
)
from icechunk_core.transaction.ops_log import record_update
from icechunk_core.transaction.repo_updates import initial_repo_info
from tests.format import json_values

MANY = 40  # more than are copied rather than written anew


def id_of(number: int) -> bytes:
    """Ids in another order than their numbers, some of which end with a zero byte."""
    return ((number * 2_654_435_761) % 2**32).to_bytes(4, "big") + number.to_bytes(7, "big") + b"\0"


def snapshot_info(number: int, parent: int | None, text: str = "") -> SnapshotInfo:
    logs = (id_of(9_999),) * (number % 7 == 3)
    metadata = {"number": number, "text": text} if number % 3 == 0 else {}
    return SnapshotInfo(
        id_of(number), None if parent is None else id_of(parent), number, f"{number}{text}", metadata, logs
    )


def committed(info: RepoInfo, entry: SnapshotInfo, page: int) -> RepoInfo:
    """The content after a commit."""
    changed = evolve(info, snapshots=info.snapshots.added(entry), branches={"main": entry.id})
    return record_update(
        changed, NewCommit("main", entry.id), entry.flushed_at, f"repo.{entry.id.hex()}", page
    )


def start() -> RepoInfo:
    info = initial_repo_info(initial_snapshot(0), None, 0)
    return evolve(
        info,
        snapshots=SnapshotTable.from_infos([snapshot_info(0, None)]),
        branches={"main": id_of(0)},
        tags={"first": id_of(0)},
    )


def plain(info: RepoInfo) -> RepoInfo:
    """The same content, without any encoded part."""
    return evolve(
        info, snapshots=SnapshotTable.from_infos(list(info.snapshots)), updates=UpdateLog(list(info.updates))
    )


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.text(max_size=5)), max_size=30),
    st.sampled_from([5, 30, 1000]),
)
@settings(max_examples=40, deadline=None)
def test_a_history_written_step_by_step(steps: list[tuple[bool, bool, str]], page: int) -> None:
    """Whatever is kept, read back or replaced in between, each file has the history that was committed."""
    expected = spliced = start()
    for number, (kept, replaces, text) in enumerate([(True, False, "")] * MANY + steps, start=1):
        entry = snapshot_info(number, number - 1, text)
        expected = plain(committed(expected, entry, page))
        spliced = committed(spliced, entry, page)
        if replaces:
            other = snapshot_info(number // 2, None if number < 2 else 0, text)
            expected = evolve(expected, snapshots=expected.snapshots.added(other))
            spliced = evolve(spliced, snapshots=spliced.snapshots.added(other))
        data, again = encode_and_keep(spliced)
        read = decode_repo_info(data, name="repo")
        spliced = again if kept else read
    assert read == expected == again
    assert list(read.snapshots) == [read.snapshots.get(one) for one in read.snapshots.ids()]
    assert decode_updates(data, name="repo") == (expected.updates, expected.repo_before_updates)
    assert decode_repo_info(encode_repo_info(plain(read)), name="repo") == read


def test_a_long_history_does_not_grow_by_what_is_replaced() -> None:
    """What was replaced is copied along for a while, and then left out: files stay within a small factor."""
    info = start()
    for number in range(1, 400):
        data, info = encode_and_keep(committed(info, snapshot_info(number, number - 1), 30))
    sizes = [
        len(unseal(one, FileType.REPO_INFO, name="repo")[1]) for one in (data, encode_repo_info(plain(info)))
    ]
    assert sizes[0] < 2.5 * sizes[1]


@given(st.lists(json_values.metadata, min_size=16, max_size=20))
@settings(max_examples=12, deadline=None)
def test_columns_of_a_history_say_what_its_entries_say(metadata: list[dict[str, Any]]) -> None:
    """Outlines and metadata, whether decoded all at once or entry by entry, encoded or not."""
    infos = [
        evolve(snapshot_info(number, number - 1 if number else None), metadata=own)
        for number, own in enumerate(metadata)
    ]
    table = SnapshotTable.from_infos(infos)
    info = evolve(start(), snapshots=table, branches={"main": infos[-1].id}, tags={})
    read = decode_repo_info(encode_repo_info(info), name="repo").snapshots
    for one in (table, read):
        assert (
            one.metadata()
            == [entry.metadata for entry in one]
            == [own.metadata for own in sorted(infos, key=_id)]
        )
        assert [outline.id for outline in one.outlines()] == one.ids()
        line = one.outlines(infos[-1].id)
        assert list(line) == [
            SnapshotOutline(entry.id, entry.parent_id, entry.flushed_at, entry.message)
            for entry in infos[::-1]
        ]
        assert line[1:][0] == line[1]
    for entry in infos:
        alone = read.get(entry.id)
        assert alone is not None
        assert alone.metadata == entry.metadata


def _id(info: SnapshotInfo) -> bytes:
    return info.id


# --- nodes


def node(number: int, kind: int) -> NodeSnapshot:
    """A group, or an array of one of several shapes, some with dimension names."""
    path, user_data = f"/n{number:04}", b'{"kind": %d}' % kind
    if kind == 0:
        return NodeSnapshot(number.to_bytes(8, "big"), path, user_data, None)
    names = ("x", None) if kind % 2 else None
    manifests = tuple(
        ManifestRef(id_of(number * 10 + at), ((at, at + 1), (0, 3))) for at in range((number + kind) % 3)
    )
    array = ArrayData((kind * 4, 9), (kind, 3), names, manifests)
    return NodeSnapshot(number.to_bytes(8, "big"), path, user_data, array)


def snapshot_of(nodes: NodeTable) -> Snapshot:
    files = tuple(ManifestFileInfo(one, 5, 6) for one in nodes.manifest_ids())
    return Snapshot(id_of(1), None, 7, "message", {"a": 1}, files, nodes)


def written(snapshot: Snapshot, spec_version: int) -> bytes:
    return encode_snapshot(snapshot, spec_version=spec_version)


def ids_in(nodes: Iterable[NodeSnapshot]) -> set[bytes]:
    return {ref.id for one in nodes if one.array is not None for ref in one.array.manifests}


@given(
    st.lists(
        st.tuples(st.booleans(), st.dictionaries(st.integers(0, 60), st.integers(-1, 3), max_size=8)),
        max_size=8,
    ),
    st.sampled_from([1, 2]),
)
@settings(max_examples=60, deadline=None)
def test_nodes_written_step_by_step(steps: list[tuple[bool, dict[int, int]]], spec_version: int) -> None:
    """Whether a table was kept or read back, changed nodes and copied ones are what they should be."""
    expected = {number: node(number, number % 4) for number in range(MANY)}
    table = NodeTable.from_nodes(expected.values())
    data = written(snapshot_of(table), spec_version)
    for kept, changes in steps:
        if not kept:
            table = decode_snapshot(data, name="snapshot").nodes
        values = {number: None if kind < 0 else node(number, kind) for number, kind in changes.items()}
        table = table.updated({f"/n{number:04}": value for number, value in values.items()})
        for number, value in values.items():
            if value is None:
                expected.pop(number, None)
            else:
                expected[number] = value
        assert table.manifest_ids() == ids_in(expected.values())
        data = written(snapshot_of(table), spec_version)
        read = decode_snapshot(data, name="snapshot").nodes
        assert read == NodeTable.from_nodes(expected.values()) == table
        assert [read.by_id(one.id) for one in expected.values()] == list(expected.values())


@pytest.mark.parametrize("spec_version", [1, 2])
def test_nodes_of_the_other_spec_are_written_anew(spec_version: int) -> None:
    """A table that was read from one spec's file is written correctly for the other."""
    table = NodeTable.from_nodes(node(number, number % 4) for number in range(MANY))
    data = written(snapshot_of(table), 3 - spec_version)
    again = written(decode_snapshot(data, name="snapshot"), spec_version)
    assert decode_snapshot(again, name="snapshot").nodes == table


def test_replaced_nodes_do_not_pile_up() -> None:
    """Changing one node over and over keeps the file within a small factor."""
    table = NodeTable.from_nodes(node(number, 2) for number in range(MANY))
    first = len(unseal(written(snapshot_of(table), 2), FileType.SNAPSHOT, name="s")[1])
    for step in range(400):
        changed = evolve(node(3, 2), user_data=b"%500d" % step)
        table = table.updated({changed.path: changed})
        data = written(snapshot_of(table), 2)
    assert len(unseal(data, FileType.SNAPSHOT, name="s")[1]) < 3 * first + 5_000
