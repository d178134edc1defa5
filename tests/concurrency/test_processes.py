"""Many processes commit to one directory: nothing that was acknowledged is ever missing."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.concurrency import committers

WRITERS = 8


def _race(url: str, commits: int) -> list[tuple[str, int, int]]:
    committers.prepare(url, WRITERS, commits)
    processes = [committers.start(url, writer, commits) for writer in range(WRITERS)]
    acknowledged = []
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        acknowledged += committers.acknowledgements(output)
    return acknowledged


def test_eight_processes_lose_no_commit(tmp_path: Path) -> None:
    """8 processes with 10 commits each, rebasing: 80 acknowledged, 80 in the history, 80 values."""
    url = f"file://{tmp_path}/repo"
    acknowledged = _race(url, 10)
    assert committers.check(url, acknowledged) == 80


@pytest.mark.slow
@pytest.mark.parametrize("repetition", range(19))
def test_eight_processes_lose_no_commit_again(tmp_path: Path, repetition: int) -> None:
    """The same, 19 more times: races are about luck."""
    url = f"file://{tmp_path}/repo"
    assert committers.check(url, _race(url, 10)) == 80


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_writers_lose_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    """Writers die by SIGKILL at random moments: what they acknowledged stays, the others go on."""
    luck = random.Random(seed)
    url = f"file://{tmp_path}/repo"
    committers.prepare(url, WRITERS, 40)
    processes = [committers.start(url, writer, 40) for writer in range(WRITERS)]
    acknowledged: list[tuple[str, int, int]] = []
    for process in processes[: WRITERS // 2]:
        assert process.stdout is not None
        # Die somewhere in the middle of the work that follows a random number of commits.
        for _ in range(luck.randrange(1, 12)):
            acknowledged += committers.acknowledgements(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=60)
        acknowledged += committers.acknowledgements(output)
    for process in processes[WRITERS // 2 :]:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        acknowledged += committers.acknowledgements(output)
    survivors = sum(writer >= WRITERS // 2 for _, writer, _ in acknowledged)
    assert survivors == 40 * (WRITERS - WRITERS // 2)
    assert committers.check(url, acknowledged) == len(acknowledged)
