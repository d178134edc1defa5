"""The pure decisions of expiry, garbage collection and migration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt, ReadOnlyError, RefNotFoundError
from icechunk_core.format.repo_info import (
    BranchCreated,
    NewCommit,
    RepoInfo,
    RepoInitialized,
    RepoMigrated,
    RepoStatus,
    SnapshotTable,
    TagCreated,
    TagDeleted,
)
from icechunk_core.transaction.expiration import expire, expire_chain
from icechunk_core.transaction.gc_marking import (
    ByteSet,
    MarksOutdated,
    drop_snapshots,
    kept_logs,
    reachable_from_refs,
    surely_older,
)
from icechunk_core.transaction.migration import RefFiles, migrated_repo_info
from tests.transaction.model import object_id
from tests.transaction.repo_model import info_of, repo_info

# Snapshot n is committed at 100 * n.


def parent(info: RepoInfo, number: int) -> bytes | None:
    """The parent of snapshot ``number``."""
    return info.snapshots.parent_of(object_id(number))


def logs(info: RepoInfo, number: int) -> list[int]:
    """Numbers of the snapshots whose logs snapshot ``number`` stands for besides its own."""
    entry = info.snapshots.get(object_id(number))
    assert entry is not None
    return [int.from_bytes(log, "big") for log in entry.pruned_ancestor_tx_logs]


def numbers(ids: Any) -> set[int]:
    """Snapshot numbers of ids."""
    return {int.from_bytes(snapshot_id, "big") for snapshot_id in ids}


# --- expiry


def test_old_snapshots_leave_and_the_next_one_takes_the_root_as_parent() -> None:
    """The first snapshot that stays carries the logs of those that left, oldest first."""
    result = expire(repo_info(None, 1, 2, 3, 4), 400)
    assert numbers(result.released) == {2, 3}
    assert parent(result.info, 4) == object_id(1)
    assert logs(result.info, 4) == [2, 3]
    assert parent(result.info, 5) == object_id(4)
    assert logs(result.info, 5) == []


def test_pruned_logs_accumulate() -> None:
    """A second expiry keeps what the first one listed, in order."""
    once = expire(repo_info(None, 1, 2, 3, 4, 5), 300).info
    twice = expire(once, 500).info
    assert numbers(entry.id for entry in twice.snapshots) == {1, 5, 6}
    assert logs(twice, 5) == [2, 3, 4]


def test_tip_of_main_stays_however_old() -> None:
    """Everything is old: root and tip remain, and the tip stands for all in between."""
    result = expire(repo_info(None, 1, 2, 3), 10_000, delete_branches=True, delete_tags=True)
    assert numbers(entry.id for entry in result.info.snapshots) == {1, 4}
    assert logs(result.info, 4) == [2, 3]


def test_tips_of_refs_stay_unless_they_may_be_deleted() -> None:
    """A tag's snapshot stays; those above it are bypassed to the root nevertheless."""
    before = repo_info(None, 1, 2, 3, 4, branches={"main": 5, "dev": 2}, tags={"v": 3})
    kept = expire(before, 450)
    assert numbers(kept.released) == {4}
    assert (parent(kept.info, 5), logs(kept.info, 5)) == (object_id(1), [2, 3, 4])
    assert parent(kept.info, 3) == object_id(2)
    deleted = expire(before, 450, delete_branches=True, delete_tags=True)
    assert numbers(deleted.released) == {2, 3, 4}
    assert dict(deleted.info.branches) == {"main": object_id(5)}
    assert (dict(deleted.info.tags), deleted.info.deleted_tags) == ({}, frozenset({"v"}))


def test_snapshot_of_exactly_the_limit_stays() -> None:
    """The bound is exclusive."""
    assert numbers(expire(repo_info(None, 1, 2, 3), 300).released) == {2}


def test_read_only_repositories_are_left_alone() -> None:
    """Neither expiry nor collection changes a repository whose status forbids it."""
    closed = evolve(repo_info(None, 1, 2), status=RepoStatus(1, 5, "moving"))
    with pytest.raises(ReadOnlyError, match="moving"):
        expire(closed, 10_000)
    with pytest.raises(ReadOnlyError, match="moving"):
        drop_snapshots(closed, frozenset(), frozenset())


def test_history_with_a_missing_snapshot_is_corrupt() -> None:
    """A parent that is not listed ends the operation instead of cutting the history short."""
    broken = evolve(
        repo_info(None, 1, 2, 3), snapshots=SnapshotTable.from_infos([info_of(3, 2), info_of(4, 3)])
    )
    with pytest.raises(Corrupt, match="missing"):
        expire(broken, 350)


def test_spec_1_moves_one_parent() -> None:
    """The oldest snapshot that stays gets the root as its parent; a second time there is nothing to do."""
    chain = [info_of(5, 4), info_of(4, 3), info_of(3, 2), info_of(2, 1), info_of(1)]
    result = expire_chain(chain, 400)
    assert (result.edited, result.new_parent) == (object_id(4), object_id(1))
    assert numbers(result.released) == {2, 3}
    assert not result.tip_is_old
    again = expire_chain([info_of(5, 4), info_of(4, 1), info_of(1)], 400)
    assert (again.edited, again.released) == (None, frozenset())


def test_spec_1_chain_that_is_all_old_keeps_its_tip() -> None:
    """The tip becomes a child of the root; whether to delete the ref is the caller's question."""
    result = expire_chain([info_of(3, 2), info_of(2, 1), info_of(1)], 10_000)
    assert (result.edited, result.new_parent, result.tip_is_old) == (object_id(3), object_id(1), True)
    assert expire_chain([info_of(1)], 10_000).edited is None


