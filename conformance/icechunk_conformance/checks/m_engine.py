"""Group M: repositories on the storage."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias

import numpy as np
import zarr

from icechunk_conformance import engine
from icechunk_conformance.chance import Chance, fresh_seed
from icechunk_conformance.expect import Failure, collect, same, verify
from icechunk_conformance.injection import Moment
from icechunk_conformance.prefixed import prefixed
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_core.clock import SystemClock, datetime_from_us
from icechunk_core.conflicts import ConflictDetector
from icechunk_core.contract import AtomicityScope, Storage
from icechunk_core.errors import ConflictError, OutcomeUnknown
from icechunk_core.repository import Repository

Values: TypeAlias = "np.ndarray[Any, np.dtype[np.int32]]"
TRIES = 100
"""Far more than fair contention takes; who needs more is refused again and again."""
VALUES: Values = np.arange(600, dtype="i4").reshape(20, 30)


def _write_array(repo: Repository, values: Values, message: str) -> str:
    """Commit an array; the snapshot's id."""
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="data", data=values, chunks=(5, 10), overwrite=True)
    return session.commit(message)


def _read_array(repo: Repository, **where: Any) -> Values:
    array = zarr.open_array(repo.readonly_session(**where).store, path="data", mode="r")
    return np.asarray(array[:])


async def _repository(target: Target, spec_version: int) -> None:
    """Write, reopen, branch, tag and read a repository, each with another client."""
    clients = [await target.client() for _ in range(2)]

    def use() -> None:
        repo = Repository.create(clients[0], spec_version=spec_version)
        first = _write_array(repo, VALUES, "first")
        repo.create_tag("v1", first)
        repo.create_branch("other", first)
        second = _write_array(repo, VALUES * 2, "second")
        again = Repository.open(clients[1])
        same(again.list_branches(), {"main", "other"}, "branches")
        same(again.list_tags(), {"v1"}, "tags")
        same([info.id for info in again.ancestry(branch="main")][:2], [second, first], "history")
        expected: list[tuple[dict[str, Any], Values]] = [
            ({"branch": "main"}, VALUES * 2),
            ({"tag": "v1"}, VALUES),
            ({"branch": "other"}, VALUES),
            ({"snapshot_id": first}, VALUES),
        ]
        for where, values in expected:
            verify(bool((_read_array(again, **where) == values).all()), f"other values were read at {where}")
        again.delete_branch("other")
        same(Repository.open(clients[0]).list_branches(), {"main"}, "branches after one was deleted")

    await asyncio.to_thread(use)


@check("M01", "A repository works", requires=("create", "update", "list"))
async def repository(target: Target) -> None:
    """A repository is created, written, committed, tagged, branched and read, by several clients: arrays
    come back as they were at every branch, tag and snapshot."""
    await _repository(target, 2)


@check("M02", "A repository of the first format works", requires=("create", "update", "list"))
async def repository_of_spec_1(target: Target) -> None:
    """As M01, with a repository of format version 1, which other programs may ask for."""
    await _repository(target, 1)


# --- concurrent commits ----------------------------------------------------------


async def commit_many(client: Storage, writer: int, commits: int) -> list[str]:
    """Commit groups of one's own to ``main``, rebasing over what others commit; the snapshots' ids."""
    repo = await engine.open(client)
    return [
        await engine.commit(repo, f"by-{writer}-{number}", rebase_with=ConflictDetector(), rebase_tries=TRIES)
        for number in range(commits)
    ]


async def _commit_elsewhere(
    reopen: Callable[[], Storage], prefix: str, writer: int, commits: int
) -> list[str]:
    client = prefixed(reopen(), prefix, set())
    try:
        return await commit_many(client, writer, commits)
    finally:
        await client.close()


async def _race_commits(target: Target, spec_version: int) -> None:
    clean = await target.client()
    await engine.create(clean, spec_version=spec_version)
    budget = target.budget
    if target.capabilities.atomicity >= AtomicityScope.PROCESS:
        jobs = [(target.reopener(), target.prefix, each, budget.commits) for each in range(budget.processes)]
        acknowledged = await asyncio.to_thread(target.location.workers().map, _commit_elsewhere, jobs)
    else:
        clients = [await target.client() for _ in range(budget.threads)]
        jobs_here = [
            asyncio.to_thread(asyncio.run, commit_many(client, each, budget.commits))
            for each, client in enumerate(clients)
        ]
        acknowledged = await asyncio.gather(*jobs_here)
    history = await engine.history(clean)
    told = [id for ids in acknowledged for id in ids]
    lost = [id for id in told if id not in history]
    verify(not lost, f"{len(lost)} of {len(told)} acknowledged commits are not in the history")
    same(
        len(history),
        len(told) + 1,
        "number of commits in the history, against those acknowledged and the first",
    )
    groups = await _groups(clean)
    same(len(groups), len(told), "number of groups in the newest snapshot, against those committed")


async def _groups(client: Storage) -> list[str]:
    repo = await engine.open(client)
    session = await repo.readonly_session_async("main")
    return [name async for name in session.store.list_dir("") if not name.endswith(".json")]


@check(
    "M03",
    "No acknowledged commit is lost",
    requires=("create", "update", "threads"),
    known_failure="Icechunk 2.3.0 on a local directory keeps 70 to 73 of 80 commits of 8 processes.",
)
async def racing_commits(target: Target) -> None:
    """Processes (threads, where the storage is this process's) commit to one branch at the same time and
    rebase. Every commit that returned is in the history, once, with its changes."""
    await _race_commits(target, 2)


@check("M04", "No acknowledged commit is lost, first format", requires=("create", "update", "threads"))
async def racing_commits_of_spec_1(target: Target) -> None:
    """As M03, with a repository of format version 1."""
    await _race_commits(target, 1)


