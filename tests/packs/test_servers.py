"""Packs on real object stores: few requests there and back, and Icechunk reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import icechunk_core as ic
from icechunk_core.contract.wrappers import with_metrics
from icechunk_core.drive import run
from tests.interop.implementations import contents, load_peer
from tests.packs.support import fill, with_array

COUNT = 300
Closing = Callable[[ic.Storage], ic.Storage]


@pytest.fixture
def closing() -> Iterator[Closing]:
    """Closes the storages that it is given when the test is over."""
    opened: list[ic.Storage] = []

    def keep(storage: ic.Storage) -> ic.Storage:
        opened.append(storage)
        return storage

    yield keep
    for storage in opened:
        run(storage.close(), may_suspend=storage.may_suspend)


@pytest.mark.parametrize("server", ["ministack", "fake_gcs", "azurite"])
def test_few_requests(server: str, request: pytest.FixtureRequest, closing: Closing) -> None:
    """Hundreds of chunks and their commit are a handful of puts, and reading all is a handful of gets."""
    running = request.getfixturevalue(server)
    storage, metrics = with_metrics(closing(running.storage(running.new_bucket(), "repo")))
    repo = ic.Repository.create(storage)
    session = with_array(repo)
    metrics.reset()
    written = fill(session, range(COUNT))
    session.commit("filled")
    assert metrics.calls["put"] <= 6
    metrics.reset()
    found = contents(repo.readonly_session("main").store)
    assert {n: found[f"x/c/{n}"] for n in written} == written
    # One after the other, each at the end of the one before: what is read ahead doubles.
    assert metrics.calls["get_range"] <= 12


def test_icechunk_reads_packs_on_s3(ministack: Any, closing: Closing) -> None:
    """What was packed into a bucket, Icechunk reads from there."""
    load_peer()
    bucket = ministack.new_bucket()
    repo = ic.Repository.create(closing(ministack.storage(bucket, "repo")))
    session = with_array(repo)
    written = fill(session, range(COUNT))
    session.commit("filled")
    import icechunk

    theirs = icechunk.Repository.open(ministack.peer_storage(bucket, "repo"))
    found = contents(theirs.readonly_session("main").store)
    assert {n: found[f"x/c/{n}"] for n in written} == written
