"""Operations against fake-gcs-server, by both ways of sending, and by both protocols of reading."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import pickle
import threading
from collections.abc import AsyncIterator

import pytest

from icechunk_core.contract import IF_ABSENT, From, IfVersion, Range, Storage, Suffix
from icechunk_core.contract.errors import AlreadyExists, Closed, NotFound, ReadOnly, VersionMismatch
from icechunk_gcs._storage import GcsStorage
from tests.servers.gcs import GcsServer


@pytest.fixture(params=["json", "xml"])
def reads(request: pytest.FixtureRequest) -> str:
    """The protocols of reading."""
    return str(request.param)


@pytest.fixture
async def storage(fake_gcs: GcsServer, lean: bool, reads: str) -> AsyncIterator[Storage]:
    """A prefix of a new bucket."""
    storage = fake_gcs.storage(fake_gcs.new_bucket(), "some/prefix", lean=lean, reads=reads)
    yield storage
    await storage.close()


async def test_what_a_read_tells(storage: Storage) -> None:
    """Bytes, size, generation, time, ETag and metadata come together; head, get and list agree."""
    version = await storage.put("a/ü %2F", [b"hello ", b"world"], metadata={"icechunkwriteid": "w-1"})
    head = await storage.head("a/ü %2F")
    assert (head.version, head.size, head.metadata) == (version, 11, {"icechunkwriteid": "w-1"})
    for part, expected in {
        None: b"hello world",
        Range(2, 5): b"llo",
        From(6): b"world",
        Suffix(99): b"hello world",
    }.items():
        data, info = await storage.get_range("a/ü %2F", part)
        assert bytes(data) == expected
        assert info == head
    (listed,) = [info async for info in storage.list("a/")]
    assert listed == head


async def test_generations_are_conditions(storage: Storage) -> None:
    """Create-only, compare-and-swap and reads that insist on a version."""
    first = await storage.put("k", b"1", IF_ABSENT)
    with pytest.raises(AlreadyExists):
        await storage.put("k", b"2", IF_ABSENT)
    second = await storage.put("k", b"2", IfVersion(first))
    with pytest.raises(VersionMismatch):
        await storage.put("k", b"3", IfVersion(first))
    with pytest.raises(VersionMismatch):
        await storage.get_range("k", None, first)
    data, _ = await storage.get_range("k", Range(0, 1), second)
    assert bytes(data) == b"2"


async def test_listings_are_paged_and_start_after_a_key(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages follow one another without loss; the server's start is inclusive, ours is not."""
    monkeypatch.setattr("icechunk_gcs._storage._PAGE", 10)
    keys = [f"many/{number:04d}" for number in range(35)]
    await asyncio.gather(*(storage.put(key, b"x") for key in keys))
    assert [info.key async for info in storage.list("many/")] == keys
    assert [info.key async for info in storage.list("many/", keys[20])] == keys[21:]
    assert [info.key async for info in storage.list("", "many/0019x")] == keys[20:]
    results = await storage.delete([*keys, "missing"])
    assert [result.error for result in results] == [None] * 36
    assert [info async for info in storage.list("")] == []


async def test_large_objects_are_uploaded_in_parts(fake_gcs: GcsServer) -> None:
    """From the limit on, by Google's client, with metadata; below it, and under a condition, at once."""
    storage = fake_gcs.storage(fake_gcs.new_bucket(), resumable_from=9 << 20, storage_class="NEARLINE")
    body = bytes(range(256)) * (10 << 12)
    version = await storage.put("k", body, metadata={"a": "b"})
    data, info = await storage.get_range("k")
    assert bytes(data) == body
    assert (info.version, dict(info.metadata)) == (version, {"a": "b"})
    with pytest.raises(AlreadyExists):
        await storage.put("k", body, IF_ABSENT)
    await storage.close()