# --- garbage collection


def test_coarse_times_stand_for_all_that_they_may_mean() -> None:
    """Storages that round times down must not make an object look older than it may be."""
    assert not surely_older(5_000_000, 5_000_001)
    assert not surely_older(5_000_000, 5_999_999)
    assert surely_older(5_000_000, 6_000_000)
    assert surely_older(5_000_001, 5_001_000)
    assert not surely_older(5_000_001, 5_000_999)


MEMBERS = st.binary(min_size=3, max_size=3)


@given(st.lists(st.lists(MEMBERS, max_size=5)), st.lists(MEMBERS))
def test_byte_set_is_a_set(parts: list[list[bytes]], asked: list[bytes]) -> None:
    """Bytes of one length, NUL bytes at the end included, are in it exactly if they were added."""
    marked = ByteSet(3)
    for part in parts:
        marked.add(np.frombuffer(b"".join(part), np.uint8).reshape(len(part), 3))
    members = {member for part in parts for member in part}
    assert marked.contains(asked).tolist() == [member in members for member in asked]
    assert [row.tobytes() for row in marked.rows()] == sorted(members)
    assert len(marked) == len(members)


def test_byte_set_merges_as_it_grows() -> None:
    """More members than fit into its buffer are all found, and counted once."""
    marked = ByteSet(12)
    rows = np.zeros((200_000, 12), np.uint8)
    rows[:, 8:] = np.arange(200_000, dtype=">u4")[:, None].view(np.uint8)
    for start in range(0, 200_000, 40_000):
        marked.add(rows[start : start + 50_000])
    assert len(marked) == 200_000
    assert marked.contains([object_id(199_999), object_id(200_000)]).tolist() == [True, False]


def test_dropped_snapshots_leave_their_logs_to_the_next() -> None:
    """A kept snapshot gets its nearest kept ancestor as parent and lists the logs in between."""
    info = repo_info(None, 1, 2, 3, 4, 1, branches={"main": 1, "a": 3, "b": 6})
    assert numbers(reachable_from_refs(info)) == {1, 2, 3, 6}
    known = frozenset(info.snapshots.ids())
    detached = drop_snapshots(info, frozenset({object_id(4)}), known)
    assert (parent(detached, 5), logs(detached, 5)) == (object_id(3), [4])
    assert numbers(kept_logs(detached)) == {1, 2, 3, 4, 5, 6}
    unchanged = drop_snapshots(info, frozenset(), known)
    assert unchanged is info


def test_marks_are_outdated_by_new_uses() -> None:
    """A ref to a snapshot that was to go, or a new snapshot on top of it, sends the run back to the start."""
    info = repo_info(None, 1, 2, branches={"main": 1})
    known = frozenset(info.snapshots.ids())
    dropped = frozenset({object_id(2), object_id(3)})
    assert numbers(drop_snapshots(info, dropped, known).snapshots.ids()) == {1}
    with pytest.raises(MarksOutdated):
        drop_snapshots(evolve(info, tags={"t": object_id(3)}), dropped, known)
    committed = evolve(info, snapshots=info.snapshots.added(info_of(4, 3)))
    with pytest.raises(MarksOutdated):
        drop_snapshots(committed, dropped, known)
    elsewhere = evolve(info, snapshots=info.snapshots.added(info_of(4, 1)))
    assert numbers(drop_snapshots(elsewhere, dropped, known).snapshots.ids()) == {1, 4}


# --- migration


def test_migration_makes_up_a_log() -> None:
    """Every commit and ref has an entry, in order of time, no two at the same time."""
    snapshots = {entry.id: entry for entry in [info_of(1), info_of(2, 1), info_of(3, 2), info_of(4, 2)]}
    refs = RefFiles(
        {"main": object_id(3), "dev": object_id(4), "alpha": object_id(2)},
        {"v1": object_id(2)},
        {"gone": object_id(2), "lost": object_id(9)},
    )
    info = migrated_repo_info(refs, snapshots, b"config", 10**6)
    kinds = [update.kind for update in info.updates]
    assert kinds[0] == RepoMigrated(1, 2)
    assert kinds.count(RepoInitialized()) == 1
    assert {kind for kind in kinds if isinstance(kind, NewCommit)} == {
        NewCommit("main", object_id(2)),
        NewCommit("main", object_id(3)),
        NewCommit("dev", object_id(4)),
    }
    assert {kind.name for kind in kinds if isinstance(kind, BranchCreated)} == {"dev", "alpha"}
    assert {kind.name for kind in kinds if isinstance(kind, TagCreated)} == {"v1", "gone", "lost"}
    assert TagDeleted("lost", object_id(9)) in kinds
    moments = [update.updated_at for update in info.updates]
    assert moments == sorted(set(moments), reverse=True)
    assert info.deleted_tags == {"gone", "lost"}
    assert (info.config, info.status.set_at) == (b"config", 100)


def test_repositories_without_main_or_root_are_not_migrated() -> None:
    """What cannot be opened afterwards is refused before anything is written."""
    snapshots = {entry.id: entry for entry in [info_of(1), info_of(3, 2)]}
    with pytest.raises(RefNotFoundError, match="main"):
        migrated_repo_info(RefFiles({"dev": object_id(1)}, {}, {}), snapshots, None, 0)
    with pytest.raises(Corrupt, match="first snapshot"):
        migrated_repo_info(RefFiles({"main": object_id(3)}, {}, {}), snapshots, None, 0)
