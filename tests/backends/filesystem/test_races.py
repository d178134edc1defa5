"""Races between threads and between processes, with writers that are killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from icechunk_core.contract import IF_ABSENT, IfVersion, Storage
from icechunk_core.contract.errors import AlreadyExists, StorageError, VersionMismatch
from icechunk_filesystem._system import System
from tests.backends.filesystem import workers
from tests.backends.filesystem.support import keys_of, now, open_at, open_with, read

SPAWN = multiprocessing.get_context("spawn")
PROCESSES = 4


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Processes that share nothing with this one."""
    with ProcessPoolExecutor(PROCESSES, mp_context=SPAWN) as executor:
        yield executor


@pytest.mark.parametrize("durable", [False, True])
def test_no_update_is_lost_between_processes(
    pool: ProcessPoolExecutor, storage: Storage, root: Path, durable: bool
) -> None:
    """A counter that processes increment by compare-and-swap ends at the number of increments."""
    now(storage.put("counter", workers.whole(0), IF_ABSENT))
    options = {"durable": durable}
    jobs = [pool.submit(workers.count, str(root), "counter", 25, options) for _ in range(PROCESSES)]
    reached = [value for job in jobs for value in job.result()]
    assert sorted(reached) == list(range(1, 25 * PROCESSES + 1))
    assert workers.number_of(read(storage, "counter")) == 25 * PROCESSES
    assert workers.temporary_files(root) == []


def test_threaded_storages_race_too(pool: ProcessPoolExecutor, storage: Storage, root: Path) -> None:
    """The same with storages in threaded mode, several swaps under way in each process."""
    now(storage.put("counter", workers.whole(0), IF_ABSENT))
    jobs = [pool.submit(workers.count_in_threads_mode, str(root), "counter", 8) for _ in range(3)]
    assert sum(job.result() for job in jobs) == 24
    assert workers.number_of(read(storage, "counter")) == 24


def test_one_process_creates(pool: ProcessPoolExecutor, root: Path) -> None:
    """Of the processes that create a key exactly one wins, and the object is the winner's."""
    keys = [f"new/{number}" for number in range(30)]
    jobs = {identity: pool.submit(workers.create, str(root), keys, identity) for identity in range(PROCESSES)}
    winners = {key: identity for identity, job in jobs.items() for key in job.result()}
    assert sum(len(job.result()) for job in jobs.values()) == len(keys)
    storage = open_at(root)
    assert {key: workers.number_of(read(storage, key)) for key in keys} == winners


def test_readers_never_see_half_an_object(pool: ProcessPoolExecutor, root: Path) -> None:
    """While processes overwrite and swap, every read is one whole object."""
    storage = open_at(root)
    now(storage.put("counter", workers.whole(0), IF_ABSENT))
    writer = SPAWN.Process(target=workers.overwrite_for_ever, args=(str(root), "plain"))
    writer.start()
    try:
        swaps = pool.submit(workers.count, str(root), "counter", 60, {})
        reads = [pool.submit(workers.watch, str(root), ["plain", "counter"], 1500) for _ in range(2)]
        assert all(job.result() > 0 for job in reads)
        assert len(swaps.result()) == 60
    finally:
        writer.kill()
        writer.join()


def test_killed_writers(root: Path, tmp_path: Path) -> None:
    """Writers killed at random lose nothing that was acknowledged, block nobody and leave no half object."""
    storage = open_at(root)
    now(storage.put("counter", workers.whole(0), IF_ABSENT))
    logs = [tmp_path / f"log{number}" for number in range(6)]
    dice = random.Random(5)
    for pair in zip(logs[::2], logs[1::2], strict=True):
        running = [
            SPAWN.Process(target=workers.count_for_ever, args=(str(root), "counter", str(log)))
            for log in pair
        ]
        overwriter = SPAWN.Process(target=workers.overwrite_for_ever, args=(str(root), "plain"))
        for process in (*running, overwriter):
            process.start()
        # Kill after a number of reads, not after a time: some land inside of a write.
        reads = dice.randrange(20, 200)
        while not all(log.exists() and log.stat().st_size for log in pair) or reads:
            workers.number_of(read(storage, "counter"))
            reads = max(0, reads - 1)
        for process in (*running, overwriter):
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
    acknowledged = [int(line) for log in logs for line in log.read_text().split("\n")[:-1]]
    assert len(set(acknowledged)) == len(acknowledged)
    final = workers.number_of(read(storage, "counter"))
    # Each of the six may have been killed between its last swap and its note.
    assert max(acknowledged) <= final <= len(acknowledged) + len(logs)
    assert workers.increment(storage, "counter") == final + 1
    workers.number_of(read(storage, "plain"))
    assert keys_of(storage) == ["counter", "plain"]


def test_threads_of_one_storage(storage: Storage) -> None:
    """No update is lost between threads that share a storage object, or have their own."""
    now(storage.put("counter", workers.whole(0), IF_ABSENT))
    other = open_at(storage.config.root)

    def work(turn: int) -> None:
        for _ in range(10):
            workers.increment(storage if turn % 2 else other, "counter")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert workers.number_of(read(storage, "counter")) == 80


def test_threads_create_once(storage: Storage) -> None:
    """Of the threads that create a key exactly one wins."""
    barrier = threading.Barrier(8)

    def work(number: int) -> int:
        won = 0
        for turn in range(20):
            barrier.wait()
            try:
                now(storage.put(f"key{turn}", workers.whole(number), IF_ABSENT))
                won += 1
            except AlreadyExists:
                pass
        return won

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(work, range(8))) == 20