async def test_large_views_arrive_whole(fake_gcs: GcsServer, lean: bool) -> None:
    """A large object given as views of wider items is sent in pieces, and is there byte for byte."""
    storage = fake_gcs.storage(fake_gcs.new_bucket(), lean=lean)
    body = bytes(range(256)) * 5000
    await storage.put("k", [memoryview(body).cast("I"), b"end"])
    data, info = await storage.get_range("k")
    assert (bytes(data), info.size) == (body + b"end", len(body) + 3)
    await storage.close()


async def test_copies(storage: Storage) -> None:
    """Inside the bucket, with metadata, as a new generation."""
    version = await storage.put("source", b"abc", metadata={"a": "b"})
    copied = await storage.copy("source", "target/x")
    head = await storage.head("target/x")
    assert copied == head.version != version
    assert (head.size, dict(head.metadata)) == (3, {"a": "b"})
    with pytest.raises(NotFound):
        await storage.copy("missing", "target/y")


async def test_read_only_and_closed(fake_gcs: GcsServer, lean: bool) -> None:
    """Every write is refused; after closing, everything."""
    bucket = fake_gcs.new_bucket()
    writer, storage = (fake_gcs.storage(bucket, lean=lean, read_only=flag) for flag in (False, True))
    await writer.put("k", b"1")
    assert storage.capabilities.read_only
    for operation in (storage.put("k", b"2"), storage.delete(["k"]), storage.copy("k", "l")):
        with pytest.raises(ReadOnly):
            await operation
    assert bytes((await storage.get_range("k"))[0]) == b"1"
    await storage.close()
    await storage.close()
    with pytest.raises(Closed):
        await storage.get_range("k")
    await writer.close()


def test_one_storage_in_many_loops_leaves_nothing_open(fake_gcs: GcsServer, lean: bool) -> None:
    """Loops one after the other and at once; a session that nobody closed ends with its loop, silently."""
    storage = fake_gcs.storage(fake_gcs.new_bucket(), lean=lean)

    async def use(number: int) -> None:
        await storage.put(f"k{number}", b"x")
        assert bytes((await storage.get_range(f"k{number}"))[0]) == b"x"

    for number in range(3):
        asyncio.run(use(number))
    threads = [threading.Thread(target=asyncio.run, args=(use(number),)) for number in range(3, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    copy = pickle.loads(pickle.dumps(storage))
    assert asyncio.run(copy.get_range("k6"))[0] == b"x"
    cycle: list[object] = [storage, copy]
    cycle.append(cycle)
    del copy, cycle
    gc.collect()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(fake_gcs: GcsServer, lean: bool) -> None:
    """It goes on with the storage that it inherited, and the parent with its own connections."""
    storage = fake_gcs.storage(fake_gcs.new_bucket(), lean=lean)

    def use(name: str) -> None:
        asyncio.run(_put_and_read(storage, name))

    use("parent")
    child = multiprocessing.get_context("fork").Process(target=use, args=("child",))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    use("parent")
    assert asyncio.run(storage.exists("child"))


async def _put_and_read(storage: Storage, name: str) -> None:
    await storage.put(name, name.encode())
    assert bytes((await storage.get_range(name))[0]) == name.encode()


async def test_a_cancelled_write_is_settled(fake_gcs: GcsServer, lean: bool) -> None:
    """When the cancellation has arrived, the object is there or will never be: it does not land later."""
    storage = fake_gcs.storage(fake_gcs.new_bucket(), lean=lean)
    for turns in range(12):
        key = f"k{turns}"
        task = asyncio.ensure_future(storage.put(key, b"x" * 300_000, IF_ABSENT))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        there = await storage.exists(key)
        assert there or task.cancelled()
        # Nothing stands in the way of the next write, and nothing comes after it.
        if not there:
            await storage.put(key, b"y", IF_ABSENT)
    await storage.close()


def test_opening_sends_nothing() -> None:
    """A storage is made without a look at the network or at credentials."""
    from icechunk_core.storage import storage_from_url

    assert isinstance(storage_from_url("gs://no-such-bucket-anywhere").config.bucket, str)
    assert GcsStorage(storage_from_url("gs://no-such-bucket-anywhere").config).capabilities().commit_safe
