"""The ancestry of snapshots, as values that are read when looked at."""

from __future__ import annotations

import pickle

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import icechunk_core as ic
from icechunk_core.errors import Corrupt
from icechunk_core.format.repo_info import SnapshotInfo, SnapshotTable, decode_repo_info, encode_repo_info
from icechunk_core.format.snapshot import initial_snapshot
from icechunk_core.transaction.history import ancestry, lineage
from icechunk_core.transaction.repo_updates import initial_repo_info
from tests.repository.programs import commit_group
from tests.transaction.repo_model import info_of

ROOT = "1CECHNKREP0F1RSTCMT0"


def test_ancestry(repo: ic.Repository) -> None:
    """Newest first down to the first snapshot, each naming the next; the same as looked up one by one."""
    ids = [ROOT, *(commit_group(repo, name, metadata={"n": name}) for name in "abc")]
    found = list(repo.ancestry(branch="main"))
    assert [info.id for info in found] == ids[::-1]
    assert [info.parent_id for info in found] == [*ids[-2::-1], None]
    assert [info.metadata.get("n") for info in found[:-1]] == ["c", "b", "a"]
    assert [info.message for info in found] == ["add c", "add b", "add a", "Repository initialized"]
    assert found == [repo.lookup_snapshot(snapshot_id) for snapshot_id in ids[::-1]]
    times = [info.written_at for info in found]
    assert times == sorted(times, reverse=True)


def test_values_outlive_their_repository(repo: ic.Repository) -> None:
    """A value shows what was there when it was asked for, is immutable, and pickles."""
    commit_group(repo, "a")
    (newest, first) = repo.ancestry(branch="main")
    commit_group(repo, "b")
    assert newest.message == "add a"
    copy = pickle.loads(pickle.dumps(first))
    assert copy == first
    assert copy != newest
    assert len({copy, first, newest}) == 2
    with pytest.raises(AttributeError):
        newest.message = "other"  # type: ignore[misc]
    assert "message: add a" in str(newest)
    assert repr(newest).startswith("SnapshotInfo(id=")


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(0, 20), st.integers(0, 20))
def test_lineage_is_ancestry(parents: list[int], stored: int, replaced: int) -> None:
    """Whether rows are encoded, new, or replaced, blocks show what looking up each parent does."""
    infos = [info_of(1)]
    for number, parent in enumerate(parents, start=2):
        infos.append(info_of(number, parent % len(infos) + 1, number))
    main = initial_repo_info(initial_snapshot(0), None, 0)
    table = SnapshotTable.from_infos(infos[: stored % len(infos) + 1])
    tip = infos[stored % len(infos)].id
    stored_info = attrs.evolve(main, snapshots=table, branches={"main": tip})
    table = decode_repo_info(encode_repo_info(stored_info), name="repo").snapshots
    for info in infos[stored % len(infos) + 1 :]:
        table = table.added(info)
    table = table.added(infos[replaced % len(infos)])
    for info in infos:
        assert [entry for block in lineage(table, info.id) for entry in block] == one_by_one(table, info.id)
        assert list(ancestry(table, info.id)) == one_by_one(table, info.id)


def one_by_one(table: SnapshotTable, tip: bytes) -> list[SnapshotInfo]:
    """An ancestry by looking up each parent."""
    found: list[SnapshotInfo] = []
    wanted: bytes | None = tip
    while wanted is not None:
        info = table.get(wanted)
        assert info is not None
        found.append(info)
        wanted = info.parent_id
    return found


def test_a_broken_lineage_is_an_error() -> None:
    """A missing parent, and a circle, are noticed at the end."""
    table = SnapshotTable.from_infos([info_of(2, 1)])
    with pytest.raises(Corrupt, match="missing"):
        list(lineage(table, info_of(2, 1).id))
    table = SnapshotTable.from_infos([info_of(1, 2), info_of(2, 1)])
    with pytest.raises(Corrupt, match="cycle"):
        list(lineage(table, info_of(1).id))
    with pytest.raises(ic.SnapshotNotFoundError):
        list(lineage(table, info_of(9).id))