class Interrupting(System):
    """Runs an action once, just before the first change of a certain kind to a certain file."""

    def __init__(self, what: str, name: str, action: object) -> None:
        super().__init__()
        self._what, self._name, self._action = what, name, action

    def _maybe(self, what: str, path: str) -> None:
        if self._action is not None and what == self._what and os.path.basename(path) == self._name:
            action, self._action = self._action, None
            action()  # type: ignore[operator]

    def replace(self, source: str, target: str) -> None:
        self._maybe("replace", target)
        super().replace(source, target)

    def link(self, source: str, target: str) -> None:
        self._maybe("link", target)
        super().link(source, target)

    def unlink(self, path: str) -> None:
        self._maybe("unlink", path)
        super().unlink(path)


def test_an_unconditional_put_cannot_slip_into_a_swap(storage: Storage, root: Path) -> None:
    """A put that was under way when a key's first swap began is done again after the swap."""
    version = now(storage.put("x", b"old"))
    swapped = []

    def swap() -> None:
        swapped.append(now(storage.put("x", b"swapped", IfVersion(version))))

    # The put has looked for a record and found none; it is about to rename.
    late = now(open_with(Interrupting("replace", "x", swap), root).put("x", b"late"))
    assert len(swapped) == 1
    assert now(storage.head("x")).version == late
    assert read(storage, "x") == b"late"
    assert workers.temporary_files(root) == []


class Meanwhile(System):
    """Begins something in a thread, right before or after a file is removed for the first time."""

    def __init__(self, name: str, work: Callable[[], object], *, before: bool) -> None:
        super().__init__()
        self.thread = threading.Thread(target=work)
        self._name = name
        self._before = before

    def unlink(self, path: str) -> None:
        mine = os.path.basename(path) == self._name and self.thread.ident is None
        if mine and self._before:
            self._begin()
        super().unlink(path)
        if mine and not self._before:
            self._begin()

    def _begin(self) -> None:
        self.thread.start()
        # As far as it comes before the deletion has ended.
        self.thread.join(0.1)


def test_a_deletion_cannot_be_undone_by_a_swap(storage: Storage, root: Path) -> None:
    """A deletion that was under way when a key's first swap began leaves the key deleted."""
    version = now(storage.put("x", b"old"))
    refused = []

    def swap() -> None:
        try:
            now(storage.put("x", b"swapped", IfVersion(version)))
        except VersionMismatch as error:
            refused.append(error)

    system = Meanwhile("x", swap, before=True)
    (result,) = now(open_with(system, root).delete(["x"]))
    system.thread.join()
    assert result.error is None
    assert len(refused) == 1
    assert keys_of(storage) == []


def test_a_deletion_takes_one_object(storage: Storage, root: Path) -> None:
    """What is created while an object is being deleted stays: nobody deletes it."""
    now(storage.put("x", b"old"))
    system = Meanwhile("x", lambda: now(storage.put("x", b"new", IF_ABSENT)), before=False)
    (result,) = now(open_with(system, root).delete(["x"]))
    system.thread.join()
    assert result.error is None
    assert read(storage, "x") == b"new"


def test_another_program_that_creates_first_wins(storage: Storage, root: Path) -> None:
    """A program without our lock that creates the file last-minute is not overwritten."""
    root.mkdir()

    def intrude() -> None:
        (root / "repo").write_bytes(b"theirs")

    with pytest.raises(AlreadyExists):
        now(open_with(Interrupting("link", "repo", intrude), root).put("repo", b"ours", IF_ABSENT))
    assert read(storage, "repo") == b"theirs"


def test_directories_removed_while_writing(storage: Storage, root: Path) -> None:
    """A directory that vanishes just before publishing is made again."""

    def remove() -> None:
        (root / "d").rmdir()

    now(open_with(Interrupting("replace", "x", remove), root).put("d/x", b"1"))
    now(storage.delete(["d/x"]))
    (root / "d").mkdir(exist_ok=True)
    now(open_with(Interrupting("link", "x", remove), root).put("d/x", b"2", IF_ABSENT))
    assert read(storage, "d/x") == b"2"


def test_writers_and_pruning(storage: Storage, root: Path) -> None:
    """Threads that put 'a' and 'a/b' by turns and delete them never get stuck, or lose an object silently."""
    failures: list[StorageError] = []

    def work(key: str) -> None:
        for _ in range(60):
            try:
                version = now(storage.put(key, key.encode()))
                if now(storage.head(key)).version == version:
                    assert read(storage, key) == key.encode()
            except StorageError as error:
                failures.append(error)
            now(storage.delete([key]))

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, ["a", "a/b"]))
    assert {error.kind for error in failures} <= {"invalid-object-key", "object-not-found"}
    assert keys_of(storage) == []


def test_a_lock_that_is_held_too_long(root: Path) -> None:
    """A conditional put gives up after the timeout, having written nothing, and says what to do."""
    patient = open_at(root)
    version = now(patient.put("repo", b"1", IF_ABSENT))

    def second() -> None:
        hurried = open_at(root, lock_timeout=0.01)
        with ThreadPoolExecutor(1) as thread, pytest.raises(StorageError, match="lock_timeout"):
            thread.submit(now, hurried.put("repo", b"2", IfVersion(version))).result()

    now(open_with(Interrupting("replace", "repo", second), root).put("repo", b"3", IfVersion(version)))
    assert read(patient, "repo") == b"3"
