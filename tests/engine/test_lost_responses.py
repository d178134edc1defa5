"""A lost response never becomes a lie: each commit is a success, a conflict, or said to be unknown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import icechunk_core as ic
from icechunk_core.contract import Storage
from icechunk_core.errors import RateLimited, StorageError, Timeout, Unavailable, VersionMismatch
from icechunk_core.session import turns
from tests.engine.faulty import Act, intercept_conditional_puts, lands_then, lands_then_others, never_lands

GROUP = b'{"zarr_format":3,"node_type":"group","attributes":{}}'

ERRORS = [
    VersionMismatch("condition failed"),
    Timeout("no answer"),
    Unavailable("connection reset"),
    # A put that landed, was repeated below us, and was then told to slow down.
    RateLimited("slow down"),
]


@pytest.fixture(autouse=True)
def _no_waiting_for_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here others commit from within a put of the commit whose turn it is: theirs cannot come."""
    monkeypatch.setattr(turns, "_LONGEST_WAIT_SECONDS", 0.01)


METADATA = pytest.mark.parametrize("metadata", [True, False], ids=["with-metadata", "without-metadata"])


def faulty(storage: Storage, spec_version: int, *, metadata: bool) -> tuple[list[Act], ic.Repository]:
    """A repository on a storage that will act as told."""
    ic.Repository.create(storage, spec_version=spec_version)
    acts: list[Act] = []
    return acts, ic.Repository.open(intercept_conditional_puts(storage, acts, metadata=metadata))


async def add_group(repo: ic.Repository, name: str) -> ic.Session:
    session = await repo.writable_session_async("main")
    await session._state.write_metadata(f"/{name}", GROUP)
    return session


async def ids(repo: ic.Repository) -> list[str]:
    return [info.id async for info in repo.async_ancestry(branch="main")]


@METADATA
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_commit_landed_and_the_answer_was_lost(
    storage: Storage, spec_version: int, error: StorageError, metadata: bool
) -> None:
    """The commit is there, so it is reported as success, and it is there once."""
    acts, repo = faulty(storage, spec_version, metadata=metadata)
    session = await add_group(repo, "a")
    acts.append(lands_then(error))
    snapshot = await session.commit_async("a")
    history = await ids(repo)
    assert history[0] == snapshot
    assert len(history) == 2
    assert acts == []


@METADATA
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_commit_landed_and_others_committed_on_top(
    storage: Storage, spec_version: int, error: StorageError, metadata: bool
) -> None:
    """Our snapshot is in the history below theirs: success, not a conflict."""
    acts, repo = faulty(storage, spec_version, metadata=metadata)
    session = await add_group(repo, "a")
    theirs: list[str] = []

    async def others() -> None:
        other = await ic.Repository.open_async(storage)
        theirs.append(await (await add_group(other, "b")).commit_async("b"))

    acts.append(lands_then_others(error, others))
    snapshot = await session.commit_async("a")
    assert (await ids(repo))[:2] == [theirs[0], snapshot]


async def test_commit_that_never_landed_is_tried_again(storage: Storage) -> None:
    """The old version is still there, so the same conditional put may be repeated; it lands once."""
    acts, repo = faulty(storage, 2, metadata=True)
    session = await add_group(repo, "a")
    acts += [never_lands(Timeout("no answer")), never_lands(Unavailable("reset"))]
    snapshot = await session.commit_async("a")
    assert (await ids(repo))[0] == snapshot
    assert acts == []


@METADATA
async def test_unknown_outcome_is_said(storage: Storage, spec_version: int, metadata: bool) -> None:
    """A storage that never answers: OutcomeUnknown names the snapshot, and nothing is lost."""
    acts, repo = faulty(storage, spec_version, metadata=metadata)
    session = await add_group(repo, "a")
    acts += [never_lands(Timeout("no answer")) for _ in range(10)]
    with pytest.raises(ic.OutcomeUnknown) as raised:
        await session.commit_async("a")
    assert raised.value.snapshot_id is not None
    assert raised.value.snapshot_id not in await ids(repo)
    assert session.has_uncommitted_changes
    acts.clear()
    assert await session.commit_async("a") == (await ids(repo))[0]


async def test_committing_again_after_an_unknown_outcome_commits_once(storage: Storage) -> None:
    """The first try landed after all: committing again finds it, and the history has it once."""
    acts, repo = faulty(storage, 2, metadata=True)
    session = await add_group(repo, "a")
    late: list[Callable[[], Awaitable[Any]]] = []

    async def keep_for_later(really: Callable[[], Awaitable[Any]]) -> Any:
        late.append(really)
        raise Timeout("no answer")

    acts += [keep_for_later, *(never_lands(Timeout("no answer")) for _ in range(9))]
    with pytest.raises(ic.OutcomeUnknown) as raised:
        await session.commit_async("a")
    acts.clear()
    await late[0]()
    assert await session.commit_async("a") == raised.value.snapshot_id
    assert len(await ids(repo)) == 2
    assert session.read_only


async def test_an_unknown_outcome_that_lands_during_the_next_try(storage: Storage) -> None:
    """Also when it lands between our reading the branch and our swap: no conflict with ourselves."""
    acts, repo = faulty(storage, 2, metadata=True)
    session = await add_group(repo, "a")
    late: list[Callable[[], Awaitable[Any]]] = []

    async def keep_for_later(really: Callable[[], Awaitable[Any]]) -> Any:
        late.append(really)
        raise Timeout("no answer")

    async def first_the_late_one(really: Callable[[], Awaitable[Any]]) -> Any:
        await late[0]()
        return await really()

    acts += [keep_for_later, *(never_lands(Timeout("no answer")) for _ in range(3))]
    with pytest.raises(ic.OutcomeUnknown) as raised:
        await session.commit_async("a")
    acts[:] = [first_the_late_one]
    assert await session.commit_async("a") == raised.value.snapshot_id
    assert len(await ids(repo)) == 2


async def test_a_real_conflict_stays_one(storage: Storage, spec_version: int) -> None:
    """Others were first and ours never landed: ConflictError, whatever the storage answered."""
    acts, repo = faulty(storage, spec_version, metadata=True)
    session = await add_group(repo, "a")

    async def others_first(really: object) -> None:
        other = await ic.Repository.open_async(storage)
        await (await add_group(other, "b")).commit_async("b")
        raise VersionMismatch("condition failed")

    acts.append(others_first)
    with pytest.raises(ic.ConflictError):
        await session.commit_async("a")
    assert len(await ids(repo)) == 2


@METADATA
async def test_branch_creation_whose_answer_was_lost(storage: Storage, metadata: bool) -> None:
    """The branch is there by our own doing, so it is not reported as taken."""
    acts, repo = faulty(storage, 2, metadata=metadata)
    acts.append(lands_then(VersionMismatch("condition failed")))
    await repo.create_branch_async("dev", await repo.lookup_branch_async("main"))
    assert await repo.list_branches_async() == {"main", "dev"}


async def test_creation_whose_answer_was_lost(spec_version: int) -> None:
    """On a storage with metadata, our own repo object is recognised by its write id."""
    storage = ic.in_memory_storage()
    acts = [lands_then(Timeout("no answer"))]
    repo = await ic.Repository.create_async(
        intercept_conditional_puts(storage, acts), spec_version=spec_version
    )
    assert len(await ids(repo)) == 1
