"""Processes that commit through a proxy which loses requests and answers, and what they were told.

Run as ``python under_faults.py URL WRITER COMMITS``; prints a line ``OUTCOME WRITER COMMIT`` for each
commit: ``success``, ``conflict`` or ``unknown``.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import zarr

import icechunk_core
from icechunk_conformance.proxy import Exchange, FaultProxy, WireFault
from icechunk_conformance.wire_faults import (
    answer_is_error,
    answer_lost,
    passed_on,
    refused_with,
    request_lost,
)
from icechunk_core.errors import ConflictError, OutcomeUnknown

FAULTS = (answer_lost, request_lost, answer_is_error(503), refused_with(429), refused_with(503))


def message_of(writer: int, commit: int) -> str:
    """What a commit is called."""
    return f"writer {writer} commit {commit}"


def write(url: str, writer: int, commits: int) -> None:
    """Commit one chunk at a time, rebasing over whatever the others have committed; say how each ended."""
    repo = icechunk_core.Repository.open(url)
    for commit in range(commits):
        session = repo.writable_session("main")
        zarr.open_array(session.store, path="data", mode="r+")[writer, commit] = commit
        told = "success"
        try:
            session.commit(message_of(writer, commit), rebase_with=icechunk_core.ConflictDetector())
        except OutcomeUnknown:
            told = "unknown"
        except ConflictError:
            told = "conflict"
        print(told, writer, commit, flush=True)


def struck_at_random(proxy: FaultProxy, seed: int, share: float) -> Counter[str]:
    """Have a share of all requests go wrong, each in one of several ways; counts what was done."""
    luck, done = random.Random(seed), Counter[str]()

    async def action(exchange: Exchange) -> None:
        chosen = luck.choice(FAULTS) if luck.random() < share else passed_on
        done["passed on" if chosen is passed_on else str(chosen.__doc__)] += 1
        await chosen(exchange)

    proxy.strike(WireFault(action, lambda _: True, times=None))
    return done


def race(url: str, writers: int, commits: int) -> list[tuple[str, str]]:
    """The commits of many processes, as outcome and message."""
    command = [sys.executable, str(Path(__file__)), url]
    processes = [
        subprocess.Popen(
            [*command, str(writer), str(commits)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for writer in range(writers)
    ]
    told = []
    for process in processes:
        output, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors
        for line in output.splitlines():
            outcome, writer, commit = line.split()
            told.append((outcome, message_of(int(writer), int(commit))))
    return told


def judge(url: str, told: list[tuple[str, str]]) -> Counter[str]:
    """Every success is in the history once, no conflict is, nothing is there twice; counts the outcomes."""
    repo = icechunk_core.Repository.open(url)
    history = Counter(info.message for info in repo.ancestry(branch="main"))
    for outcome, message in told:
        times = history[message]
        assert times <= 1, f"{message!r} is in the history {times} times"
        if outcome == "success":
            assert times == 1, f"{message!r} was reported as a success and is gone"
        if outcome == "conflict":
            assert times == 0, f"{message!r} was reported as a conflict and is there"
    return Counter(outcome for outcome, _ in told)


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
