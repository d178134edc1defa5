"""What is particular to memory storage; the conformance suite checks the contract."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from icechunk_core.clock import SystemClock
from icechunk_core.contract import IF_ABSENT, IfVersion, Range, Storage, Suffix, open_backend
from icechunk_core.drive import run_direct
from icechunk_core.errors import (
    AlreadyExists,
    Closed,
    IcechunkError,
    InvalidKey,
    NotFound,
    ReadOnly,
    StorageConfigError,
    Unsupported,
    VersionMismatch,
)
from icechunk_core.plugins import open_storage
from icechunk_memory._config import MemoryConfig
from icechunk_memory._space import Space, find_space
from icechunk_memory._storage import MemoryStorage

T = TypeVar("T")


def do(coroutine: Coroutine[Any, Any, T]) -> T:
    """Memory storage never suspends: drive it by hand."""
    return run_direct(coroutine)


def keys_in(storage: Storage, prefix: str = "", start_after: str | None = None) -> list[str]:
    """All keys, in the order of the listing."""

    async def collect() -> list[str]:
        return [info.key async for info in storage.list(prefix, start_after)]

    return do(collect())


# --- which space -------------------------------------------------------------


def test_private_storages_share_nothing() -> None:
    """Each ``memory:`` is new and empty, and equal to nothing else."""
    first, second = open_storage("memory:"), open_storage("memory:")
    do(first.put("a", b"1"))
    assert keys_in(second) == []
    assert first != second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("memory:shared-1", "memory://shared-1"),
        ("memory:///shared-2/", "memory:shared-2"),
        ("memory:a%20b", {"scheme": "memory", "name": "a b"}),
        ("memory://deep/er", "memory:deep/er"),
    ],
)
def test_storages_of_one_name_share_their_objects(one: Any, other: Any) -> None:
    """The spellings of a name are one space, found by whoever opens it in the process."""
    first, second = open_storage(one), open_storage(other)
    do(first.put("a", b"1"))
    assert do(second.get_range("a"))[0] == b"1"
    assert first == second


def test_a_named_space_outlives_its_storages() -> None:
    """A program can close a repository and open it again by its URL."""
    storage = open_storage("memory:outlives")
    do(storage.put("a", b"1"))
    do(storage.close())
    del storage
    gc.collect()
    assert keys_in(open_storage("memory:outlives")) == ["a"]


def test_a_private_space_is_freed_with_its_storage() -> None:
    """A test suite that makes thousands of storages does not keep their data."""
    before = sum(isinstance(each, Space) for each in gc.get_objects())
    storage = open_storage("memory:")
    do(storage.put("a", bytes(1000)))
    assert sum(isinstance(each, Space) for each in gc.get_objects()) == before + 1
    del storage
    gc.collect()
    assert sum(isinstance(each, Space) for each in gc.get_objects()) == before


# --- pickling and processes --------------------------------------------------


def test_unpickled_in_the_same_process_it_is_the_same_storage() -> None:
    """Threads and executors of one process can hand a storage around as a pickle."""
    storage = open_storage("memory:")
    do(storage.put("a", b"1"))
    again = pickle.loads(pickle.dumps(storage))
    assert again == storage
    assert do(again.get_range("a"))[0] == b"1"


def test_a_pickle_of_a_freed_storage_says_that_it_is_gone() -> None:
    """Rather than an empty storage, which would look like lost data."""
    storage = open_storage("memory:")
    pickled = pickle.dumps(storage)
    del storage
    gc.collect()
    with pytest.raises(StorageConfigError, match="is gone"):
        pickle.loads(pickled)


@pytest.mark.parametrize("url", ["memory:", "memory:named"])
def test_another_process_cannot_open_it_and_says_why(url: str) -> None:
    """The data are not there; the error explains and names what to use instead."""
    code = "import pickle, sys\npickle.load(sys.stdin.buffer)"
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(open_storage(url)), capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"memory storage lives in the process that made it" in done.stderr


def _in_forked_child(storage: Storage, pickled: bytes, answers: Any) -> None:
    found: dict[str, str] = {"read": bytes(do(storage.get_range("a"))[0]).decode()}
    for name, action in {
        "write": lambda: do(storage.put("b", b"2")),
        "delete": lambda: do(storage.delete(["a"])),
        "unpickle": lambda: pickle.loads(pickled),
    }.items():
        try:
            action()
            found[name] = "nothing raised"
        except IcechunkError as error:
            found[name] = f"{type(error).__name__}: {error}"
    own = open_storage("memory:")
    do(own.put("x", b"own"))
    found["own"] = ",".join(keys_in(own))
    answers.send(found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_reads_but_does_not_write() -> None:
    """What a child wrote would be lost with it, so it is refused; reading, and storages of its own, work."""
    storage = open_storage("memory:")
    do(storage.put("a", b"1"))
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_in_forked_child, args=(storage, pickle.dumps(storage), theirs))
    child.start()
    found = ours.recv()
    child.join()
    assert found["read"] == "1"
    assert found["write"].startswith("Unsupported: this is a forked child's copy")
    assert found["delete"].startswith("Unsupported")
    assert found["unpickle"].startswith("StorageConfigError: memory storage lives in the process")
    assert found["own"] == "x"
    do(storage.put("b", b"2"))
    assert keys_in(storage) == ["a", "b"]


def test_a_space_is_not_found_by_guessing_a_process() -> None:
    """A serial number alone, from another process, finds nothing."""
    config = MemoryConfig()
    with pytest.raises(StorageConfigError):
        find_space("another process", config.space.serial)


# --- operations --------------------------------------------------------------


class FixedClock(SystemClock):
    """It is always the same moment."""

    def now_us(self) -> int:
        return 1_700_000_000_000_000


def test_times_come_from_the_injected_clock() -> None:
    """``last_modified`` is what the storage's clock says, aware."""
    storage = open_backend(MemoryStorage(MemoryConfig(), FixedClock()), plugin="memory")
    do(storage.put("a", b"1"))
    assert do(storage.head("a")).last_modified == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def test_ranges_share_the_stored_bytes() -> None:
    """Reads copy nothing: the whole object is the very bytes, a range a view of them."""
    storage = open_storage("memory:")
    data = bytes(100)
    do(storage.put("a", data))
    assert do(storage.get_range("a"))[0] is data
    part = do(storage.get_range("a", Range(10, 20)))[0]
    assert isinstance(part, memoryview)
    assert part.obj is data
    assert len(do(storage.get_range("a", Suffix(5)))[0]) == 5


