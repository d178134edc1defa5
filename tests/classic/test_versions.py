"""Commits, checkouts, branches, tags and history, by the blocking methods and by their async twins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import zarr

from icechunk_core import (
    AlreadyExistsError,
    ConflictError,
    ErrorKind,
    IcechunkStore,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    SessionStateError,
    SnapshotMetadata,
    StorageConfig,
)
from tests.classic.conftest import Call
from tests.classic.helpers import committed, make_array, values, write, write_chunk


@pytest.fixture
def history(store: IcechunkStore) -> tuple[IcechunkStore, list[str]]:
    """A store with three commits, whose first value is 0, 1 and 2; and their ids."""
    make_array(store)
    return store, [store.commit("array"), committed(store, 1), committed(store, 2)]


History = tuple[IcechunkStore, list[str]]


async def test_commit(storage: StorageConfig, store: IcechunkStore, call: Call) -> None:
    """The store stays on the branch, at the new snapshot, writable; others see the commit."""
    make_array(store)
    first = await call(store, "commit", "array")
    assert (store.snapshot_id, store.branch, store.read_only) == (first, "main", False)
    assert not store.has_uncommitted_changes
    write(store, 1, 5)
    second = await call(store, "commit", message="five")
    assert second != first
    assert values(IcechunkStore.open_existing(storage)) == [0, 5, 0, 0]
    assert [version.id for version in store.ancestry()][:2] == [second, first]


async def test_commit_nothing(store: IcechunkStore, call: Call) -> None:
    """Without changes there is no commit."""
    with pytest.raises(SessionStateError) as raised:
        await call(store, "commit", "nothing")
    assert raised.value.kind == ErrorKind.NO_CHANGES_TO_COMMIT


async def test_commit_on_a_read_only_store(store: IcechunkStore, call: Call) -> None:
    """It is refused, says what to do, and the changes stay."""
    make_array(store)
    store.set_read_only()
    with pytest.raises(ReadOnlyError, match="set_writeable"):
        await call(store, "commit", "array")
    store.set_writeable()
    assert await call(store, "commit", "array") == store.snapshot_id


@pytest.mark.parametrize("by", ["snapshot_id", "branch", "tag"])
async def test_checkout(history: History, call: Call, by: str) -> None:
    """Each of the three shows its version, read-only; only a branch is one to commit to."""
    store, snapshots = history
    store.tag("v1", snapshots[1])
    store.new_branch("other")
    other = committed(store, 3)
    wanted = {"snapshot_id": snapshots[0], "branch": "other", "tag": "v1"}[by]
    shown = {"snapshot_id": snapshots[0], "branch": other, "tag": snapshots[1]}[by]
    store.checkout(branch="main")
    await call(store, "checkout", **{by: wanted})
    assert store.snapshot_id == shown
    assert store.branch == ("other" if by == "branch" else None)
    assert values(store)[0] == {"snapshot_id": 0, "branch": 3, "tag": 1}[by]
    assert store.read_only
    with pytest.raises(ReadOnlyError):
        write_chunk(store)
    store.set_writeable()
    write(store, 0, 9)
    if by == "branch":
        await call(store, "commit", "nine")
        return
    with pytest.raises(SessionStateError, match="not on a branch") as raised:
        await call(store, "commit", "nine")
    assert raised.value.kind == ErrorKind.NOT_ON_BRANCH
    changes = await call(store, "reset")
    store.new_branch("nine")
    store.merge(changes)
    await call(store, "commit", "nine")
    assert values(store)[0] == 9


async def test_checkout_by_position(history: History, call: Call) -> None:
    """The first argument is the snapshot."""
    store, snapshots = history
    await call(store, "checkout", snapshots[1])
    assert store.snapshot_id == snapshots[1]


@pytest.mark.parametrize(
    "arguments", [{}, {"branch": "main", "tag": "v1"}, {"snapshot_id": "X", "branch": "main"}]
)
async def test_checkout_takes_one_argument(history: History, call: Call, arguments: dict[str, Any]) -> None:
    """None or more than one is a `ValueError`; the store stays where and what it was."""
    store, snapshots = history
    with pytest.raises(ValueError, match="one of branch, tag, or snapshot_id"):
        await call(store, "checkout", **arguments)
    assert (store.snapshot_id, store.branch, store.read_only) == (snapshots[2], "main", False)


async def test_checkout_of_what_is_not_there(history: History, call: Call) -> None:
    """Unknown names and ids are not found, malformed ids are invalid; the store stays where it was."""
    store, snapshots = history
    for missing in ({"branch": "nope"}, {"tag": "nope"}, {"snapshot_id": "0000000000000000000G"}):
        with pytest.raises(NotFoundError):
            await call(store, "checkout", **missing)
    with pytest.raises(InvalidInputError):
        await call(store, "checkout", snapshot_id="no id")
    assert (store.snapshot_id, store.branch, store.read_only) == (snapshots[2], "main", False)


async def test_uncommitted_changes_hold(history: History, call: Call) -> None:
    """With uncommitted changes nothing moves the store; the error says to commit or reset."""
    store, snapshots = history
    write(store, 3, 3)
    for name, arguments in (
        ("checkout", {"branch": "main"}),
        ("new_branch", {"branch_name": "dev"}),
        ("reset_branch", {"to_snapshot": snapshots[0]}),
    ):
        with pytest.raises(SessionStateError, match="commit or reset") as raised:
            await call(store, name, **arguments)
        assert raised.value.kind == ErrorKind.UNCOMMITTED_CHANGES
    assert values(store) == [2, 0, 0, 3]


async def test_open_arrays_follow(history: History, call: Call) -> None:
    """Arrays opened before show the version that is checked out, however they were opened."""
    store, snapshots = history
    arrays = [
        zarr.open_array(store, path="x", mode=mode)  # type: ignore[arg-type]
        for mode in ("r", "r+", "a")
    ]
    arrays.append(zarr.open_group(store, mode="r")["x"])  # type: ignore[arg-type]
    assert [int(array[0]) for array in arrays] == [2] * 4  # type: ignore[arg-type]
    for shown, snapshot in enumerate(snapshots):
        await call(store, "checkout", snapshot_id=snapshot)
        assert [int(array[0]) for array in arrays] == [shown] * 4  # type: ignore[arg-type]
    await call(store, "checkout", branch="main")
    store.set_writeable()
    await call(store, "reset_branch", snapshots[0])
    assert [int(array[0]) for array in arrays] == [0] * 4  # type: ignore[arg-type]
    arrays[1][0] = 8
    assert [int(array[0]) for array in arrays] == [8] * 4  # type: ignore[arg-type]
    await call(store, "reset")
    assert [int(array[0]) for array in arrays] == [0] * 4  # type: ignore[arg-type]


async def test_new_branch(storage: StorageConfig, history: History, call: Call) -> None:
    """It begins at the current snapshot, the store is on it, and its commits leave ``main`` alone."""
    store, snapshots = history
    await call(store, "new_branch", "dev")
    assert (store.branch, store.snapshot_id, store.read_only) == ("dev", snapshots[2], False)
    committed(store, 9)
    assert values(IcechunkStore.open_existing(storage))[0] == 2
    with pytest.raises(AlreadyExistsError):
        await call(store, "new_branch", "main")
    assert store.branch == "dev"


async def test_new_branch_from_a_tag(history: History, call: Call) -> None:
    """After checking out an old version a branch begins there; the store stays read-only until told."""
    store, snapshots = history
    store.tag("v0", snapshots[0])
    store.checkout(tag="v0")
    await call(store, "new_branch", "fix")
    assert (store.branch, store.snapshot_id, store.read_only) == ("fix", snapshots[0], True)
    store.set_writeable()
    committed(store, 4)
    assert [version.message for version in store.ancestry()][:2] == ["value 4", "array"]


async def test_reset_branch(storage: StorageConfig, history: History, call: Call) -> None:
    """Branch and store move to the given snapshot, and commits continue from there."""
    store, snapshots = history
    await call(store, "reset_branch", snapshots[0])
    assert (store.snapshot_id, store.branch, store.read_only) == (snapshots[0], "main", False)
    assert IcechunkStore.open_existing(storage).snapshot_id == snapshots[0]
    committed(store, 7)
    assert [version.message for version in store.ancestry()] == ["value 7", "array", "Repository initialized"]


async def test_reset_branch_is_refused(history: History, call: Call) -> None:
    """Without a branch, on a read-only store, to nowhere, or over commits that the store has not seen."""
    store, snapshots = history
    with pytest.raises(NotFoundError):
        await call(store, "reset_branch", "0000000000000000000G")
    store.checkout(branch="main")
    with pytest.raises(ReadOnlyError, match="set_writeable"):
        await call(store, "reset_branch", snapshots[0])
    store.checkout(snapshot_id=snapshots[1])
    store.set_writeable()
    with pytest.raises(SessionStateError, match="not on a branch"):
        await call(store, "reset_branch", snapshots[0])


async def test_reset_branch_keeps_unseen_commits(
    storage: StorageConfig, history: History, call: Call
) -> None:
    """When others have committed to the branch, it does not move."""
    store, snapshots = history
    theirs = committed(IcechunkStore.open_existing(storage), 5)
    with pytest.raises(ConflictError):
        await call(store, "reset_branch", snapshots[0])
    store.checkout(branch="main")
    assert store.snapshot_id == theirs


async def test_tag(history: History, call: Call) -> None:
    """The given snapshot gets the name, whatever the store shows; names are given once."""
    store, snapshots = history
    await call(store, "tag", "v1", snapshots[1])
    store.checkout(tag="v1")
    assert store.snapshot_id == snapshots[1]
    await call(store, "tag", tag_name="v2", snapshot_id=snapshots[2])
    with pytest.raises(AlreadyExistsError):
        await call(store, "tag", "v1", snapshots[2])
    with pytest.raises(NotFoundError):
        await call(store, "tag", "v3", "0000000000000000000G")


async def test_ancestry(history: History, call: Call) -> None:
    """Newest first, down to the beginning, from the version that is shown; times are UTC and ordered."""
    store, snapshots = history
    versions: list[SnapshotMetadata] = await call(store, "ancestry")
    assert [version.message for version in versions] == [
        "value 2",
        "value 1",
        "array",
        "Repository initialized",
    ]
    assert [version.id for version in versions[:3]] == snapshots[::-1]
    times = [version.written_at for version in versions]
    assert times == sorted(times, reverse=True)
    assert abs(datetime.now(UTC) - times[0]) < timedelta(hours=1)
    store.checkout(snapshot_id=snapshots[0])
    assert [version.id for version in await call(store, "ancestry")] == [v.id for v in versions[2:]]


def test_read_only_copies(history: History) -> None:
    """``as_read_only`` and ``as_writeable`` give stores on the same view that differ in this only."""
    store, _ = history
    reader = store.as_read_only()
    assert (reader.read_only, store.read_only) == (True, False)
    with pytest.raises(ReadOnlyError):
        write_chunk(reader)
    writer = reader.as_writeable()
    write(writer, 0, 6)
    assert values(store) == values(reader) == [6, 0, 0, 0]
    assert store == reader == writer
    with pytest.raises(ReadOnlyError):
        reader.commit("six")
    writer.commit("six")
    assert store.snapshot_id == reader.snapshot_id == writer.snapshot_id


def test_set_read_only(store: IcechunkStore) -> None:
    """Writes are refused from then on, and allowed again by ``set_writeable``."""
    store.set_read_only()
    assert store.read_only
    with pytest.raises(ReadOnlyError):
        write_chunk(store)
    store.set_writeable()
    make_array(store)


def test_equality(storage: StorageConfig, history: History) -> None:
    """Stores are equal that show the same state of the same storage, and no others."""
    store, snapshots = history
    other = IcechunkStore.open_existing(storage)
    assert store == other
    assert store == IcechunkStore.open_existing(storage, read_only=True)
    write(other, 0, 5)
    assert store != other
    other.reset()
    assert store == other
    other.checkout(snapshot_id=snapshots[0])
    assert store != other
    elsewhere = IcechunkStore.create(StorageConfig.memory("test"))
    assert elsewhere != IcechunkStore.create(StorageConfig.memory("test"))
    assert store != "store"
