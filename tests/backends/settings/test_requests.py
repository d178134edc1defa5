"""`StorageSettings` seen by a server: how often it is asked, for what, how many times at once."""

from __future__ import annotations

import pytest

from icechunk_core import (
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
)
from icechunk_core.contract import Range, Storage, Tuning
from icechunk_core.contract.errors import RateLimited, Timeout, Unavailable
from icechunk_core.repository.storage_settings import tuning_of
from tests.backends.settings.server import BACKENDS, OBJECT, SIZE, WRITERS, CountingServer, counting_server

MIB = 1 << 20


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tries", [1, 3])
async def test_tries(backend: str, tries: int) -> None:
    """A server that always fails is asked ``max_tries`` times, with waits no longer than the settings say."""
    retries = StorageRetriesSettings(max_tries=tries, initial_backoff_ms=1, max_backoff_ms=1)
    async with counting_server() as server:
        server.failing = True
        storage = server.storage(backend).tuned(tuning_of(StorageSettings(retries=retries)))
        with pytest.raises((Unavailable, RateLimited)):
            await storage.get_range("key", Range(0, 10))
        await storage.close()
    assert len(server.asked) == tries
    assert (storage.tuned_config.first_wait, storage.tuned_config.longest_wait) == (0.001, 0.001)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("timeouts", "requests"),
    [
        (StorageTimeoutSettings(read_timeout_ms=200), 2),
        (StorageTimeoutSettings(operation_attempt_timeout_ms=200), 2),
        (StorageTimeoutSettings(operation_timeout_ms=200), 1),
    ],
    ids=["read", "attempt", "operation"],
)
async def test_a_silent_server(backend: str, timeouts: StorageTimeoutSettings, requests: int) -> None:
    """It is given up: after the limit of an attempt a second one is made, after the operation's none."""
    retries = StorageRetriesSettings(max_tries=2, initial_backoff_ms=0, max_backoff_ms=0)
    settings = StorageSettings(retries=retries, timeouts=timeouts)
    async with counting_server() as server:
        storage = server.storage(backend).tuned(tuning_of(settings))
        await storage.get_range("key", Range(0, 10))  # connected, so that the limit is that of the answer
        server.silent = True
        server.asked.clear()
        with pytest.raises((Timeout, Unavailable)):
            await storage.get_range("key", Range(0, 10))
        await storage.close()
    assert len(server.asked) == requests


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_connections_limit(backend: str) -> None:
    """Every backend for services takes all the time limits from the settings, as seconds."""
    storage = _unopened(backend).tuned(
        tuning_of(StorageSettings(timeouts=StorageTimeoutSettings(1500, 2500, 3500, 4500)))
    )
    config = storage.tuned_config
    reading = config.network_stream_timeout_seconds if backend == "s3" else config.read_timeout
    attempt = config.request_timeout if backend == "http" else config.attempt_timeout
    whole = config.deadline if backend == "http" else config.total_timeout
    assert (config.connect_timeout, reading, whole, attempt) == (1.5, 2.5, 3.5, 4.5)


def _unopened(backend: str) -> Storage:
    return CountingServer(address="http://127.0.0.1:9").storage(backend)


@pytest.mark.parametrize("backend", ["s3", "gcs", "azure"])
@pytest.mark.parametrize("at_once", [1, 3])
async def test_parts_of_a_read(backend: str, at_once: int) -> None:
    """A large range is read in requests of the ideal size, as many at once as allowed and no more, and
    its bytes are right."""
    part = 1 << 16
    concurrency = StorageConcurrencySettings(at_once, part)
    async with counting_server() as server:
        storage = server.storage(backend).tuned(tuning_of(StorageSettings(concurrency=concurrency)))
        data, _ = await storage.get_range("key", Range(0, SIZE))
        await storage.close()
    assert bytes(data) == OBJECT
    assert [size for _, size in server.asked] == [part] * (SIZE // part)
    assert server.most_open == at_once


@pytest.mark.parametrize("backend", WRITERS)
async def test_parts_of_an_upload(backend: str) -> None:
    """Objects above the minimum size for it are uploaded in parts of the ideal size, no more at once than
    allowed; those up to it in one request."""
    settings = StorageSettings(
        concurrency=StorageConcurrencySettings(2, 6 * MIB), minimum_size_for_multipart_upload=20 * MIB
    )
    async with counting_server() as server:
        storage = server.storage(backend).tuned(tuning_of(settings))
        await storage.put("key", bytes(20 * MIB))
        assert server.uploads() == [20 * MIB]
        server.asked.clear()
        server.most_open = 0
        await storage.put("key", bytes(21 * MIB))
        await storage.close()
    assert sorted(server.uploads()) == [3 * MIB, 6 * MIB, 6 * MIB, 6 * MIB]
    assert server.most_open <= 2


def test_bounds_of_the_service() -> None:
    """What a service would refuse becomes the nearest that it takes: S3's parts have 5 MiB or more."""
    tuned = _unopened("s3").tuned(Tuning(part_size=1, multipart_threshold=0)).tuned_config
    assert (tuned.multipart_part_size, tuned.multipart_threshold) == (5 * MIB, 5 * MIB)
    assert tuned.read_part_size == 1
    assert (
        _unopened("s3").tuned(Tuning(multipart_threshold=1 << 40)).tuned_config.multipart_threshold == 5 << 30
    )
    assert _unopened("azure").tuned(Tuning(multipart_threshold=0)).tuned_config.single_put == 1


def test_uploads_to_gcs() -> None:
    """The minimum size for an upload in parts is the size from which uploads are resumable; Google's protocol
    sends their parts one after the other."""
    tuned = _unopened("gcs").tuned(Tuning(multipart_threshold=12 * MIB)).tuned_config
    assert tuned.resumable_from == 12 * MIB
