"""Turns of a directory."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from icechunk_core.contract import EndTurn, Storage
from icechunk_core.drive import run
from icechunk_filesystem import _turns
from tests.backends.filesystem.support import open_at

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no flock")


def taken(storage: Storage, seconds: float = 5) -> EndTurn | None:
    return run(storage.take_turn("repo", seconds), may_suspend=storage.may_suspend)


def had(storage: Storage) -> EndTurn:
    end = taken(storage)
    assert end is not None
    return end


@pytest.fixture(params=[False, True], ids=["direct", "threaded"])
def pair(request: pytest.FixtureRequest, root: Path) -> tuple[Storage, Storage]:
    """Two clients of a directory."""
    return open_at(root, threaded=request.param), open_at(root, threaded=request.param)


def test_who_waits_gets_the_turn_when_it_ends(pair: tuple[Storage, Storage]) -> None:
    """The turn comes to those who wait, not only to those who ask again."""
    one, other = pair
    end = had(one)
    came: list[EndTurn] = []
    waiting = threading.Thread(target=lambda: came.append(had(other)))
    waiting.start()
    assert not came
    end()
    waiting.join(5)
    assert len(came) == 1
    came[0]()


def test_turns_that_were_not_waited_for_are_over(pair: tuple[Storage, Storage]) -> None:
    """Who gives up in time does not get the turn later, unseen, and keep it."""
    one, other = pair
    end = had(one)
    assert taken(other, 0.01) is None
    end()
    had(one)()


async def test_a_cancelled_wait_leaves_no_turn_behind(root: Path) -> None:
    """A task that is cancelled while it waits does not get the turn."""
    one, other = open_at(root, threaded=True), open_at(root, threaded=True)
    end = await one.take_turn("repo", 5)
    assert end is not None
    waiting = asyncio.ensure_future(other.take_turn("repo", 60))
    while not any(thread.name == "icechunk-filesystem-turn" for thread in threading.enumerate()):
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    end()
    again = await other.take_turn("repo", 5)
    assert again is not None
    again()


def test_a_forked_child_has_not_its_parents_turn(root: Path) -> None:
    """A process that was forked in a turn neither keeps it, nor ends it."""
    storage = open_at(root, threaded=False)
    end = had(storage)
    child = os.fork()
    if child == 0:
        end()  # not his
        os._exit(0 if taken(storage, 0.01) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert taken(storage, 0.01) is None
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)  # lives on while the parent goes on
        os._exit(0)
    end()
    had(storage)()
    os.write(writing, b".")
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)


def test_no_turns_where_the_system_has_no_locks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `flock`, and where the filesystem refuses it, there are no turns, and no error."""
    storage = open_at(root, threaded=False)

    def refused(*arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patch:
        patch.setattr(_turns.fcntl, "flock", refused)
        assert taken(storage) is None
    with monkeypatch.context() as patch:
        patch.setattr(_turns, "fcntl", None)
        assert taken(storage) is None
    had(storage)()


def test_many_turns_leave_no_open_files(pair: tuple[Storage, Storage]) -> None:
    """Each turn frees what it held."""
    for storage in pair:
        had(storage)()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(50):
        for storage in pair:
            had(storage)()
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before
