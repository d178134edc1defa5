"""Spans for programs that trace with OpenTelemetry, and nothing for others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core import tracing
from icechunk_core.contract.wrappers import Fault, with_faults, with_latency
from icechunk_core.errors import PermissionDenied

trace = pytest.importorskip("opentelemetry.trace", reason="needs opentelemetry-api")
sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="needs opentelemetry-sdk")


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Spans of this test, from a provider of its own."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory = InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield memory
    provider.shutdown()


def commit(repo: ic.Repository, name: str = "secret_array") -> str:
    """A commit of an array with a few chunks."""
    session = repo.writable_session("main")
    array = zarr.create_array(
        session.store, name=name, shape=(8, 1024), chunks=(1, 1024), dtype="f8", compressors=None
    )
    array[:] = np.arange(8)[:, None] + 1.5
    return session.commit("a secret message")


def tree(exporter: Any) -> list[tuple[str, str | None]]:
    """Each span's name, with that of the span that it is below."""
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans}
    return [(span.name, names.get(span.parent.span_id) if span.parent else None) for span in spans]


def named(exporter: Any, name: str) -> list[Any]:
    """The spans of a name."""
    return [span for span in exporter.get_finished_spans() if span.name == name]


@pytest.mark.parametrize("suspends", [False, True], ids=["direct", "suspending"])
def test_operations_have_spans(exporter: Any, suspends: bool) -> None:
    """Session, commit, packs and the requests below them are one tree, also through the background loop."""
    storage = ic.in_memory_storage()
    repo = ic.Repository.create(with_latency(storage, 0) if suspends else storage)
    exporter.clear()
    with tracing.span("test"):
        snapshot = commit(repo)
    found = tree(exporter)
    assert ("icechunk.session", "test") in found
    assert ("icechunk.storage.get", "icechunk.session") in found
    assert ("icechunk.commit", "test") in found
    assert ("icechunk.write_pack", "icechunk.commit") in found
    assert ("icechunk.storage.put", "icechunk.write_pack") in found
    assert ("icechunk.storage.put_conditional", "icechunk.commit") in found
    (committed,) = named(exporter, "icechunk.commit")
    assert committed.attributes["icechunk.snapshot"] == snapshot
    assert committed.attributes["icechunk.kind"] == "commit"


def test_requests_tell_backend_class_bytes_and_outcome(exporter: Any) -> None:
    """A span of a request says which backend, what kind of object, how many bytes, and how it ended."""
    repo = ic.Repository.create("memory:")
    commit(repo)
    chunk = next(
        span
        for span in named(exporter, "icechunk.storage.put")
        if span.attributes["icechunk.key_class"] == "chunks"
    )
    assert chunk.attributes["icechunk.backend"] == "memory"
    assert chunk.attributes["icechunk.outcome"] == "ok"
    assert chunk.attributes["icechunk.bytes"] == repo.io_stats.bytes_written - sum(
        span.attributes["icechunk.bytes"]
        for name in ("put", "put_conditional")
        for span in named(exporter, f"icechunk.storage.{name}")
        if span is not chunk
    )


def test_maintenance_has_spans_in_the_threads_of_executors(exporter: Any) -> None:
    """Verification, expiry, collection, repacking and copies are spans; threads' requests are below them."""
    repo = ic.Repository.create("memory:")
    for name in ("a", "b"):
        commit(repo, name)
    exporter.clear()
    with ThreadPoolExecutor(2) as threads:
        assert repo.verify(data=True, executor=threads).ok
    below = {child for child, parent in tree(exporter) if parent == "icechunk.verify"}
    assert "icechunk.storage.get" in below
    assert {parent for child, parent in tree(exporter)} == {None, "icechunk.verify"}
    repo.repack(branch="main", message="packed anew")
    repo.copy(ic.in_memory_storage())
    names = {name for name, _ in tree(exporter)}
    assert {"icechunk.repack", "icechunk.copy"} <= names


def test_failures_are_told_by_kind_only(exporter: Any) -> None:
    """A failed operation has its error's kind and no text: messages may name keys."""
    storage, log = with_faults(ic.in_memory_storage())
    repo = ic.Repository.create(storage)
    log.add(Fault("put", PermissionDenied("secret text", key="secret_key")))
    with pytest.raises(PermissionDenied):
        commit(repo)
    (span,) = named(exporter, "icechunk.commit")
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes["error.type"] == "permission-denied"
    assert not span.events


def test_nothing_of_the_users_is_told(exporter: Any) -> None:
    """No attribute, status or event has names, messages, values, keys or secrets."""
    repo = ic.Repository.create("memory:secret_place")
    commit(repo)
    repo.create_branch("secret_branch", repo.lookup_branch("main"))
    repo.create_tag("secret_tag", repo.lookup_branch("main"))
    with pytest.raises(ic.RefNotFoundError):
        repo.readonly_session("secret_missing")
    told = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "icechunk.commit" in told
    assert "secret" not in told


def test_rebases_have_spans(exporter: Any) -> None:
    """A commit that others were faster than shows its rebase below it, and how many it took."""
    repo = ic.Repository.create("memory:")
    commit(repo, "first")
    late = repo.writable_session("main")
    zarr.create_group(late.store, path="late")
    commit(repo)
    late.commit("late", rebase_with=ic.ConflictDetector())
    assert ("icechunk.rebase", "icechunk.commit") in tree(exporter)
    assert named(exporter, "icechunk.commit")[-1].attributes["icechunk.rebases"] == 1
    assert named(exporter, "icechunk.rebase")[-1].attributes["icechunk.commits"] == 1


def test_without_a_provider_there_are_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has OpenTelemetry and sets no provider, or does not have it, gets no spans."""
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    assert tracing.start("x") is None
    with tracing.span("x"):
        tracing.annotate(a=1)
    monkeypatch.delitem(sys.modules, tracing.API)
    assert not tracing.possible()
    assert tracing.start("x") is None