def test_later_changes_of_a_written_buffer_do_not_matter() -> None:
    """A mutable buffer is copied at the put."""
    storage = open_storage("memory:")
    buffer = bytearray(b"before")
    metadata = {"k": "v"}
    do(storage.put("a", buffer, metadata=metadata))
    buffer[:] = b"after!"
    metadata["k"] = "changed"
    assert do(storage.get_range("a"))[0] == b"before"
    assert do(storage.head("a")).metadata == {"k": "v"}


def test_versions_are_unique_per_write() -> None:
    """Writing the same bytes again, deleting and writing, and copying give new versions."""
    storage = open_storage("memory:")
    versions = [do(storage.put("a", b"A")), do(storage.put("a", b"B")), do(storage.put("a", b"A"))]
    do(storage.delete(["a"]))
    versions += [do(storage.put("a", b"A")), do(storage.copy("a", "b")), do(storage.put("b", b"A"))]
    assert len(set(versions)) == len(versions)
    with pytest.raises(VersionMismatch):
        do(storage.put("a", b"C", IfVersion(versions[0])))
    with pytest.raises(VersionMismatch):
        do(storage.get_range("a", None, versions[0]))


def test_copies_carry_data_and_metadata() -> None:
    """A copy is a write of its own; a missing source changes nothing."""
    storage = open_storage("memory:")
    do(storage.put("a", b"1", metadata={"k": "v"}))
    do(storage.copy("a", "b"))
    data, info = do(storage.get_range("b"))
    assert (data, info.metadata, info.key) == (b"1", {"k": "v"}, "b")
    with pytest.raises(NotFound):
        do(storage.copy("missing", "c"))
    assert keys_in(storage) == ["a", "b"]


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", "a\0", "\ud800"])
def test_forbidden_keys_are_refused_everywhere(key: str) -> None:
    """Also by reads, where the key could simply be missing; a batch delete reports it per key."""
    storage = open_storage("memory:")
    do(storage.put("ok", b""))
    for action in (storage.put(key, b""), storage.get_range(key), storage.head(key), storage.copy("ok", key)):
        with pytest.raises(InvalidKey):
            do(action)
    ok, bad = do(storage.delete(["ok", key]))
    assert ok.error is None
    assert isinstance(bad.error, InvalidKey)
    assert keys_in(storage) == []


def test_read_only_storages_refuse_every_write() -> None:
    """``read_only=true`` reads what others wrote under that name, declares it, and writes nothing."""
    writer = open_storage("memory:read-only-test")
    do(writer.put("a", b"1"))
    reader = open_storage("memory:read-only-test?read_only=true")
    assert reader.capabilities.read_only
    assert not reader.capabilities.commit_safe
    for action in (reader.put("a", b"2"), reader.delete(["a"]), reader.copy("a", "b")):
        with pytest.raises(ReadOnly):
            do(action)
    assert do(reader.get_range("a"))[0] == b"1"


def test_a_closed_storage_refuses_everything() -> None:
    """Closing is idempotent, and closes this storage, not others of the same space."""
    storage = open_storage("memory:closing")
    other = open_storage("memory:closing")
    do(storage.put("a", b"1"))
    do(storage.close())
    do(storage.close())
    actions = (
        storage.get_range("a"), storage.head("a"), storage.put("a", b""), storage.delete(["a"]),
        storage.copy("a", "b"), storage.get_range("missing"),
    )  # fmt: skip
    for action in actions:
        with pytest.raises(Closed):
            do(action)
    with pytest.raises(Closed):
        keys_in(storage)
    assert keys_in(other) == ["a"]


