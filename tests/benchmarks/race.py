"""Processes that commit to one branch: how many commits are acknowledged, and how many are there afterwards.

All have the repository open before the first one begins, but for the rows *from the start of the processes*:
these are fresh interpreters that import and open first. Each changes chunks of its own, rebases over
the others, and tries nothing again that raised.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from attrs import frozen

from tests.benchmarks.processes import has_peer, in_turns, progress
from tests.benchmarks.race_worker import Acknowledged, prepare, present, write
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.table import Line, Row, Samples, Words

__all__ = ["Outcome", "race", "race_of_new_processes", "rows"]

T = TypeVar("T")

# A fork of a process that has imported nearly everything is ready at once. Icechunk hangs in a process
# that was forked after its import; it is imported before the race begins.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        __name__,
        "icechunk_core.repository.repository",
        "icechunk_core.session.session",
        "icechunk_core.conflicts",
    ]
)
_barrier: Any = None

_MOST_NEW_PROCESSES = 16


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
    """All races, of all contestants by turns."""
    names = ("ours", "unsynced", "peer") if has_peer() else ("ours", "unsynced")
    found: list[Line] = []
    for writers, commits in sizes.committers:
        races = [race, race_of_new_processes] if writers <= _MOST_NEW_PROCESSES else [race]
        outcomes: list[dict[str, list[Outcome]]] = [{name: [] for name in names} for _ in races]
        for turn in range(sizes.rounds):
            for name in in_turns(names, turn):
                progress(f"{writers} committers, {name}, round {turn + 1} of {sizes.rounds}")
                for run, of in zip(races, outcomes, strict=True):
                    of[name].append(run(name, writers, commits))
        found += _rows(f"{writers} processes × {commits} commits", outcomes, sizes.judged)
    return found


def _rows(title: str, outcomes: list[dict[str, list[Outcome]]], judged: bool) -> list[Line]:
    lines: list[Line] = []
    for of, what in zip(outcomes, ("wall time", "from the start of the processes"), strict=False):
        for name, how in (("ours", ""), ("unsynced", ", not synced")):
            seconds: Samples = {"ours": [each.seconds for each in of[name]]}
            if "peer" in of:
                seconds["peer"] = [each.seconds for each in of["peer"]]
            lines.append(Row(f"{title}: {what}{how}", "s", seconds, 1.0 if judged else None))
    mine = [each for of in outcomes for name in ("ours", "unsynced") for each in of[name]]
    peers = [each for of in outcomes for each in of.get("peer", [])]
    lost = sum(each.acknowledged - each.present for each in mine)
    told = f"{title}: acknowledged and present"
    return [*lines, Words(told, _told(mine), _told(peers), "none lost", lost == 0)]


def _told(outcomes: list[Outcome]) -> str:
    """Acknowledged and present, of each different round."""
    return "; ".join(dict.fromkeys(f"{each.acknowledged}, {each.present}" for each in outcomes)) or "–"


def race(name: str, writers: int, commits: int) -> Outcome:
    """One race in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = f"{folder}/repo"
        # Also the preparation happens elsewhere: this process is measured with, and forked from.
        _elsewhere(prepare, name, root, writers, commits)
        barrier = _context.Barrier(writers + 1)
        with ProcessPoolExecutor(writers, _context, _set_barrier, (barrier,)) as pool:
            running = [pool.submit(_write, name, root, writer, commits) for writer in range(writers)]
            barrier.wait()
            start = time.perf_counter()
            acknowledged = [each for writer in running for each in writer.result()]
            seconds = time.perf_counter() - start
        return Outcome(len(acknowledged), _elsewhere(present, name, root, acknowledged), seconds)


def race_of_new_processes(name: str, writers: int, commits: int) -> Outcome:
    """The same from the start of fresh interpreters to the end of the last one."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root, before = f"{folder}/repo", f"{folder}/before"
        _elsewhere(prepare, name, root, writers, commits)
        _elsewhere(prepare, name, before, 1, 1)
        _started(name, before, 0, 1).communicate()  # compiles what an installation has compiled
        start = time.perf_counter()
        running = [_started(name, root, writer, commits) for writer in range(writers)]
        told = [each.communicate()[0] for each in running]
        seconds = time.perf_counter() - start
        acknowledged = [tuple(commit) for each in told for commit in json.loads(each)]
        return Outcome(len(acknowledged), _elsewhere(present, name, root, acknowledged), seconds)


def _started(name: str, root: str, writer: int, commits: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.benchmarks.race_worker", name, root, str(writer), str(commits)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def _elsewhere(work: Callable[..., T], *arguments: Any) -> T:
    with ProcessPoolExecutor(1, _context) as pool:
        return pool.submit(work, *arguments).result()


def _set_barrier(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _write(name: str, root: str, writer: int, commits: int) -> Acknowledged:
    return write(name, root, writer, commits, _barrier.wait)
