"""Repo info files: values survive, lists are copied rightly, contradictions are refused."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt, FormatError
from icechunk_core.format import _flat_builder as flat
from icechunk_core.format import layout
from icechunk_core.format.envelope import FileType, seal, unseal
from icechunk_core.format.repo_info import (
    BranchCreated,
    BranchDeleted,
    BranchReset,
    CommitAmended,
    ConfigChanged,
    ExpirationRan,
    FeatureFlagChanged,
    GCRan,
    MetadataChanged,
    NewCommit,
    NewDetachedSnapshot,
    RepoInfo,
    RepoInitialized,
    RepoMigrated,
    RepoStatus,
    RepoStatusChanged,
    SnapshotInfo,
    SnapshotTable,
    TagCreated,
    TagDeleted,
    UnknownUpdate,
    Update,
    UpdateLog,
    decode_repo_info,
    encode_repo_info,
)
from tests.format.json_values import metadata, texts
from tests.format.strategies import object_ids, times

ROOT = SnapshotInfo(layout.INITIAL_SNAPSHOT_ID, None, 5, layout.INITIAL_MESSAGE)
STATUS = RepoStatus(0, 5, None)
CREATED = Update(RepoInitialized(), 5, None)

statuses = st.builds(RepoStatus, st.integers(0, 255), times, st.none() | texts)
kinds = (
    st.sampled_from([RepoInitialized(), ConfigChanged(), MetadataChanged(), GCRan(), ExpirationRan()])
    | st.builds(RepoMigrated, st.integers(0, 255), st.integers(0, 255))
    | st.builds(TagCreated, texts)
    | st.builds(TagDeleted, texts, object_ids)
    | st.builds(BranchCreated, texts)
    | st.builds(BranchDeleted, texts, object_ids)
    | st.builds(BranchReset, texts, object_ids)
    | st.builds(NewCommit, texts, object_ids)
    | st.builds(CommitAmended, texts, object_ids, object_ids)
    | st.builds(NewDetachedSnapshot, object_ids)
    | st.builds(FeatureFlagChanged, st.integers(0, 2**16 - 1), st.none() | st.booleans())
    | st.builds(RepoStatusChanged, statuses)
)
updates = st.builds(Update, kinds, times, st.none() | texts)
flags = st.none() | st.sets(st.integers(0, 2**16 - 1), max_size=4).map(lambda ids: tuple(sorted(ids)))


@st.composite
def snapshot_infos(draw: st.DrawFn, most: int = 60) -> list[SnapshotInfo]:
    """Snapshots of which each has an earlier one as its parent, or none."""
    infos: list[SnapshotInfo] = []
    ids = draw(st.sets(st.sampled_from([b"%012d" % n for n in range(100)]) | object_ids, max_size=most))
    shuffled = draw(st.permutations(sorted(ids)))
    for position, id in enumerate(shuffled):
        parent = draw(st.integers(-1, position - 1)) if position else -1
        infos.append(
            SnapshotInfo(
                id,
                None if parent < 0 else shuffled[parent],
                draw(times),
                draw(texts),
                draw(metadata | st.just({})),
                tuple(draw(st.lists(object_ids, max_size=2))),
            )
        )
    return infos


@st.composite
def repo_infos(draw: st.DrawFn) -> RepoInfo:
    infos = [ROOT, *(info for info in draw(snapshot_infos()) if info.id != ROOT.id)]
    targets = st.sampled_from([info.id for info in infos])
    return RepoInfo(
        spec_version=2,
        tags=draw(st.dictionaries(texts, targets, max_size=4)),
        branches=draw(st.dictionaries(texts, targets, max_size=4)),
        deleted_tags=frozenset(draw(st.sets(texts, max_size=3))),
        snapshots=SnapshotTable.from_infos(infos),
        status=draw(statuses),
        metadata=draw(metadata),
        updates=draw(st.lists(updates, min_size=1, max_size=60)),
        repo_before_updates=draw(st.none() | texts),
        config=draw(st.none() | st.binary(max_size=20)),
        enabled_flags=draw(flags),
        disabled_flags=draw(flags),
        extra=draw(st.none() | st.binary(max_size=20)),
    )


def simple(snapshots: SnapshotTable | None = None, log: Any = (CREATED,)) -> RepoInfo:
    """A repo info with few contents."""
    return RepoInfo(
        spec_version=2,
        tags={},
        branches={"main": ROOT.id},
        deleted_tags=frozenset(),
        snapshots=snapshots or SnapshotTable.from_infos([ROOT]),
        status=STATUS,
        metadata={},
        updates=log,
    )


def reopened(info: RepoInfo) -> RepoInfo:
    return decode_repo_info(encode_repo_info(info), name="repo")


@given(repo_infos())
def test_round_trip(info: RepoInfo) -> None:
    """Every value survives, also when what was read is written again."""
    once = reopened(info)
    assert once == info
    assert reopened(once) == info


@given(repo_infos(), snapshot_infos(most=6), st.data())
def test_changes_of_what_was_read(info: RepoInfo, more: list[SnapshotInfo], data: st.DataObject) -> None:
    """Rows added to, or replaced in, a table that was read are as if all had been written at once."""
    read = reopened(info)
    known = list(info.snapshots)
    expected = {row.id: row for row in known}
    table = read.snapshots
    for new in more:
        parent = data.draw(st.sampled_from(known)).id if new.id not in expected else None
        row = evolve(new, parent_id=parent)
        expected[row.id] = row
        table = table.added(row)
    assert len(table) == len(expected)
    again = reopened(evolve(read, snapshots=table))
    assert list(again.snapshots) == [expected[id] for id in sorted(expected)]
    assert (again.branches, again.tags) == (info.branches, info.tags)
    assert list(table) == list(again.snapshots)


@given(st.lists(updates, min_size=1, max_size=60), st.lists(updates, max_size=3), st.data())
def test_log_pages_slide(log: list[Update], newer: list[Update], data: st.DataObject) -> None:
    """Entries before, and slices of, a log that was read are as if all had been written at once."""
    read = reopened(simple(log=log)).updates
    stop = data.draw(st.integers(0, len(log)))
    start = data.draw(st.integers(0, stop))
    head = (CREATED, *newer)
    page = head + read[start:stop]
    expected = [CREATED, *newer, *log[start:stop]]
    assert list(page) == expected
    assert list(reopened(simple(log=page)).updates) == expected


def test_long_histories_are_copied() -> None:
    """A history that grows commit by commit, each on the file just written, stays complete and compact."""
    generator = random.Random(7)
    info = simple()
    expected = [ROOT]
    for number in range(200):
        new = SnapshotInfo(
            generator.randbytes(12), expected[-1].id, 10 + number, f"commit {number}", {"n": number}
        )
        expected.append(new)
        old = info.updates
        entries = (Update(NewCommit("main", new.id), 10 + number, None), evolve(old[0], backup_path="repo.x"))
        info = reopened(
            evolve(
                info,
                snapshots=info.snapshots.added(new),
                branches={"main": new.id},
                updates=(entries + old[1:])[:50],
            )
        )
    history, step = [], info.branches["main"]
    while True:
        row = info.snapshots.get(step)
        assert row is not None
        history.append(row)
        if row.parent_id is None:
            break
        step = row.parent_id
    assert history == expected[::-1]
    assert [update.updated_at for update in info.updates] == [10 + number for number in range(199, 149, -1)]
    payloads = [
        unseal(encode_repo_info(each), FileType.REPO_INFO, name="repo")[1]
        for each in (
            info,
            evolve(info, snapshots=SnapshotTable.from_infos(info.snapshots), updates=list(info.updates)),
        )
    ]
    assert len(payloads[0]) < 2 * len(payloads[1]) + 4096


def test_lookups() -> None:
    """Snapshots are found by id; unknown and odd ids are not."""
    zeros = SnapshotInfo(bytes(12), ROOT.id, 6, "zeros")
    ending = SnapshotInfo(b"a" + bytes(11), ROOT.id, 7, "ending in zeros")
    for table in (
        SnapshotTable.from_infos([ROOT, zeros, ending]),
        reopened(simple(SnapshotTable.from_infos([ROOT, zeros, ending]))).snapshots,
    ):
        assert [table.get(row.id) for row in (ROOT, zeros, ending)] == [ROOT, zeros, ending]
        assert table.parent_of(ending.id) == ROOT.id
        assert table.parent_of(ROOT.id) is None
        for absent in (b"x" * 12, b"", b"a", b"a" * 13, bytes(11), bytes(13)):
            assert absent not in table
            assert table.get(absent) is None
            assert table.parent_of(absent) is None
        assert "text" not in table


def test_tables_and_logs_pickle() -> None:
    """Lists that are decoded lazily pickle as values."""
    info = reopened(simple(log=[Update(GCRan(), 9, None), CREATED]))
    again = pickle.loads(pickle.dumps(info))
    assert again == info
    assert list(again.updates) == list(info.updates)


def test_log_behaves_like_a_tuple() -> None:
    """Indices, slices, sums, equality and hashing."""
    entries = [Update(NewCommit("main", bytes([n]) * 12), 10 - n, None) for n in range(5)]
    for log in (UpdateLog(entries), reopened(simple(log=entries)).updates):
        assert log[0] == entries[0]
        assert log[-1] == entries[-1]
        assert list(log[1:3]) == entries[1:3]
        assert list(log[::-2]) == entries[::-2]
        one = (CREATED,)
        assert list(one + log[3:]) == [CREATED, *entries[3:]]
        assert log == tuple(entries)
        assert log != entries[1:]
        assert hash(log) == hash(UpdateLog(entries))
        assert not log[5:]
        with pytest.raises(IndexError):
            log[5]


def test_unaffected_parts_are_kept() -> None:
    """Configuration, metadata, flags, deleted tags and reserved bytes stay when something else changes."""
    info = evolve(
        simple(),
        config=b"\x00\x00\x01",
        metadata={"a": [1, {"b": None}]},
        enabled_flags=(3, 9),
        disabled_flags=(),
        deleted_tags=frozenset({"v1", "été"}),
        extra=b"reserved",
        repo_before_updates="repo.1.A",
    )
    changed = reopened(evolve(reopened(info), status=RepoStatus(1, 9, "why")))
    assert evolve(changed, status=STATUS) == info
    assert changed.status.is_read_only


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: evolve(info, branches={"main": b"x" * 12}), "is not in the repository"),
        (lambda info: evolve(info, tags={"v1": b"x" * 12}), "is not in the repository"),
        (
            lambda info: evolve(info, snapshots=info.snapshots.added(evolve(ROOT, parent_id=b"x" * 12))),
            "is not in the repository",
        ),
        (lambda info: evolve(info, updates=()), "must not be empty"),
        (lambda info: evolve(info, metadata={"x": object()}), "no JSON value"),
        (lambda info: evolve(info, branches={"\ud800": ROOT.id}), "cannot write"),
        (lambda info: evolve(info, enabled_flags=(70_000,)), "cannot write"),
        (lambda info: evolve(info, status=RepoStatus(0, -1, None)), "cannot write"),
        (lambda info: evolve(info, updates=[Update(UnknownUpdate(77), 1, None)]), "please upgrade"),
    ],
)
def test_what_cannot_be_written(change: Callable[[RepoInfo], RepoInfo], message: str) -> None:
    """Contradictions and values without a stored form are refused before anything is written."""
    with pytest.raises(FormatError, match=message):
        encode_repo_info(change(simple()))


def snapshot_row(id: bytes, parent: int) -> flat.Table:
    return flat.Table(flat.struct(id), flat.i32(parent), flat.u64(1), "message", [])


def sealed(
    *,
    spec_version: int = 2,
    branches: list[flat.Table] | None = None,
    snapshots: list[flat.Table] | None = None,
    log: list[flat.Table] | None = None,
    header: int = 2,
) -> bytes:
    """A repo info file with some parts made by hand."""
    if snapshots is None:
        snapshots = [snapshot_row(ROOT.id, -1)]
    root = flat.Table(
        flat.u8(spec_version),
        [],
        [] if branches is None else branches,
        [],
        snapshots,
        flat.Table(flat.u8(0)),
        [],
        [] if log is None else log,
    )
    return seal(FileType.REPO_INFO, flat.build(root), spec_version=header)


@pytest.mark.parametrize(
    "data",
    [
        sealed(spec_version=0),
        sealed(spec_version=3),
        sealed(header=1),
        sealed(branches=[flat.Table("main", flat.u32(1))]),
        sealed(snapshots=[], branches=[flat.Table("main", flat.u32(0))]),
        sealed(snapshots=[snapshot_row(bytes(12), 1)]),
        sealed(snapshots=[snapshot_row(bytes(12), -2)]),
        sealed(snapshots=[snapshot_row(bytes(12), 0)]),
        sealed(snapshots=[snapshot_row(bytes(12), 1), snapshot_row(b"a" * 12, 0)]),
        sealed(snapshots=[snapshot_row(bytes(12), -1), snapshot_row(bytes(12), -1)]),
        sealed(snapshots=[flat.Table(None, flat.i32(-1), flat.u64(1), "no id", [])]),
    ],
)
def test_contradictions_are_corrupt(data: bytes) -> None:
    """Wrong versions, rows that do not exist, snapshots that are their own ancestors, duplicates, no id."""
    with pytest.raises(Corrupt, match="repo"):
        decode_repo_info(data, name="repo")


def test_missing_message_is_corrupt_when_read() -> None:
    """A row without a message fails when that row is looked at."""
    info = decode_repo_info(
        sealed(snapshots=[flat.Table(flat.struct(ROOT.id), flat.i32(-1), flat.u64(1))]), name="repo"
    )
    with pytest.raises(Corrupt, match="repo"):
        info.snapshots.get(ROOT.id)


def test_defaults_of_absent_fields() -> None:
    """Absent scalars have their defaults: parent and target row 0, times 0, status online."""
    data = sealed(
        snapshots=[snapshot_row(bytes(12), -1), flat.Table(flat.struct(b"a" * 12), None, None, "child")],
        branches=[flat.Table("main")],
    )
    info = decode_repo_info(data, name="repo")
    assert info.branches == {"main": bytes(12)}
    assert info.snapshots.get(b"a" * 12) == SnapshotInfo(b"a" * 12, bytes(12), 0, "child")
    assert info.status == RepoStatus(0, 0, None)
    assert (info.config, info.enabled_flags, info.repo_before_updates) == (None, None, None)


def test_absent_parents_move_rightly() -> None:
    """A child of row 0, stored without a parent field, keeps its parent when a row is put before that."""
    first, child = b"b" * 12, b"c" * 12
    rows = [snapshot_row(first, -1), flat.Table(flat.struct(child), None, flat.u64(1), "child", [])]
    rows += [snapshot_row(b"d%011d" % number, 1) for number in range(40)]
    info = decode_repo_info(sealed(snapshots=rows, branches=[flat.Table("main")]), name="repo")
    table = info.snapshots.added(SnapshotInfo(b"a" * 12, child, 9, "before all"))
    again = reopened(evolve(info, snapshots=table, updates=[CREATED]))
    assert again.snapshots.parent_of(child) == first
    assert again.snapshots.parent_of(b"a" * 12) == child
    assert again.snapshots.parent_of(b"d%011d" % 7) == child
    assert again.branches == {"main": first}


def test_unsorted_rows_are_found() -> None:
    """Rows in another order than the ids' are found, and written in order."""
    rows = [snapshot_row(bytes([255 - number]) * 12, number - 1) for number in range(60)]
    info = decode_repo_info(sealed(snapshots=rows, branches=[flat.Table("main", flat.u32(59))]), name="repo")
    again = reopened(evolve(info, snapshots=info.snapshots.added(ROOT), updates=[CREATED]))
    for table in (info.snapshots, again.snapshots):
        for number in range(1, 60):
            assert table.parent_of(bytes([255 - number]) * 12) == bytes([256 - number]) * 12
    assert again.branches == {"main": bytes([255 - 59]) * 12}
    assert [row.id for row in again.snapshots] == sorted(row.id for row in again.snapshots)