# --- listing -----------------------------------------------------------------


def test_listing_selects_by_prefix_and_start() -> None:
    """A prefix is text, not a directory; ``start_after`` is exclusive; order is that of UTF-8 bytes."""
    storage = open_storage("memory:")
    for key in ["b", "a/2", "a/10", "a", "ab", "z/é", "z/\U0001f9ca", "z/\uffff"]:
        do(storage.put(key, b""))
    assert keys_in(storage) == ["a", "a/10", "a/2", "ab", "b", "z/é", "z/\uffff", "z/\U0001f9ca"]
    assert keys_in(storage, "a") == ["a", "a/10", "a/2", "ab"]
    assert keys_in(storage, "a/") == ["a/10", "a/2"]
    assert keys_in(storage, "a", "a/10") == ["a/2", "ab"]
    assert keys_in(storage, "a", "A") == ["a", "a/10", "a/2", "ab"]
    assert keys_in(storage, "zz") == []


def test_a_listing_survives_changes_meanwhile() -> None:
    """Objects that are deleted while a listing runs are left out; it ends in order."""
    storage = open_storage("memory:")
    for key in "abcd":
        do(storage.put(key, b""))

    async def collect() -> list[str]:
        seen = []
        async for info in storage.list():
            seen.append(info.key)
            await storage.delete(["c"])
            await storage.put("aa", b"")
        return seen

    assert do(collect()) == ["a", "b", "d"]
    assert keys_in(storage) == ["a", "aa", "b", "d"]


class ListingMachine(RuleBasedStateMachine):
    """Random writes and deletes beside a plain dictionary: listing always shows exactly what is there."""

    keys = st.sampled_from(["a", "a/b", "a/c", "b", "ä", "z"])

    def __init__(self) -> None:
        super().__init__()
        self.storage = open_storage("memory:")
        self.model: dict[str, bytes] = {}

    @rule(key=keys, data=st.binary(max_size=3))
    def put(self, key: str, data: bytes) -> None:
        do(self.storage.put(key, data))
        self.model[key] = data

    @rule(key=keys, data=st.binary(max_size=3))
    def create(self, key: str, data: bytes) -> None:
        try:
            do(self.storage.put(key, data, IF_ABSENT))
        except AlreadyExists:
            assert key in self.model
        else:
            assert key not in self.model
            self.model[key] = data

    @rule(some=st.lists(keys))
    def delete(self, some: list[str]) -> None:
        do(self.storage.delete(some))
        for key in some:
            self.model.pop(key, None)

    @rule(prefix=st.sampled_from(["", "a", "a/", "ä"]))
    def list_prefix(self, prefix: str) -> None:
        expected = sorted(key for key in self.model if key.startswith(prefix))
        assert keys_in(self.storage, prefix) == expected

    @invariant()
    def contents_agree(self) -> None:
        for key, data in self.model.items():
            assert do(self.storage.get_range(key))[0] == data


ListingMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestListing = ListingMachine.TestCase


# --- threads -----------------------------------------------------------------


def test_one_of_many_racing_creators_wins() -> None:
    """Creations from many threads at once: exactly one succeeds, the object is the winner's."""
    storage = open_storage("memory:")
    barrier = threading.Barrier(8)

    def create(name: int) -> list[int]:
        won = []
        for number in range(50):
            if number % 10 == 0:
                barrier.wait()
            try:
                do(storage.put(f"k{number}", str(name).encode(), IF_ABSENT))
                won.append(number)
            except AlreadyExists:
                pass
        return won

    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(create, range(8)))
    assert sorted(number for won in wins for number in won) == list(range(50))
    for name, won in enumerate(wins):
        for number in won:
            assert do(storage.get_range(f"k{number}"))[0] == str(name).encode()


def test_racing_updates_lose_nothing() -> None:
    """A counter that many threads increase by compare-and-swap ends at the number of increases."""
    storage = open_storage("memory:")
    do(storage.put("counter", b"0"))

    def increase(_: int) -> None:
        for _ in range(100):
            while True:
                data, info = do(storage.get_range("counter"))
                assert info.version is not None
                try:
                    do(storage.put("counter", str(int(data) + 1).encode(), IfVersion(info.version)))
                    break
                except VersionMismatch:
                    continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(increase, range(4)))
    assert do(storage.get_range("counter"))[0] == b"400"


def test_it_works_in_any_event_loop() -> None:
    """The same storage in two loops, one after the other: it holds no loop."""
    storage = open_storage("memory:")
    asyncio.run(storage.put("a", b"1"))
    assert asyncio.run(storage.get_range("a"))[0] == b"1"


def test_a_condition_of_unknown_kind_writes_nothing() -> None:
    """A condition that the storage does not know is refused, never taken for an unconditional put."""
    storage = open_storage("memory:")
    with pytest.raises(Unsupported):
        do(storage.put("a", b"1", "if-full-moon"))  # type: ignore[arg-type]
    assert keys_in(storage) == []