@check("M05", "Commits under faults are what they are said to be", requires=("create", "update", "threads"))
async def commits_under_faults(target: Target) -> None:
    """Several writers commit to one branch and rebase, while requests and answers of the object that is
    swapped are lost at random. Every commit that returned is in the history, none that was reported as a
    conflict is, and nothing is there twice; those of unknown outcome were said to be unknown."""
    clean = await target.client()
    await engine.create(clean)
    chance = Chance(fresh_seed())

    moments = [Moment.ANSWER_LOST, Moment.REQUEST_LOST, Moment.ANSWER_IS_ERROR]
    # The first requests are struck, each way at least once, and a third or so of the others.
    first = list(range(target.budget.threads))

    def pick() -> Moment | None:
        if first:
            return moments[first.pop() % len(moments)]
        return chance.choice(moments) if chance.uniform() < 0.3 else None

    async def write(writer: int) -> list[tuple[str, str]]:
        faulty = await target.faulty()
        repo = await engine.open(faulty.client)
        faulty.strike(pick, "repo", times=None)
        told = [await _told(repo, f"by-{writer}-{number}") for number in range(target.budget.commits)]
        faulty.verify_struck()
        return told

    told = [each for done in await asyncio.gather(*map(write, range(target.budget.threads))) for each in done]
    repo = await engine.open(clean)
    messages = Counter([info.message async for info in repo.async_ancestry(branch="main")])
    for name, outcome in told:
        verify(messages[name] <= 1, f"commit {name!r} is in the history {messages[name]} times")
        if outcome == "success":
            same(messages[name], 1, f"times that {name!r}, reported as success, is in the history")
        elif outcome == "conflict":
            same(messages[name], 0, f"times that {name!r}, reported as conflict, is in the history")


async def _told(repo: Repository, name: str) -> tuple[str, str]:
    try:
        await engine.commit(repo, name, rebase_with=ConflictDetector(), rebase_tries=TRIES)
    except OutcomeUnknown:
        return name, "unknown"
    except ConflictError:
        return name, "conflict"
    return name, "success"


@check("M06", "Changes of the same chunk are a conflict", requires=("create", "update"))
async def conflicting_commits(target: Target) -> None:
    """Of two sessions that change one chunk the second one's commit is a `ConflictError`, with and without
    rebase, and changes nothing; a session that changed another chunk goes through when it rebases."""
    clients = [await target.client() for _ in range(3)]

    def use() -> None:
        _write_array(Repository.create(clients[0]), VALUES, "start")
        sessions = [Repository.open(client).writable_session("main") for client in clients]
        for number, session in enumerate(sessions):
            array = zarr.open_array(session.store, path="data", mode="r+")
            array[0 if number < 2 else 19, 0] = 1000 + number
        sessions[0].commit("first")
        for solver in (None, ConflictDetector()):
            try:
                sessions[1].commit("second", rebase_with=solver, rebase_tries=TRIES)
            except ConflictError:
                continue
            raise Failure("a commit that changed the same chunk as another one went through")
        sessions[2].commit("third", rebase_with=ConflictDetector(), rebase_tries=TRIES)
        values = _read_array(Repository.open(clients[1]), branch="main")
        same((int(values[0, 0]), int(values[19, 0])), (1000, 1002), "values after the three commits")

    await asyncio.to_thread(use)


# --- maintenance -------------------------------------------------------------------


@check("M07", "Expiry and garbage collection leave what is live", requires=("create", "update", "list"))
async def maintenance(target: Target) -> None:
    """After old snapshots were expired and garbage was collected the branch and the tag read as before, fewer
    objects are there, and a commit goes through."""
    client = await target.client()

    def write() -> None:
        repo = Repository.create(client)
        for number in range(1, 5):
            snapshot = _write_array(repo, VALUES * number, f"commit {number}")
            if number == 2:
                repo.create_tag("kept", snapshot)

    # By this machine's clock; the storage's may differ by an hour, and nobody else writes here.
    later = datetime_from_us(SystemClock().now_us()) + timedelta(hours=1)

    def clean_up() -> None:
        repo = Repository.open(client)
        verify(len(repo.expire_snapshots(later)) > 0, "nothing was expired")
        repo.garbage_collect(later)

    def use() -> None:
        again = Repository.open(client)
        verify(bool((_read_array(again, branch="main") == VALUES * 4).all()), "the branch has other values")
        verify(bool((_read_array(again, tag="kept") == VALUES * 2).all()), "the tag has other values")
        _write_array(again, VALUES * 7, "after")
        values = _read_array(Repository.open(client), branch="main")
        verify(bool((values == VALUES * 7).all()), "a commit after garbage collection has other values")

    await asyncio.to_thread(write)
    before = len(await collect(client.list()))
    await asyncio.to_thread(clean_up)
    verify(len(await collect(client.list())) < before, "garbage collection removed no object")
    await asyncio.to_thread(use)


@check("M08", "Small chunks share objects", requires=("create", "update", "list"))
async def packs(target: Target) -> None:
    """Hundreds of small chunks are written as a handful of objects, and come back as they were."""
    client = await target.client()
    values: Values = np.arange(76_800, dtype="i4").reshape(300, 256)

    def use() -> None:
        session = Repository.create(client).writable_session("main")
        zarr.create_array(session.store, name="data", data=values, chunks=(1, 256), compressors=None)
        session.commit("small chunks")
        read = _read_array(Repository.open(client), branch="main")
        verify(bool((read == values).all()), "other values were read")

    await asyncio.to_thread(use)
    chunks = await collect(client.list("chunks/"))
    if not chunks:
        raise Failure("the chunks are nowhere to be seen in the listing")
    verify(len(chunks) < 30, f"300 small chunks became {len(chunks)} objects")