def test_fields_of_newer_writers_are_dropped_cleanly() -> None:
    """Rows with fields that are not known here are written without them, not with dangling references."""
    newer = [
        flat.Table(
            flat.struct(bytes([n]) * 12), flat.i32(n - 1), flat.u64(n), "text", [], None, "new", flat.u64(7)
        )
        for n in range(60)
    ]
    info = decode_repo_info(sealed(snapshots=newer, branches=[flat.Table("main")]), name="repo")
    again = reopened(evolve(info, updates=[CREATED]))
    assert list(again.snapshots) == list(info.snapshots)


def unknown_entry(code: int = 99) -> flat.Table:
    return flat.Table(flat.u8(code), flat.Table("whatever"), flat.u64(3), "repo.b")


@pytest.mark.parametrize("count", [1, 60])
def test_unknown_updates(count: int) -> None:
    """Entries of a newer version are shown, and stop the file from being written."""
    known = flat.Table(flat.u8(13), flat.Table(), flat.u64(4))
    log = [*[known] * (count - 1), unknown_entry()]
    info = decode_repo_info(sealed(log=log, branches=[flat.Table("main")]), name="repo")
    assert info.updates[count - 1] == Update(UnknownUpdate(99), 3, "repo.b")
    with pytest.raises(FormatError, match="please upgrade icechunk-core"):
        encode_repo_info(info)


def test_empty_log_is_readable() -> None:
    """A file without a log can be read."""
    assert decode_repo_info(sealed(branches=[flat.Table("main")]), name="repo").updates == ()
