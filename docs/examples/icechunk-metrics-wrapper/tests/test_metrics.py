"""The wrapper changes nothing, and counts what was asked for."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest

from icechunk_conformance import Location, run_suite
from icechunk_core.contract import Range
from icechunk_core.drive import run_direct
from icechunk_core.errors import NotFound
from icechunk_core.storage import storage_from_url


def test_the_contract_holds() -> None:
    """Every check of the suite that is about values, errors and conditions passes through it."""
    report = run_suite(
        Location.from_url("metered+memory:?metered.label=suite"),
        only=["A", "B", "C", "D", "E", "F04"],
    )
    assert [(result.check.id, result.message) for result in report.failures] == []


def value(name: str, **labels: Any) -> float:
    """The number that Prometheus would see."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_everything_is_counted() -> None:
    """Calls by operation and outcome, their time, bytes, listed objects; under the name that was given."""
    storage = storage_from_url("metered+memory:?metered.label=mine")

    async def use() -> None:
        for number in range(3):
            await storage.put(f"key-{number}", b"12345")
        await storage.get_range("key-0", Range(1, 3))
        with pytest.raises(NotFound):
            await storage.head("nothing")
        assert len([info async for info in storage.list()]) == 3
        async for _ in storage.list():
            break

    run_direct(use())
    requests = "icechunk_storage_requests_total"
    assert value(requests, storage="mine", operation="put", outcome="ok") == 3
    assert value(requests, storage="mine", operation="head", outcome="NotFound") == 1
    assert value(requests, storage="mine", operation="list", outcome="ok") >= 1
    assert value("icechunk_storage_bytes_total", storage="mine", operation="put") == 15
    assert value("icechunk_storage_bytes_total", storage="mine", operation="get_range") == 2
    assert value("icechunk_storage_listed_objects_total", storage="mine") == 4
    assert value("icechunk_storage_request_seconds_count", storage="mine", operation="put") == 3
    assert value("icechunk_storage_request_seconds_sum", storage="mine", operation="put") > 0


def test_the_text_that_prometheus_reads() -> None:
    """The metrics stand in the process's registry, which every exporter of prometheus-client gives out."""
    run_direct(storage_from_url("metered+memory:").put("key", b""))
    line = 'icechunk_storage_requests_total{operation="put",outcome="ok",storage="memory"}'
    assert line in generate_latest().decode()


def test_slow_calls_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With their key and time, where a limit is set; else nothing is logged."""
    with caplog.at_level(logging.WARNING, "icechunk_metrics"):
        run_direct(storage_from_url("metered+memory:").put("key", b""))
        assert not caplog.records
        run_direct(storage_from_url("metered+memory:?metered.log_slower_than=0").put("some/key", b""))
    assert "put of ('some/key',) took" in caplog.text
