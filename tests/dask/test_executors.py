"""Maintenance on executors: the same results, bounded, and whole when workers are lost."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import icechunk_core as ic
from icechunk_core.drive import run
from icechunk_core.errors import ExecutorError, StorageConfigError
from icechunk_core.maintenance import Progress
from icechunk_core.maintenance.fanning import LentStorage, fan_out
from tests.dask.support import Dropping, Recording, die, objects_of, processes, threaded
from tests.interop.implementations import OURS, everything, open_repo, put
from tests.interop.nodes import array_json
from tests.maintenance.support import FUTURE, copy, grow, set_age, start


@pytest.fixture(params=["threads", "processes"], scope="module")
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """The usual executors."""
    if request.param == "threads":
        with ThreadPoolExecutor(2) as pool:
            yield pool
    else:
        with processes() as pool:
            yield pool


def _grown(root: Path, seed: int, spec_version: int) -> None:
    """A random history, with objects that nothing needs any more."""
    repo = start(OURS, root, spec_version=spec_version)
    grow(repo, seed)
    lost = repo.writable_session(sorted(repo.list_branches())[0])
    put(lost, {"x/c/0": b"never committed" * 100})
    lost.flush("nobody")


def _damaged(root: Path) -> None:
    """A manifest in use cut, one chunk object gone and another one cut."""
    repo = open_repo(OURS, root)
    used = [
        entry.id
        for name in repo.list_branches()
        for entry in repo.list_manifest_files(repo.lookup_branch(name))
    ]
    gone, cut = sorted(key for key in objects_of(root) if key.startswith("chunks/"))[:2]
    (root / gone).unlink()
    for key in (cut, f"manifests/{used[0]}"):
        (root / key).write_bytes((root / key).read_bytes()[:-3])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "seed", "spec_version", "opened"),
    [
        ("threads", 1, 2, "threaded"),
        ("threads", 2, 2, "direct"),
        ("threads", 3, 1, "threaded"),
        ("processes", 4, 2, "threaded"),
    ],
    indirect=["executor"],
)
def test_results_are_the_same(
    tmp_path: Path, seed: int, spec_version: int, opened: str, executor: Executor
) -> None:
    """Every operation gives the result and leaves the repository that it does without an executor."""
    _grown(tmp_path / "here", seed, spec_version)
    there = copy(tmp_path / "here", "there")

    def reopened(root: Path) -> ic.Repository:
        return threaded(root) if opened == "threaded" else open_repo(OURS, root)

    one, two = reopened(tmp_path / "here"), reopened(there)
    assert two.verify(data=True, executor=executor) == one.verify(data=True)
    assert two.chunk_storage_stats(executor=executor) == one.chunk_storage_stats()
    assert two.pack_stats(executor=executor) == one.pack_stats()
    copied = two.copy(tmp_path / "copy two", executor=executor)
    assert copied == one.copy(tmp_path / "copy one")
    assert objects_of(tmp_path / "copy two") == objects_of(tmp_path / "copy one")
    for dry_run in (True, False):
        collected = two.garbage_collect(FUTURE, dry_run=dry_run, executor=executor)
        assert collected == one.garbage_collect(FUTURE, dry_run=dry_run)
        assert collected.chunks_deleted > 0
        assert objects_of(there) == objects_of(tmp_path / "here")
    for repo, chosen in ((one, None), (two, executor)):
        repo.repack("repacked", branch="main", live_below=1.0, executor=chosen)
        repo.rewrite_manifests("rewritten", branch="main", executor=chosen)
    assert _contents(two) == _contents(one)
    assert two.verify(data=True).ok


def _contents(repo: ic.Repository) -> list[dict[str, bytes]]:
    found = everything(repo)
    return [found["contents"][found["branches"][name]] for name in sorted(found["branches"])]


def test_the_same_is_found_wrong(tmp_path: Path, executor: Executor) -> None:
    """Damaged objects are reported in the same order and words; garbage is not collected either way."""
    _grown(tmp_path / "r", 3, 2)
    _damaged(tmp_path / "r")
    repo = threaded(tmp_path / "r")
    report = repo.verify(data=True, executor=executor)
    assert report == repo.verify(data=True)
    assert not report.ok
    before = objects_of(tmp_path / "r")
    for dry_run in (True, False):
        with pytest.raises(ic.IcechunkError) as alone:
            repo.garbage_collect(FUTURE, dry_run=dry_run)
        with pytest.raises(type(alone.value)):
            repo.garbage_collect(FUTURE, dry_run=dry_run, executor=executor)
    assert objects_of(tmp_path / "r") == before


def test_manifests_are_split_by_workers(tmp_path: Path, executor: Executor) -> None:
    """An array whose splitting changed has the new manifests, and each version its values."""
    config = ic.RepositoryConfig(inline_chunk_threshold_bytes=0)
    repo = ic.Repository.create(tmp_path / "r", config=config)
    session = repo.writable_session("main")
    put(session, {"a/zarr.json": array_json((64,), (1,)), "b/zarr.json": array_json((2,), (1,))})
    put(session, {f"a/c/{n}": bytes([n]) * 8 for n in range(0, 64, 2)} | {"b/c/1": b"12345678"})
    session.commit("made")
    before = _contents(repo)
    split = ic.ManifestSplitDimCondition.Any()
    sizes = {ic.ManifestSplitCondition.path_matches("a"): {split: 8}}
    config = ic.RepositoryConfig(
        manifest=ic.ManifestConfig(splitting=ic.ManifestSplittingConfig.from_dict(sizes))
    )
    repo = ic.Repository.open(tmp_path / "r", config=config)
    seen: list[Progress] = []
    repo.rewrite_manifests("split", branch="main", executor=executor, progress=seen.append)
    assert _contents(repo) == before
    assert len(repo.list_manifest_files(repo.lookup_branch("main"))) == 9
    assert seen[-1] == Progress("rewrite manifests", 2, 2)
    assert Progress("write manifests", 9, 9) in seen
    assert repo.verify(data=True).ok


def test_progress_is_told(tmp_path: Path, executor: Executor) -> None:
    """Counts grow within each phase and end at the totals, whoever does the work."""
    _grown(tmp_path / "r", 4, 2)
    seen: list[Progress] = []
    threaded(tmp_path / "r").garbage_collect(FUTURE, executor=executor, progress=seen.append)
    last: dict[str, Progress] = {}
    for progress in seen:
        known = last.get(progress.phase)
        assert known is None or progress.done >= known.done or progress.done == 0
        last[progress.phase] = progress
    assert {"snapshots", "manifests", "delete snapshots", "delete chunks"} <= last.keys()
    assert all(each.total in (None, each.done) for each in last.values())


# --- jobs --------------------------------------------------------------------------------


def test_jobs_are_small(tmp_path: Path) -> None:
    """What is sent to workers is a description, without data and without what the driver has cached."""
    _grown(tmp_path / "r", 5, 2)
    repo, recorded = threaded(tmp_path / "r"), Recording()
    repo.verify(data=True, executor=recorded)
    repo.copy(tmp_path / "copy", executor=recorded)
    repo.rewrite_manifests("again", branch="main", executor=recorded)
    repo.garbage_collect(FUTURE, executor=recorded)
    assert len(recorded.calls) > 40
    assert max(len(pickle.dumps(call)) for call in recorded.calls) < 8_000


def test_equal_calls_of_two_runs_differ(tmp_path: Path) -> None:
    """A scheduler that takes calls for pure functions does not give one run what another one had."""
    _grown(tmp_path / "r", 6, 2)
    repo, recorded = threaded(tmp_path / "r"), Recording()
    repo.verify(executor=recorded)
    first = {pickle.dumps(call) for call in recorded.calls}
    recorded.calls.clear()
    repo.verify(executor=recorded)
    assert first.isdisjoint(pickle.dumps(call) for call in recorded.calls)


class _Counting(Executor):
    """Answers when it is asked for a result, and counts what is under way."""

    def __init__(self) -> None:
        self.under_way = self.most = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that runs when somebody waits for it."""
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        outer = self

        class Late(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                outer.under_way -= 1
                return fn(*args, **kwargs)

        return Late()


@pytest.mark.parametrize(("weight", "most"), [(0.0, 64), (0.25, 4), (0.3, 3), (7.0, 1)])
def test_calls_in_flight_are_bounded(weight: float, most: int) -> None:
    """So many calls, and so much weight, are under way at a time, and results come in order."""
    counting, results = _Counting(), []
    run(
        fan_out(counting, str, range(200), results.append, may_suspend=False, weight=lambda _: weight),
        may_suspend=False,
    )
    assert results == [str(n) for n in range(200)]
    assert counting.most == most


def test_a_storage_is_opened_once_in_a_process() -> None:
    """However often it arrives with jobs, also by way of others; another loan of it is another one."""
    storage = ic.in_memory_storage()
    sent = pickle.dumps(LentStorage(storage))
    first = pickle.loads(sent)
    assert first.storage == storage
    assert pickle.loads(sent).storage is first.storage
    assert pickle.loads(pickle.dumps(pickle.loads(sent))).storage is first.storage
    assert pickle.loads(pickle.dumps(LentStorage(storage))).storage is not first.storage


def test_workers_that_cannot_open_the_storage() -> None:
    """The error that says why is the operation's, and the executor works on."""
    repo = ic.Repository.create("memory:")
    with processes() as pool:
        with pytest.raises(StorageConfigError, match="lives in the process that made it"):
            repo.pack_stats(executor=pool)
        assert pool.submit(abs, -1).result() == 1


# --- lost workers --------------------------------------------------------------------------


@pytest.mark.parametrize("opened", ["direct", "threaded"])
def test_a_dropped_call_is_sent_again(tmp_path: Path, opened: str) -> None:
    """An executor that cancels calls twice gets them a third time; the result is the same."""
    _grown(tmp_path / "r", 7, 2)
    repo = threaded(tmp_path / "r") if opened == "threaded" else open_repo(OURS, tmp_path / "r")
    assert repo.verify(data=True, executor=Dropping(2)) == repo.verify(data=True)
    with pytest.raises(ExecutorError, match="cancels its work") as failure:
        repo.verify(data=True, executor=Dropping(1_000))
    assert failure.value.kind == "worker-lost"


def test_cancelling_the_caller_is_no_lost_worker(tmp_path: Path) -> None:
    """Who is cancelled while workers work ends, and what has not begun is cancelled."""
    _grown(tmp_path / "r", 8, 2)
    never: list[Future[Any]] = []

    class Never(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            never.append(Future())
            return never[-1]

    async def cancelled() -> None:
        task = asyncio.ensure_future(threaded(tmp_path / "r").verify_async(executor=Never()))
        while not never:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert all(future.cancelled() for future in never)


class _Murdered(Executor):
    """A process pool whose worker dies at some call."""

    def __init__(self, pool: Executor, at: int) -> None:
        self.pool, self.left = pool, at

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.left -= 1
        if self.left == 0:
            self.pool.submit(die, None)
        return self.pool.submit(fn, *args, **kwargs)


@pytest.mark.slow
def test_a_worker_killed_while_garbage_is_collected(tmp_path: Path) -> None:
    """At whatever call: the error says what to do, nothing readable is lost, the next run ends the work."""
    _grown(tmp_path / "r", 9, 2)
    expected = everything(open_repo(OURS, tmp_path / "r"))
    reference = copy(tmp_path / "r", "reference")
    threaded(reference).garbage_collect(FUTURE)
    for at in (1, 60):
        root = copy(tmp_path / "r", f"killed at {at}")
        repo = threaded(root)
        with processes() as pool, pytest.raises(ExecutorError, match="new executor"):
            repo.garbage_collect(FUTURE, executor=_Murdered(pool, at))
        assert everything(open_repo(OURS, root)) == expected
        assert open_repo(OURS, root).verify(data=True).ok
        with ThreadPoolExecutor(2) as pool:
            threaded(root).garbage_collect(FUTURE, executor=pool)
        assert objects_of(root) == objects_of(reference)


def test_young_objects_stay(tmp_path: Path, executor: Executor) -> None:
    """Workers judge ages as the one who sends them: what is younger than the limit is not touched."""
    _grown(tmp_path / "r", 10, 2)
    now = datetime.now(UTC)
    kept = objects_of(tmp_path / "r")
    for key in kept:
        set_age(tmp_path / "r", key, (now - timedelta(hours=1)).timestamp())
    summary = threaded(tmp_path / "r").garbage_collect(now - timedelta(hours=2), executor=executor)
    assert summary.chunks_deleted == summary.snapshots_deleted == 0
    assert objects_of(tmp_path / "r") == kept


def test_what_is_no_executor(tmp_path: Path) -> None:
    """Every operation refuses it before it begins, and names the way to get one from a Dask client."""

    class Client:
        def get_executor(self) -> None: ...

    repo = start(OURS, tmp_path / "r")
    for call in (
        repo.verify,
        repo.chunk_storage_stats,
        repo.pack_stats,
        lambda **given: repo.copy(tmp_path / "copy", **given),
        lambda **given: repo.garbage_collect(FUTURE, **given),
        lambda **given: repo.repack("r", branch="main", **given),
        lambda **given: repo.rewrite_manifests("r", branch="main", **given),
    ):
        with pytest.raises(ic.InvalidInputError, match=r"client.get_executor\(\)"):
            call(executor=Client())
    assert not (tmp_path / "copy").exists()
