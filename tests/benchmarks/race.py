"""Processes that commit to one branch: how many commits are acknowledged, and how many are there afterwards.

All have the array open before the first one begins. Each changes chunks of its own, rebases over
the others, and tries nothing again that raised.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import zarr
from attrs import frozen

from tests.benchmarks.processes import has_peer, in_turns, progress
from tests.benchmarks.scaling_worker import module_of
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.table import Line, Row, Samples, Words

__all__ = ["Outcome", "race", "rows"]

Acknowledged = list[tuple[str, int, int]]
"""Snapshot, writer and commit."""

# A fork of a process that has imported nearly everything is ready at once. Icechunk hangs in a process
# that was forked after its import; it is imported before the race begins.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__, "icechunk_core"])
_barrier: Any = None


@frozen
class Outcome:
    """What came of a race.

    Attributes
    ----------
    acknowledged, present
        Commits that returned, and those of them whose snapshot and value are in the history.
    seconds
        From the moment when all were ready to the end of the last one.
    """

    acknowledged: int
    present: int
    seconds: float


def rows(folder: str, sizes: Sizes) -> list[Line]:
    """All races, of both contestants by turns."""
    names = ("ours", "peer") if has_peer() else ("ours",)
    found: list[Line] = []
    for writers, commits in sizes.committers:
        outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
        for turn in range(sizes.rounds):
            for name in in_turns(names, turn):
                progress(f"{writers} committers, {name}, round {turn + 1} of {sizes.rounds}")
                outcomes[name].append(race(name, writers, commits))
        found += _rows(f"{writers} processes × {commits} commits", outcomes, sizes.judged)
    return found


def _rows(title: str, outcomes: dict[str, list[Outcome]], judged: bool) -> list[Line]:
    seconds: Samples = {name: [each.seconds for each in them] for name, them in outcomes.items()}
    lost = sum(each.acknowledged - each.present for each in outcomes["ours"])
    return [
        Row(f"{title}: wall time", "s", seconds, 1.0 if judged else None),
        Words(
            f"{title}: acknowledged and present",
            _told(outcomes["ours"]),
            _told(outcomes.get("peer", [])),
            "none lost",
            lost == 0,
        ),
    ]


def _told(outcomes: list[Outcome]) -> str:
    """Acknowledged and present, of each different round."""
    return "; ".join(dict.fromkeys(f"{each.acknowledged}, {each.present}" for each in outcomes)) or "–"


def race(name: str, writers: int, commits: int) -> Outcome:
    """One race in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = f"{folder}/repo"
        # Also the preparation happens elsewhere: this process is measured with, and forked from.
        with ProcessPoolExecutor(1, _context) as pool:
            pool.submit(_prepare, name, root, writers, commits).result()
        barrier = _context.Barrier(writers + 1)
        with ProcessPoolExecutor(writers, _context, _set_barrier, (barrier,)) as pool:
            running = [pool.submit(_write, name, root, writer, commits) for writer in range(writers)]
            barrier.wait()
            start = time.perf_counter()
            acknowledged = [each for writer in running for each in writer.result()]
            seconds = time.perf_counter() - start
        with ProcessPoolExecutor(1, _context) as pool:
            present = pool.submit(_present, name, root, acknowledged).result()
        return Outcome(len(acknowledged), present, seconds)


def _set_barrier(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _repository(name: str, root: str, *, create: bool = False) -> Any:
    module = module_of(name)
    opened = module.Repository.create if create else module.Repository.open
    return opened(module.local_filesystem_storage(root))


def _value(writer: int, commit: int) -> int:
    return 1_000 * (writer + 1) + commit


def _prepare(name: str, root: str, writers: int, commits: int) -> None:
    session = _repository(name, root, create=True).writable_session("main")
    zarr.create_array(
        session.store, name="data", shape=(writers, commits), chunks=(1, 1), dtype="i4", fill_value=0
    )
    session.commit("array")


def _write(name: str, root: str, writer: int, commits: int) -> Acknowledged:
    module = module_of(name)
    repo = _repository(name, root)
    _barrier.wait()
    acknowledged: Acknowledged = []
    for commit in range(commits):
        session = repo.writable_session("main")
        zarr.open_array(session.store, path="data", mode="r+")[writer, commit] = _value(writer, commit)
        try:
            snapshot = session.commit(
                f"writer {writer} commit {commit}", rebase_with=module.ConflictDetector()
            )
        except Exception:  # whatever it is: this one was not acknowledged
            continue
        acknowledged.append((snapshot, writer, commit))
    return acknowledged


def _present(name: str, root: str, acknowledged: Acknowledged) -> int:
    repo = _repository(name, root)
    history = {info.id for info in repo.ancestry(branch="main")}
    values = np.asarray(zarr.open_array(repo.readonly_session("main").store, path="data", mode="r")[:])
    return sum(
        snapshot in history and int(values[writer, commit]) == _value(writer, commit)
        for snapshot, writer, commit in acknowledged
    )
